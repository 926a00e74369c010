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

use std::fmt;
use std::str::FromStr;

use resolvent_model::{Edit, Mode, Run, RunOptions, Site, Source};

use crate::certificate::{Certificate, adjoint, dot, narrow, worse};
use crate::displacements::Displacements;
use crate::error::{Error, Result};
use crate::patch::Case;
use crate::site_kind::SiteKind;

/// A method that predicts patch effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Predictor {
    /// Sensitivity times displacement.
    FirstOrder,
    /// First order, and the second-order term of every patch, by jets.
    Curvature,
    /// First order, and the second-order term of the patches that a cheaper estimate flags, by Hessian-vector products.
    Hvp,
    /// Sensitivities averaged between the prompts.
    Integrated,
    /// Sensitivities under the rules of relevance propagation.
    RelP,
}

impl Predictor {
    /// All predictors.
    pub const ALL: [Self; 5] = [Self::FirstOrder, Self::Curvature, Self::Hvp, Self::Integrated, Self::RelP];

    /// Returns first order, which comes with every patch sweep, followed by the rest of `others`.
    pub fn beside_first_order(others: &[Self]) -> Vec<Self> {
        let others = others.iter().copied().filter(|p| *p != Self::FirstOrder);
        std::iter::once(Self::FirstOrder).chain(others).collect()
    }

    /// Returns the name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstOrder => "first_order",
            Self::Curvature => "curvature",
            Self::Hvp => "hvp",
            Self::Integrated => "integrated",
            Self::RelP => "relp",
        }
    }

    /// Returns why the predictor is zero at every site of a kind, whatever the model and the prompts; `None` if it
    /// predicts. Such zeros say nothing about the patches, so statistics leave them out.
    pub fn zero_at(self, kind: SiteKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::RelP, SiteKind::Q | SiteKind::K) => Some("relp takes attention patterns as constants"),
            _ => None,
        }
    }
}

impl fmt::Display for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Predictor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Input(format!("invalid predictor `{text}`: expected one of {names}"))
        })
    }
}

/// Options of the predictors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictorOptions {
    /// Number of runs between the prompts, for `integrated`.
    pub steps: usize,
    /// Reliability ratio above which `hvp` corrects a patch.
    pub flag: f64,
}

impl Default for PredictorOptions {
    fn default() -> Self {
        Self { steps: 8, flag: 0.1 }
    }
}

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
    case.check()?;
    if options.steps == 0 {
        return Err(Error::Input("integrated gradients need one step or more".to_owned()));
    }
    let setup = Setup::new(case, kind)?;
    let wants = |p| predictors.contains(&p);
    let first_order = setup.linear(Mode::Exact)?;
    let curvature = wants(Predictor::Curvature).then(|| setup.curvature(&first_order)).transpose()?;
    let hvp = wants(Predictor::Hvp).then(|| setup.screened(&first_order, options.flag)).transpose()?;
    let mut panel =
        Panel { predicted: Vec::new(), reliability: None, flagged: 0.0, pass: setup.pass, certificates: Vec::new() };
    if let Some(curved) = &curvature {
        let value = relative_difference(curved.first.iter().copied().zip(first_order.effect.iter().copied()));
        panel.certificates.push(Certificate::new("forward_reverse", value, SAME_FIRST));
    }
    if let (Some(curved), Some(screened)) = (&curvature, &hvp) {
        let pairs = screened.terms.iter().map(|&(i, q)| (q, curved.second[i]));
        let value = relative_difference(pairs);
        panel.certificates.push(Certificate::new("second_order", value, SAME_SECOND));
    }
    if wants(Predictor::RelP) {
        let relp = adjoint(&case.corrupted.linearize(Mode::RelP), 1)?;
        panel.certificates.push(Certificate { name: "adjoint_relp", ..relp });
    }
    if wants(Predictor::Integrated) {
        let between = setup.between(0.5)?;
        let middle = adjoint(&between.linearize(Mode::Exact), 1)?;
        panel.certificates.push(Certificate { name: "adjoint_between", ..middle });
    }
    for &predictor in predictors {
        let estimate = match (predictor, &curvature, &hvp) {
            (Predictor::Curvature, Some(curved), _) => curved.estimate.clone(),
            (Predictor::Hvp, _, Some(screened)) => screened.estimate.clone(),
            (Predictor::Integrated, ..) => setup.integrated(options.steps)?,
            (Predictor::RelP, ..) => setup.linear(Mode::RelP)?,
            _ => first_order.clone(),
        };
        let effect = narrow(&estimate.effect);
        panel.predicted.push(Predicted { predictor, effect, cost: estimate.cost });
    }
    if let Some(screened) = hvp {
        panel.flagged = screened.terms.len() as f64 / setup.patches.len().max(1) as f64;
        panel.reliability = Some(screened.ratio);
    }
    Ok(panel)
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

#[derive(Clone)]
struct Estimate {
    effect: Vec<f64>,
    cost: f64,
}

struct Curved {
    estimate: Estimate,
    first: Vec<f64>,
    /// `d^T H d` of each patch.
    second: Vec<f64>,
}

struct Screened {
    estimate: Estimate,
    ratio: Vec<f32>,
    /// Index and `d^T H d` of each flagged patch.
    terms: Vec<(usize, f64)>,
}

/// A case, with what all predictors need.
struct Setup<'a> {
    case: &'a Case<'a>,
    sites: Vec<Site>,
    /// Number of sites in a layer: its heads, or one.
    per_layer: usize,
    patches: Displacements,
    /// Operations of one forward pass.
    pass: f64,
}

