//! What each neuron adds to the residual stream along a cotangent.

use resolvent_engine::Tensor;

use super::edited::batch_of;
use super::responses::{BlockValues, adjoint, chain};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::run::Run;
use crate::site::Site;

/// Returns, for each block and neuron, `<c, o>` summed over tokens, `[L, inner]`: o is what the neuron adds to the
/// residual stream through its row of the output matrix, and c the cotangent `[T, d]` there.
///
/// If a norm follows the MLP, what the neurons add has passed it at its scale in this run. The bias of the output
/// matrix belongs to no neuron.
///
/// # Errors
/// A run that was not prepared for [`crate::path_sites`] and [`Site::MlpPost`], a cotangent of another shape, a value
/// that is not finite, or a device error.
pub fn neuron_products(run: &Run, cotangent: &[f32]) -> Result<Vec<f32>> {
    let (sizes, device, tokens) = (*run.sizes(), run.device(), run.tokens().len());
    if cotangent.len() != tokens * sizes.d {
        let (found, expected) = (cotangent.len(), tokens * sizes.d);
        return Err(Error::Place(format!("the cotangent has {found} elements; expected {tokens} tokens: {expected}")));
    }
    let program = run.program().freeze(Mode::FrozenNorm.frozen());
    let rows = batch_of(device, &[run.span(0, tokens)], &[], 0..=0)?;
    let mut rec = device.record();
    let mut tensors = Vec::with_capacity(2 * sizes.layers);
    for l in 0..sizes.layers {
        let (block, neurons) = (BlockValues::of(run, l)?, run.value_of(Site::MlpPost(l))?);
        let bar = device.upload("cotangent", &[("rows", tokens), ("d", sizes.d)], cotangent)?;
        let nodes = chain(&program, neurons, block.mlp_out)?;
        tensors.push(adjoint(&program, &mut rec, (&rows, &run.base.trace), &nodes, bar)?);
        tensors.push(run.rows_of(neurons)?);
    }
    device.submit(rec)?;
    let read = device.read_many(&tensors.iter().collect::<Vec<&Tensor>>())?;
    let mut products = vec![0.0f32; sizes.layers * sizes.inner];
    for (l, (both, of_block)) in read.chunks(2).zip(products.chunks_mut(sizes.inner)).enumerate() {
        let mut sums = vec![0.0f64; sizes.inner];
        for (bar, value) in both[0].chunks(sizes.inner).zip(both[1].chunks(sizes.inner)) {
            let terms = bar.iter().zip(value).map(|(a, b)| f64::from(*a) * f64::from(*b));
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        }
        of_block.iter_mut().zip(sums).for_each(|(x, sum)| *x = sum as f32);
        run.finite("the product of a neuron", Site::MlpPost(l), 0, of_block)?;
    }
    Ok(products)
}
