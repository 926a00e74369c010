//! Values of a run beside its sites: embeddings, scales of norms, and outputs of heads in the residual stream.
//!
//! They are computed on the host, in f64, from values of the run.

use std::collections::BTreeMap;

use resolvent_engine::{Shape, Tensor};
use resolvent_ops::Residuals;

use crate::arch::{Architecture, NormKind};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::parameters::Parameter;
use crate::run::Run;
use crate::site::Site;
use crate::stream_norm::StreamNorm;

impl Model {
    /// Returns whether the model has a norm.
    pub fn has_norm(&self, norm: StreamNorm) -> bool {
        self.architecture().stream_norm(norm).is_some()
    }

    /// Returns whether the model learns embeddings of positions.
    pub fn has_positions(&self) -> bool {
        self.architecture().layout.positions.is_some()
    }
}

impl Run {
    /// Returns what a norm divides each token's row by, `[T]`: TransformerLens' `hook_scale`, the root of the mean
    /// square plus epsilon, of a layer norm after its mean is subtracted. The run's edits of [`Site::NormScale`] are
    /// applied.
    ///
    /// # Errors
    /// A norm that the model lacks, a value that is not finite, or a device error.
    pub fn norm_scale(&self, norm: StreamNorm) -> Result<Vec<f32>> {
        if self.has(Site::NormScale(norm)) {
            return self.capture(Site::NormScale(norm));
        }
        Ok(self.centred(norm)?.into_iter().map(|(_, scale)| scale as f32).collect())
    }

    /// Returns the rows of a norm before its gain and bias, `[T, d]`: TransformerLens' `hook_normalized`. The run's
    /// edits of [`Site::NormScale`] and [`Site::Normalized`] are applied.
    ///
    /// # Errors
    /// As [`Run::norm_scale`].
    pub fn normalized(&self, norm: StreamNorm) -> Result<Vec<f32>> {
        if self.has(Site::Normalized(norm)) {
            return self.capture(Site::Normalized(norm));
        }
        let divided = |(row, scale): (Vec<f64>, f64)| row.into_iter().map(move |x| (x / scale) as f32);
        Ok(self.centred(norm)?.into_iter().flat_map(divided).collect())
    }

    /// Returns what the norm behind a branch divides each token's row by, `[T]`: for `hook_attn_out` or `hook_mlp_out`
    /// of a block, the root of the mean square plus epsilon before that norm. `None` if no norm follows, and for other
    /// sites.
    ///
    /// # Errors
    /// A site that the model lacks, a value that is not finite, or a device error.
    pub fn output_scale(&self, site: Site) -> Result<Option<Vec<f32>>> {
        site.check(self.sizes())?;
        let (model, d) = (self.model().architecture(), self.sizes().d);
        let block = &model.layout.blocks[site.layer()];
        let norm = match site {
            Site::AttnOut(_) => &block.attn_post_norm,
            Site::MlpOut(_) => &block.mlp_post_norm,
            _ => &None,
        };
        // The norm is the op that computes the site, and its input is among its residuals.
        let residuals = self.program().value(site).and_then(|value| self.base.trace.residuals[value - 1].as_ref());
        let (Some(_), Some(input)) = (norm, residuals.and_then(Residuals::first)) else { return Ok(None) };
        let (first, tokens) = (input.range().start + self.span(0, 0).primal * d, self.tokens().len());
        let rows = Tensor::view(input.buffer().clone(), first, Shape::new(&[("rows", tokens), ("d", d)]))?;
        let rows = self.device().read(&rows)?;
        self.finite("the input of a norm", site, 0, &rows)?;
        Ok(Some(rows.chunks(d).map(|row| centred(row, model).1 as f32).collect()))
    }

    /// Returns each token's row that a norm reads, after its mean is subtracted, and its scale.
    fn centred(&self, norm: StreamNorm) -> Result<Vec<(Vec<f64>, f64)>> {
        let (model, sizes) = (self.model().architecture(), *self.sizes());
        let site = match norm {
            StreamNorm::Mlp(l) if !model.parallel => Site::ResidMid(l),
            StreamNorm::Attention(l) | StreamNorm::Mlp(l) => Site::ResidPre(l),
            StreamNorm::Final => Site::level(sizes.layers, &sizes),
        };
        site.check(&sizes)?;
        if !self.model().has_norm(norm) {
            return Err(Error::Place(format!("{norm}: this model has no norm there; read the residual stream")));
        }
        Ok(self.capture(site)?.chunks(sizes.d).map(|row| centred(row, model)).collect())
    }