impl<'a> Setup<'a> {
    fn new(case: &'a Case<'a>, kind: SiteKind) -> Result<Self> {
        let (run, config) = (case.corrupted, case.corrupted.model().config());
        let sites = kind.sites(config);
        let layers = kind.axes(config, 1)[0].1;
        let pass = pass(case)?;
        let patches = Displacements::new([case.clean, run], kind)?;
        Ok(Self { case, per_layer: sites.len() / layers, sites, patches, pass })
    }

    fn counted(&self, work: impl FnOnce() -> Result<Vec<f64>>) -> Result<Estimate> {
        let device = self.case.corrupted.model().device();
        let before = device.flops();
        let effect = work()?;
        Ok(Estimate { effect, cost: (device.flops() - before) / self.pass })
    }

    fn linear(&self, mode: Mode) -> Result<Estimate> {
        let Case { corrupted, observable, .. } = *self.case;
        self.counted(|| self.patches.along_sensitivity(&corrupted.linearize(mode), observable))
    }

    fn curvature(&self, first_order: &Estimate) -> Result<Curved> {
        let Case { corrupted, observable, .. } = *self.case;
        let sources: Vec<[Source; 1]> = (0..self.patches.len()).map(|i| [self.patches.source(i)]).collect();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let mut estimate = self.counted(|| {
            let along = corrupted.linearize(Mode::Exact).along(&sources, observable)?;
            (first, second) = along.iter().map(|a| (a.first, a.second)).unzip();
            Ok(first.iter().zip(&second).map(|(first, second)| first + 0.5 * second).collect())
        })?;
        // Jets give the first order too, so its cost is not added, as it is in `screened`. It is a lower limit here.
        estimate.cost = worse(estimate.cost, first_order.cost);
        Ok(Curved { estimate, first, second })
    }

    fn screened(&self, first_order: &Estimate, flag: f64) -> Result<Screened> {
        let Case { corrupted, observable, .. } = *self.case;
        let (linear, patches) = (corrupted.linearize(Mode::Exact), &self.patches);
        let config = corrupted.model().config();
        let tokens = corrupted.tokens().len();
        let largest = first_order.effect.iter().fold(0.0f64, |m, e| m.max(e.abs()));
        let mut ratio = vec![0.0f32; patches.len()];
        let mut terms = Vec::new();
        let mut estimate = self.counted(|| {
            for first in (0..self.sites.len()).step_by(self.per_layer) {
                let (sites, start) = (&self.sites[first..first + self.per_layer], first * tokens);
                let layer = start..start + self.per_layer * tokens;
                let all: Vec<Source> = layer.clone().map(|i| patches.source(i)).collect();
                let products = |sources: &[Vec<Source>], visit: &mut dyn FnMut(usize, usize, f64)| {
                    linear.hvp_at(sources, observable, sites, &mut |chunk| {
                        let width = sites[chunk.site].width(config);
                        for (row, h) in chunk.rows.chunks(width).enumerate() {
                            let patch = start + chunk.site * tokens + chunk.token + row;
                            visit(chunk.sequence, patch, dot(h, patches.delta(patch)));
                        }
                    })
                };
                products(&[all], &mut |_, i, q| {
                    let lost = q.abs() <= ROUNDING * largest;
                    ratio[i] = if lost { 0.0 } else { (q / (2.0 * first_order.effect[i])).abs() as f32 };
                })?;
                let flagged: Vec<usize> = layer.filter(|&i| f64::from(ratio[i]) > flag).collect();
                let each: Vec<Vec<Source>> = flagged.iter().map(|&i| vec![patches.source(i)]).collect();
                products(&each, &mut |k, i, q| {
                    if flagged[k] == i {
                        terms.push((i, q));
                    }
                })?;
            }
            let mut effect = first_order.effect.clone();
            terms.iter().for_each(|&(i, q)| effect[i] += 0.5 * q);
            Ok(effect)
        })?;
        estimate.cost += first_order.cost;
        Ok(Screened { estimate, ratio, terms })
    }

    fn integrated(&self, steps: usize) -> Result<Estimate> {
        self.counted(|| {
            let mut sum = vec![0.0; self.patches.len()];
            for step in 0..steps {
                let share = (step as f32 + 0.5) / steps as f32;
                let between = self.between(share)?;
                let linear = between.linearize(Mode::Exact);
                let each = self.patches.along_sensitivity(&linear, self.case.observable)?;
                sum.iter_mut().zip(each).for_each(|(sum, x)| *sum += x / steps as f64);
            }
            Ok(sum)
        })
    }

    /// Runs the corrupted prompt with its embeddings moved by `share` of the way to the clean ones.
    fn between(&self, share: f32) -> Result<Run> {
        let Case { clean, corrupted, .. } = *self.case;
        let d = corrupted.model().config().n_embd;
        let [theirs, ours] = [clean, corrupted].map(|run| run.captures(&[Site::ResidPre(0)]));
        let (theirs, ours) = (theirs?.concat(), ours?.concat());
        let rows = theirs.chunks(d).zip(ours.chunks(d)).enumerate();
        let moved = rows.map(|(t, (a, b))| {
            let by = a.iter().zip(b).map(|(a, b)| share * (a - b)).collect();
            Edit::add(Site::ResidPre(0), t, by)
        });
        let edits = corrupted.edits().iter().cloned().chain(moved).collect();
        let options = RunOptions { edits, sites: self.sites.clone() };
        Ok(corrupted.model().run_with(corrupted.tokens(), &options)?)
    }
}
