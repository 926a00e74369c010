//! Predictors of patch effects, side by side: what each costs and where each fails.
//!
//! Let d = y_clean - y_corrupted at a site and token, and let g = dJ/dy and H = d2J/dy2 be those of the corrupted run:
//!
//! | predictor | |
//! |---|---|
//! | `first_order` | `<g, d>`, one backward pass for all patches |
//! | `curvature` | `<g, d> + 1/2 d^T H d`, one jet for each patch |
//! | `hvp` | screen, flag, fix (arXiv 2606.09899): one Hessian-vector product for each layer, with the displacements of all of its patches, estimates the term q of each patch. If the reliability ratio `\|q\| / (2 \|<g, d>\|)` exceeds a threshold, the patch's own product corrects it |
//! | `relp` | `<g, d>` with the sensitivities of [`Mode::RelP`] (arXiv 2508.21258) |
//! | `integrated` | `<mean g, d>` over runs whose embeddings lie on the line from the corrupted to the clean prompt's |
//!
//! Costs are floating-point operations over those of one forward pass that reads J.

use resolvent_engine::counted;
use resolvent_model::{Along, Mode, Model, Observable, ProbedRun, Run, Site, Source, along_of, hvp_of};

use crate::between::{Between, middles};
use crate::case::Case;
use crate::certificate::{Certificate, adjoint_all, dot, narrow, worse};
use crate::displacements::{Displacements, along_sensitivities};
use crate::error::{Error, Result};
use crate::predictor::{Predictor, PredictorOptions};
use crate::site_kind::SiteKind;

/// Predictions of one predictor for every patch of a kind, in the order of the kind's axes.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// The predictor.
    pub predictor: Predictor,
    /// Predicted effects.
    pub effect: Vec<f32>,
    /// Operations, in forward passes.
    pub cost: f64,
}

/// Predictions of all patches of a kind.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Predictions, in the requested order of predictors.
    pub predicted: Vec<Predicted>,
    /// Second order over first, `|q| / (2 |<g, d>|)`, by the estimate of `hvp`; `None` if `hvp` was not requested.
    pub reliability: Option<Vec<f32>>,
    /// Share of the patches that `hvp` corrected.
    pub flagged: f64,
    /// Operations of one forward pass that reads J.
    pub pass: f64,
    /// Checks of a number by two routes: first order by reverse and by forward mode, and second order by jets and by
    /// products. Also the adjoint identities of RelP's linear map, and of the run half-way between the prompts.
    pub certificates: Vec<Certificate>,
}

/// Tolerance between forward and reverse mode through the whole model, over the largest number. It covers rounding.
const SAME_FIRST: f64 = 1e-4;

/// Tolerance between two routes to second order, over the largest number. It covers f32 rounding of sums that cancel.
const SAME_SECOND: f64 = 2e-3;

/// Second-order terms below this share of the largest first-order effect are rounding or negligible: their ratio counts
/// as 0.
const ROUNDING: f64 = 1e-5;

/// Predicts the effects of patching every site of a kind at every token.
///
/// Both runs must have been prepared for the sites of the kind. [`Panel::certificates`] are left for the caller to
/// verify.
///
/// # Errors
/// Runs that do not pair, no steps, or a device error.
pub fn predict(case: &Case<'_>, kind: SiteKind, predictors: &[Predictor], options: PredictorOptions) -> Result<Panel> {
    Ok(predict_all(&[*case], kind, predictors, options)?.remove(0))
}

