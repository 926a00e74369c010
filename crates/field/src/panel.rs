//! Predictors as a part of the result of a patch sweep.

use crate::distinct::distinct;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::noise;
use crate::patch::Case;
use crate::predictors::{Panel, Predictor, PredictorOptions, predict};
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
    /// As [`predict`], or a check that fails.
    pub fn with_predictors(
        mut self,
        case: &Case<'_>,
        kinds: &[SiteKind],
        predictors: &[Predictor],
        options: PredictorOptions,
    ) -> Result<Self> {
        let (config, tokens) = (case.corrupted.model().config(), case.corrupted.tokens().len());
        let predictors = &distinct(predictors.iter().copied())[..];
        let names: Vec<&str> = predictors.iter().map(|p| p.name()).collect();
        self = self.note("predictors", names.join(","));
        let mut worst = Vec::new();
        for kind in distinct(kinds.iter().copied()) {
            let panel = predict(case, kind, predictors, options)?;
            let axes = kind.axes(config, tokens);
            let all: Vec<_> = [("predictor", predictors.len())].into_iter().chain(axes.clone()).collect();
            let [predicted, cost, reliability] = names_of(kind);
            let floor = self.number(noise::NAME).unwrap_or(0.0);
            let actual = self.array(kind.arrays()[0]).map_or_else(Vec::new, |a| a.data.clone());
            for one in &panel.predicted {
                let does = match one.predictor.zero_at(kind) {
                    Some(why) => format!("zero by construction: {why}"),
                    None => Pairs::above(&one.effect, &actual, floor).agreement().to_string(),
                };
                let text = format!("{does}, cost {:.1}", one.cost);
                self = self.note(&format!("agreement.{kind}.{}", one.predictor), text);
            }
            let Panel { predicted: each, reliability: ratio, flagged, certificates, .. } = panel;
            self = self.with(predicted, &all, each.iter().flat_map(|p| p.effect.iter().copied()).collect()).with(
                cost,
                &all[..1],
                each.iter().map(|p| p.cost as f32).collect(),
            );
            if let Some(ratio) = ratio {
                self = self.with(reliability, &axes, ratio).note(&format!("flagged.{kind}"), format!("{flagged:.4}"));
            }
            crate::certificate::merge(&mut worst, &certificates);
        }
        worst.into_iter().try_fold(self, Self::certify)
    }
}

/// Returns the names of the arrays of a kind: predictions, costs, reliability.
fn names_of(kind: SiteKind) -> [&'static str; 3] {
    match kind {
        SiteKind::Resid => ["predicted", "cost", "reliability"],
        SiteKind::Mid => ["predicted.mid", "cost.mid", "reliability.mid"],
        SiteKind::AttnOut => ["predicted.attn_out", "cost.attn_out", "reliability.attn_out"],
        SiteKind::MlpOut => ["predicted.mlp_out", "cost.mlp_out", "reliability.mlp_out"],
        SiteKind::Q => ["predicted.q", "cost.q", "reliability.q"],
        SiteKind::K => ["predicted.k", "cost.k", "reliability.k"],
        SiteKind::V => ["predicted.v", "cost.v", "reliability.v"],
        SiteKind::Z => ["predicted.z", "cost.z", "reliability.z"],
    }
}
