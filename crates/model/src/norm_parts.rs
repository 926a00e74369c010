//! Norms of the stream in parts, where sites name their scales or normalized rows.

use std::collections::{BTreeMap, BTreeSet};

use resolvent_ops::divide::Divide;
use resolvent_ops::gain::Gain;
use resolvent_ops::norm_scale::NormScale;

use crate::arch::{Architecture, NormKind};
use crate::site::Site;
use crate::stream_norm::StreamNorm;
use crate::weights::Weights;

/// A norm as three operations: the centred row and its scale, their quotient, and the gain with the bias.
#[derive(Clone)]
pub(crate) struct NormParts {
    pub(crate) scale: NormScale,
    pub(crate) divide: Divide,
    pub(crate) gain: Gain,
}

/// Returns the parts of the norms that `sites` names. Norms that the model lacks are left out.
pub(crate) fn norm_parts(
    (model, weights): (&Architecture, &Weights),
    sites: &BTreeSet<Site>,
) -> BTreeMap<StreamNorm, NormParts> {
    let parts = |norm: StreamNorm| {
        let at = model.stream_norm(norm)?;
        let [gain, bias] = weights.norms.get(&at.name)?.clone();
        let (d, centred) = (at.width, matches!(model.norm, NormKind::Layer(_)));
        let scale = NormScale { d, centred, eps: model.eps as f32, frozen: false };
        Some((norm, NormParts { scale, divide: Divide { d }, gain: Gain { gain: gain?, bias } }))
    };
    let named: BTreeSet<StreamNorm> = sites.iter().filter_map(|site| site.norm()).collect();
    named.into_iter().filter_map(parts).collect()
}