/// Predicts the effects for several cases of one model; see [`predict`]. Runs of one batch share passes. A cost is the
/// operations of all cases over those of one forward pass of each.
///
/// # Errors
/// As [`predict`], for any of the cases.
pub fn predict_all(
    cases: &[Case<'_>],
    kind: SiteKind,
    predictors: &[Predictor],
    options: PredictorOptions,
) -> Result<Vec<Panel>> {
    cases.iter().try_for_each(Case::check)?;
    if options.steps == 0 {
        return Err(Error::Input("integrated gradients need one step or more".to_owned()));
    }
    if kind == SiteKind::Pattern && predictors.contains(&Predictor::Integrated) {
        return Err(Error::Input(
            "the predictor `integrated` has no runs between two patterns; leave it out, or leave pattern out of --sites"
                .to_owned(),
        ));
    }
    let Some(first) = cases.first() else { return Ok(Vec::new()) };
    let setup = Setup::new(first.corrupted, cases, kind)?;
    let wants = |p| predictors.contains(&p);
    let first_order = setup.linear(Mode::Exact)?;
    let curvature = wants(Predictor::Curvature).then(|| setup.curvature(&first_order)).transpose()?;
    let hvp = wants(Predictor::Hvp).then(|| setup.screened(&first_order, options.flag)).transpose()?;
    let relp = match wants(Predictor::RelP) {
        true => Some((setup.linear(Mode::RelP)?, adjoint_all(Mode::RelP, &setup.corrupted(), 1)?)),
        false => None,
    };
    let integrated = match wants(Predictor::Integrated) {
        true => {
            let between = Between::embeddings(setup.cases)?;
            let middle = between.runs(0.5, &setup.sites)?;
            let middle = adjoint_all(Mode::Exact, &middle.iter().collect::<Vec<_>>(), 1)?;
            Some((setup.integrated(&between, options.steps)?, middle))
        }
        false => None,
    };
    let panel = |(n, pass): (usize, f64)| {
        let mut certificates = Vec::new();
        if let Some(curved) = &curvature {
            let pairs = curved.first[n].iter().copied().zip(first_order.effect[n].iter().copied());
            certificates.push(Certificate::new("forward_reverse", relative_difference(pairs), SAME_FIRST));
        }
        if let (Some(curved), Some(screened)) = (&curvature, &hvp) {
            let pairs = screened.of[n].terms.iter().map(|&(i, q)| (q, curved.second[n][i]));
            certificates.push(Certificate::new("second_order", relative_difference(pairs), SAME_SECOND));
        }
        certificates.extend(relp.iter().map(|(_, c)| Certificate { name: "adjoint_relp", ..c[n].clone() }));
        certificates.extend(integrated.iter().map(|(_, c)| Certificate { name: "adjoint_between", ..c[n].clone() }));
        let predicted = |&predictor: &Predictor| {
            let estimate = match predictor {
                Predictor::FirstOrder => Some(&first_order),
                Predictor::Curvature => curvature.as_ref().map(|curved| &curved.estimate),
                Predictor::Hvp => hvp.as_ref().map(|screened| &screened.estimate),
                Predictor::Integrated => integrated.as_ref().map(|(estimate, _)| estimate),
                Predictor::RelP => relp.as_ref().map(|(estimate, _)| estimate),
            };
            let estimate = estimate.unwrap_or(&first_order);
            Predicted { predictor, effect: narrow(&estimate.effect[n]), cost: estimate.cost }
        };
        let screened = hvp.as_ref().map(|screened| &screened.of[n]);
        Panel {
            predicted: predictors.iter().map(predicted).collect(),
            reliability: screened.map(|s| s.ratio.clone()),
            flagged: screened.map_or(0.0, |s| s.terms.len() as f64 / setup.patches[n].len().max(1) as f64),
            pass,
            certificates,
        }
    };
    Ok(setup.passes.iter().copied().enumerate().map(panel).collect())
}

/// Returns the operations of one forward pass of the corrupted run that reads J.
pub(crate) fn pass(case: &Case<'_>) -> Result<f64> {
    Ok(case.corrupted.pass_operations(case.observable)?)
}

/// Returns the largest difference within a pair, over the largest second value.
fn relative_difference(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut difference, mut largest) = (0.0, f64::MIN_POSITIVE);
    for (a, b) in pairs {
        difference = worse(difference, (a - b).abs());
        largest = worse(largest, b.abs());
    }
    difference / largest
}

/// Effects of the patches of each case.
struct Estimate {
    effect: Vec<Vec<f64>>,
    /// Operations of all cases, in forward passes of all of them.
    cost: f64,
}