    /// Returns the rows of the tokens in the embedding, `[T, d]`, with the factor that some models give them:
    /// TransformerLens' `hook_embed`, after the run's edits of [`Site::Embed`].
    ///
    /// # Errors
    /// A value that is not finite, or a device error.
    pub fn token_embeddings(&self) -> Result<Vec<f32>> {
        if self.edits().iter().any(|edit| edit.site == Site::Embed) {
            return self.capture(Site::Embed);
        }
        let scale = self.model().architecture().embedding_scale as f32;
        let mut rows = Vec::with_capacity(self.tokens().len() * self.sizes().d);
        for &id in self.tokens() {
            rows.extend(self.model().embedding(id)?.into_iter().map(|x| scale * x));
        }
        Ok(rows)
    }

    /// Returns the rows of the positions, `[T, d]`: TransformerLens' `hook_pos_embed`. `None` for models without
    /// learned positions. The run's edits of [`Site::PosEmbed`] are applied.
    ///
    /// # Errors
    /// A value that is not finite, or a device error.
    pub fn position_embeddings(&self) -> Result<Option<Vec<f32>>> {
        if self.has(Site::PosEmbed) {
            return Ok(Some(self.capture(Site::PosEmbed)?));
        }
        let all = self.model().parameter(Parameter::Positions)?;
        Ok(all.map(|all| all[..self.tokens().len() * self.sizes().d].to_vec()))
    }

    /// Returns what each head of block l adds to the stream before the bias, `[T, heads, d]`: its z times its part of
    /// the output projection, TransformerLens' `hook_result`. A norm after the projection, which some models have, is
    /// left out. The run's edits of [`Site::Result`] are applied.
    ///
    /// # Errors
    /// A block that the model lacks, a value that is not finite, or a device error.
    pub fn head_results(&self, block: usize) -> Result<Vec<f32>> {
        let sizes = *self.sizes();
        let sites: Vec<Site> = (0..sizes.heads).map(|h| Site::Z(block, h)).collect();
        let (heads, width, d) = (self.captures(&sites)?, sizes.d_head, sizes.d);
        let w = self.model().0.weights.blocks[block].out.w.read_rows(self.device(), 0..sizes.q_width())?;
        let own: Vec<Site> = (0..sizes.heads).map(|h| Site::Result(block, h)).filter(|site| self.has(*site)).collect();
        let own: BTreeMap<Site, Vec<f32>> = own.iter().copied().zip(self.captures(&own)?).collect();
        let mut results = Vec::with_capacity(self.tokens().len() * sizes.heads * d);
        for t in 0..self.tokens().len() {
            for (h, z) in heads.iter().enumerate() {
                if let Some(own) = own.get(&Site::Result(block, h)) {
                    results.extend_from_slice(&own[t * d..][..d]);
                    continue;
                }
                let mut row = vec![0.0f64; d];
                for (z, w) in z[t * width..][..width].iter().zip(w[h * width * d..].chunks(d)) {
                    row.iter_mut().zip(w).for_each(|(out, w)| *out += f64::from(*z) * f64::from(*w));
                }
                let row: Vec<f32> = row.into_iter().map(|x| x as f32).collect();
                self.finite("the output of a head", Site::Z(block, h), t, &row)?;
                results.extend(row);
            }
        }
        Ok(results)
    }
}

/// Returns a row after a norm has subtracted its mean, and the scale that the norm divides it by.
fn centred(row: &[f32], model: &Architecture) -> (Vec<f64>, f64) {
    let n = row.len() as f64;
    let mean = match model.norm {
        NormKind::Layer(_) => row.iter().map(|x| f64::from(*x)).sum::<f64>() / n,
        NormKind::Rms { .. } => 0.0,
    };
    let row: Vec<f64> = row.iter().map(|x| f64::from(*x) - mean).collect();
    let square = row.iter().map(|x| x * x).sum::<f64>() / n;
    (row, (square + model.eps()).sqrt())
}
