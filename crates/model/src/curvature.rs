//! The second derivatives of observables by the final norm's output.

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::add;
use resolvent_ops::observe::{Observed, Sloped, Spread};
use resolvent_ops::softcap::{CapPoints, SoftCap};

use crate::error::Result;
use crate::model::Model;
use crate::points::HeadFunction;

/// The curved functions among those of some points of a run, observed there.
pub(crate) struct Curvature {
    pub(crate) observed: Observed,
    pub(crate) sloped: Sloped,
    pub(crate) functions: Vec<HeadFunction>,
    /// Which of the rows they are, in order.
    pub(crate) reads: Vec<usize>,
    /// The logits before the cap, and the slopes of the functions by the capped logits, `[points, V]` each.
    pub(crate) capped: Option<(SoftCap, [Tensor; 2])>,
}

impl Curvature {
    /// Returns the place of a point among those that have curvature, if it is one of them.
    pub(crate) fn point(&self, read: usize) -> Option<u32> {
        self.reads.binary_search(&read).ok().map(|point| point as u32)
    }

    /// Records the moments of tangents of the logits: of a row of `x_dot [_, d]`, tangents of the final norm's output,
    /// at a point, for each pair of both.
    pub(crate) fn spread(
        &self,
        rec: &mut Recording,
        model: &Model,
        x_dot: &Tensor,
        pairs: &[(usize, u32)],
    ) -> Result<Turning> {
        let rows: Vec<usize> = pairs.iter().map(|pair| pair.0).collect();
        let of: Vec<u32> = pairs.iter().map(|pair| pair.1).collect();
        rec.scope("unembed");
        let raw = model.raw_logits(rec, x_dot, &rows)?;
        let points = model.device().upload("points", &[("rows", of.len())], &of)?;
        let Some((cap, [x, slope])) = &self.capped else {
            let spread = self.observed.spread(rec, &self.sloped, &raw, &points)?;
            return Ok(Turning { t: raw, points, moments: spread.moments.clone(), spread, added: None });
        };
        let at = CapPoints { x, points: &points };
        let t = cap.slope(rec, at, &raw)?;
        let spread = self.observed.spread(rec, &self.sloped, &t, &points)?;
        let added = cap.second(rec, at, slope, &raw)?;
        let moments = cap.fold(rec, [&added, &raw], &spread.moments)?;
        Ok(Turning { t, points, spread, moments, added: Some(added) })
    }

    /// Returns the second derivative of a point's function along a tangent with these moments.
    pub(crate) fn second(&self, point: u32, moments: &[f32]) -> f64 {
        let f = &self.functions[point as usize];
        let total = f.log_sum_exp() + f.log_p + f.to_base + f.from_base;
        total * f64::from(moments[1]) + f64::from(moments[3])
    }

    /// Records the tangents of the cotangents of the final norm's output, `[pairs, d]`.
    pub(crate) fn turned(&self, rec: &mut Recording, model: &Model, turning: &Turning) -> Result<Tensor> {
        let Turning { t, points, spread, added, .. } = turning;
        let turned = self.observed.turn(rec, &self.sloped, (t, points), spread)?;
        let turned = match (&self.capped, added) {
            (Some((cap, [x, _])), Some(added)) => {
                let by_slope = cap.slope(rec, CapPoints { x, points }, &turned)?;
                add::add(rec, &by_slope, added)?
            }
            _ => turned,
        };
        Ok(model.0.weights.unembed.vjp_all(rec, &turned)?)
    }
}

/// Tangents of logits at points, with their moments.
pub(crate) struct Turning {
    t: Tensor,
    points: Tensor,
    spread: Spread,
    /// The moments of the spread, with what a soft-cap adds.
    pub(crate) moments: Tensor,
    /// What a soft-cap adds to the turned cotangents of the logits, `[pairs, V]`.
    added: Option<Tensor>,
}