struct Curved {
    estimate: Estimate,
    /// `<g, d>` of the patches of each case.
    first: Vec<Vec<f64>>,
    /// `d^T H d` of the patches of each case.
    second: Vec<Vec<f64>>,
}

struct Screened {
    estimate: Estimate,
    of: Vec<ScreenedCase>,
}

struct ScreenedCase {
    effect: Vec<f64>,
    ratio: Vec<f32>,
    /// Index and `d^T H d` of each flagged patch.
    terms: Vec<(usize, f64)>,
}

/// The cases, with what all predictors need.
struct Setup<'a> {
    cases: &'a [Case<'a>],
    model: &'a Model,
    sites: Vec<Site>,
    /// Number of sites in a layer: its heads, or one.
    per_layer: usize,
    /// Of each case.
    patches: Vec<Displacements>,
    /// Operations of one forward pass of each case.
    passes: Vec<f64>,
}

impl<'a> Setup<'a> {
    fn new(first: &'a Run, cases: &'a [Case<'a>], kind: SiteKind) -> Result<Self> {
        let (model, sizes) = (first.model(), first.model().sizes());
        let sites = kind.sites(sizes);
        let layers = kind.axes(sizes, 1)[0].1;
        let passes = cases.iter().map(pass).collect::<Result<_>>()?;
        let patches = Displacements::of_all(cases, kind)?;
        Ok(Self { cases, model, per_layer: sites.len() / layers, sites, patches, passes })
    }

    fn corrupted(&self) -> Vec<&'a Run> {
        self.cases.iter().map(|case| case.corrupted).collect()
    }

    fn readings(&self) -> Vec<(&'a Run, &'a Observable)> {
        self.cases.iter().map(Case::reading).collect()
    }

    fn counted(&self, work: impl FnOnce() -> Result<Vec<Vec<f64>>>) -> Result<Estimate> {
        let (effect, work) = counted(work);
        Ok(Estimate { effect: effect?, cost: work.flops / self.passes.iter().sum::<f64>() })
    }

    fn linear(&self, mode: Mode) -> Result<Estimate> {
        self.counted(|| along_sensitivities((mode, &self.patches), &self.readings()))
    }

    fn curvature(&self, first_order: &Estimate) -> Result<Curved> {
        let of = |patches: &Displacements| (0..patches.len()).map(|i| [patches.source(i)]).collect();
        let sources: Vec<Vec<[Source; 1]>> = self.patches.iter().map(of).collect();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let mut estimate = self.counted(|| {
            let each = self.cases.iter().zip(&sources).flat_map(|(case, sources)| {
                let (run, observable) = case.reading();
                sources.iter().map(move |sources| ProbedRun { run, sources, observable })
            });
            let mut along = along_of(&each.collect::<Vec<_>>())?.into_iter();
            let mut effects = Vec::with_capacity(sources.len());
            for sources in &sources {
                let of_case: Vec<Along> = along.by_ref().take(sources.len()).collect();
                effects.push(of_case.iter().map(|a| a.first + 0.5 * a.second).collect());
                first.push(of_case.iter().map(|a| a.first).collect());
                second.push(of_case.iter().map(|a| a.second).collect());
            }
            Ok(effects)
        })?;
        // Jets give the first order too, so its cost is not added, as it is in `screened`. It is a lower limit here.
        estimate.cost = worse(estimate.cost, first_order.cost);
        Ok(Curved { estimate, first, second })
    }

    fn screened(&self, first_order: &Estimate, flag: f64) -> Result<Screened> {
        let start = |(patches, effect): (&Displacements, &Vec<f64>)| ScreenedCase {
            effect: effect.clone(),
            ratio: vec![0.0; patches.len()],
            terms: Vec::new(),
        };
        let mut of: Vec<ScreenedCase> = self.patches.iter().zip(&first_order.effect).map(start).collect();
        let mut estimate = self.counted(|| {
            for layer in 0..self.sites.len() / self.per_layer {
                self.screen_layer(layer, (&first_order.effect, flag), &mut of)?;
            }
            for case in &mut of {
                case.terms.iter().for_each(|&(i, q)| case.effect[i] += 0.5 * q);
            }
            Ok(of.iter().map(|screened| screened.effect.clone()).collect())
        })?;
        estimate.cost += first_order.cost;
        Ok(Screened { estimate, of })
    }

