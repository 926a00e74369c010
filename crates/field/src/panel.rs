//! Predictors as a part of the result of a patch sweep.

use crate::case::Case;
use crate::certificate::{Certificate, merge};
use crate::distinct::distinct;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::noise;
use crate::predictor::{Predictor, PredictorOptions};
use crate::predictors::{Panel, predict_all};
use crate::site_kind::SiteKind;
use crate::stats::Pairs;

impl Labelled {
    /// Adds the predictions of `predictors` for each of `kinds` to a result of [`crate::patch_at`].
    ///
    /// Arrays: `predicted [P, ...]` and `cost [P]` of the field, and `predicted.KIND` and `cost.KIND` of other kinds.
    /// `hvp` adds its reliability ratios, `reliability [...]`. Costs are operations over those of one forward pass. A
    /// repeated kind or predictor counts once.
    ///
    /// Certificates, the worst over all kinds: first order by two routes and second order by two routes, if both routes
    /// were computed, and the other checks of [`Panel::certificates`].
    ///
    /// # Errors
    /// As [`crate::predict`], or a check that fails.
    pub fn with_predictors(
        self,
        case: &Case<'_>,
        kinds: &[SiteKind],
        predictors: &[Predictor],
        options: PredictorOptions,
    ) -> Result<Self> {
        Ok(Self::with_predictors_all(vec![self], &[*case], kinds, predictors, options)?.remove(0))
    }

    /// Adds the predictions to the results of several cases, as [`crate::patch_all`] returns them; see
    /// [`Labelled::with_predictors`].
    ///
    /// # Errors
    /// As [`Labelled::with_predictors`], for any of the cases.
    pub fn with_predictors_all(
        results: Vec<Self>,
        cases: &[Case<'_>],
        kinds: &[SiteKind],
        predictors: &[Predictor],
        options: PredictorOptions,
    ) -> Result<Vec<Self>> {
        let predictors = &distinct(predictors.iter().copied())[..];
        let names: Vec<&str> = predictors.iter().map(|p| p.name()).collect();
        let noted = |result: Self| result.note("predictors", names.join(","));
        let mut results: Vec<(Self, Vec<Certificate>)> = results.into_iter().map(|r| (noted(r), Vec::new())).collect();
        for kind in distinct(kinds.iter().copied()) {
            let panels = predict_all(cases, kind, predictors, options)?;
            let each = results.into_iter().zip(cases).zip(panels);
            let add = |(((result, mut worst), case), panel): (((Self, _), &Case<'_>), Panel)| {
                merge(&mut worst, &panel.certificates);
                let axes = kind.axes(case.corrupted.model().sizes(), case.corrupted.tokens().len());
                (result.with_panel(kind, &axes, panel), worst)
            };
            results = each.map(add).collect();
        }
        let certified = |(result, worst): (Self, Vec<Certificate>)| worst.into_iter().try_fold(result, Self::certify);
        results.into_iter().map(certified).collect()
    }

    /// Adds the predictions of one kind.
    fn with_panel(mut self, kind: SiteKind, axes: &[(&'static str, usize)], panel: Panel) -> Self {
        let Panel { predicted: each, reliability: ratio, flagged, .. } = panel;
        let all: Vec<_> = [("predictor", each.len())].into_iter().chain(axes.iter().copied()).collect();
        let [predicted, cost, reliability] = names_of(kind);
        let floor = self.number(noise::NAME).unwrap_or(0.0);
        let actual = self.array(kind.arrays()[0]).map_or_else(Vec::new, |a| a.data.clone());
        for one in &each {
            let does = match one.predictor.zero_at(kind) {
                Some(why) => format!("zero by construction: {why}"),
                None => Pairs::above(&one.effect, &actual, floor).agreement().to_string(),
            };
            let text = format!("{does}, cost {:.1}", one.cost);
            self = self.note(&format!("agreement.{kind}.{}", one.predictor), text);
        }
        self = self.with(predicted, &all, each.iter().flat_map(|p| p.effect.iter().copied()).collect()).with(
            cost,
            &all[..1],
            each.iter().map(|p| p.cost as f32).collect(),
        );
        match ratio {
            Some(ratio) => {
                self.with(reliability, axes, ratio).note(&format!("flagged.{kind}"), format!("{flagged:.4}"))
            }
            None => self,
        }
    }
}

/// Returns the names of the arrays of a kind: predictions, costs, reliability.
fn names_of(kind: SiteKind) -> [&'static str; 3] {
    match kind {
        SiteKind::Resid => ["predicted", "cost", "reliability"],
        SiteKind::Mid => ["predicted.mid", "cost.mid", "reliability.mid"],
        SiteKind::AttnOut => ["predicted.attn_out", "cost.attn_out", "reliability.attn_out"],
        SiteKind::MlpOut => ["predicted.mlp_out", "cost.mlp_out", "reliability.mlp_out"],
        SiteKind::Ln1Scale => ["predicted.ln1_scale", "cost.ln1_scale", "reliability.ln1_scale"],
        SiteKind::Ln2Scale => ["predicted.ln2_scale", "cost.ln2_scale", "reliability.ln2_scale"],
        SiteKind::Q => ["predicted.q", "cost.q", "reliability.q"],
        SiteKind::K => ["predicted.k", "cost.k", "reliability.k"],
        SiteKind::V => ["predicted.v", "cost.v", "reliability.v"],
        SiteKind::Z => ["predicted.z", "cost.z", "reliability.z"],
        SiteKind::Pattern => ["predicted.pattern", "cost.pattern", "reliability.pattern"],
        SiteKind::Ln1Normalized => ["predicted.ln1_normalized", "cost.ln1_normalized", "reliability.ln1_normalized"],
        SiteKind::Ln2Normalized => ["predicted.ln2_normalized", "cost.ln2_normalized", "reliability.ln2_normalized"],
        SiteKind::RotQ => ["predicted.rot_q", "cost.rot_q", "reliability.rot_q"],
        SiteKind::RotK => ["predicted.rot_k", "cost.rot_k", "reliability.rot_k"],
        SiteKind::MlpPre => ["predicted.pre", "cost.pre", "reliability.pre"],
        SiteKind::MlpPreLinear => ["predicted.pre_linear", "cost.pre_linear", "reliability.pre_linear"],
        SiteKind::MlpPost => ["predicted.post", "cost.post", "reliability.post"],
    }
}