    /// Screens the patches of a layer, and computes the products of those that are flagged.
    fn screen_layer(&self, layer: usize, (first, flag): (&[Vec<f64>], f64), of: &mut [ScreenedCase]) -> Result<()> {
        let tokens = |n: usize| self.cases[n].corrupted.tokens().len();
        let here = |n: usize| layer * self.per_layer * tokens(n)..(layer + 1) * self.per_layer * tokens(n);
        let all = |n: usize| (n, here(n).map(|i| self.patches[n].source(i)).collect());
        let largest: Vec<f64> = first.iter().map(|first| first.iter().fold(0.0, |m: f64, e| m.max(e.abs()))).collect();
        self.products(layer, &(0..self.cases.len()).map(all).collect::<Vec<_>>(), &mut |n, i, q| {
            let lost = q.abs() <= ROUNDING * largest[n];
            of[n].ratio[i] = if lost { 0.0 } else { (q / (2.0 * first[n][i])).abs() as f32 };
        })?;
        let ratio = |n: usize, i: usize| f64::from(of[n].ratio[i]);
        let flagged = (0..self.cases.len()).flat_map(|n| here(n).map(move |i| (n, i)));
        let flagged: Vec<(usize, usize)> = flagged.filter(|&(n, i)| ratio(n, i) > flag).collect();
        let each = flagged.iter().map(|&(n, i)| (n, vec![self.patches[n].source(i)]));
        let mut found = vec![None; flagged.len()];
        self.products(layer, &each.collect::<Vec<_>>(), &mut |k, i, q| {
            if flagged[k].1 == i {
                found[k] = Some(q);
            }
        })?;
        let found = flagged.into_iter().zip(found).filter_map(|(patch, q)| Some((patch, q?)));
        found.for_each(|((n, i), q)| of[n].terms.push((i, q)));
        Ok(())
    }

    /// Computes the products with superpositions of displacements, each in its case, at all patches of a layer. `visit`
    /// gets the index of the superposition, the patch, and `<H s, d>` there. Cases of one batch share passes.
    fn products(
        &self,
        layer: usize,
        sources: &[(usize, Vec<Source>)],
        visit: &mut dyn FnMut(usize, usize, f64),
    ) -> Result<()> {
        let sites = &self.sites[layer * self.per_layer..][..self.per_layer];
        let probed = sources.iter().map(|(n, sources)| {
            let (run, observable) = self.cases[*n].reading();
            ProbedRun { run, sources, observable }
        });
        hvp_of(&probed.collect::<Vec<_>>(), sites, &mut |chunk| {
            let (n, width) = (sources[chunk.sequence].0, sites[chunk.site].width(self.model.sizes()));
            let first = (layer * self.per_layer + chunk.site) * self.cases[n].corrupted.tokens().len() + chunk.token;
            for (patch, h) in (first..).zip(chunk.rows.chunks(width)) {
                visit(chunk.sequence, patch, dot(h, self.patches[n].delta(patch)));
            }
        })?;
        Ok(())
    }

    fn integrated(&self, between: &Between<'_>, steps: usize) -> Result<Estimate> {
        self.counted(|| {
            let mut sums: Vec<Vec<f64>> = self.patches.iter().map(|patches| vec![0.0; patches.len()]).collect();
            for share in middles(steps) {
                let runs = between.runs(share, &self.sites)?;
                let readings: Vec<(&Run, &Observable)> =
                    runs.iter().zip(self.cases).map(|(run, case)| (run, case.observable)).collect();
                let each = along_sensitivities((Mode::Exact, &self.patches), &readings)?;
                for (sum, each) in sums.iter_mut().zip(each) {
                    sum.iter_mut().zip(each).for_each(|(sum, x)| *sum += x / steps as f64);
                }
            }
            Ok(sums)
        })
    }
}
