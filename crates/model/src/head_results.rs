//! The output projection of attention in parts: what single heads add to the stream, and the rest.

use std::collections::{BTreeMap, BTreeSet};

use resolvent_engine::Device;
use resolvent_ops::Weight;
use resolvent_ops::columns::Columns;
use resolvent_ops::matmul::Matmul;

use crate::arch::Sizes;
use crate::error::Result;
use crate::site::Site;
use crate::weights::{Block, Weights};

/// The output projection of a block whose single heads have values of their own.
pub(crate) struct SplitProjection {
    /// By head.
    pub(crate) heads: BTreeMap<usize, HeadProjection>,
    /// The projection of all other heads, with the bias: its rows of these heads are zero.
    pub(crate) rest: Matmul,
}

/// The part of the projection that reads one head.
pub(crate) struct HeadProjection {
    /// The head's columns of z.
    pub(crate) columns: Columns,
    /// The head's rows of the weight, without the bias.
    pub(crate) product: Matmul,
}

/// Returns the projections of all blocks of which `sites` names what heads add. Their weights are copies in f32.
///
/// # Errors
/// A device error.
pub(crate) fn splits(
    device: &Device,
    (weights, sizes): (&Weights, &Sizes),
    sites: &BTreeSet<Site>,
) -> Result<BTreeMap<usize, SplitProjection>> {
    let mut wanted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for site in sites {
        if let Site::Result(l, h) = *site {
            wanted.entry(l).or_default().push(h);
        }
    }
    wanted.into_iter().map(|(l, heads)| Ok((l, split(device, (&weights.blocks[l], sizes), &heads)?))).collect()
}

fn split(device: &Device, (block, sizes): (&Block, &Sizes), heads: &[usize]) -> Result<SplitProjection> {
    let Sizes { d, d_head, .. } = *sizes;
    let [width, _] = block.out.w.lengths();
    let mut rest = block.out.w.read_rows(device, 0..width)?;
    let upload = |k: usize, elements: &[f32]| -> Result<Weight> {
        Ok(Weight::full(device.upload("attn.proj", &[("k", k), ("n", d)], elements)?))
    };
    let bias = device.upload("bias", &[("n", d)], &vec![0.0f32; d])?;
    let mut products = BTreeMap::new();
    for &head in heads {
        let rows = &mut rest[head * d_head * d..][..d_head * d];
        let product = Matmul { w: upload(d_head, rows)?, bias: bias.clone(), add: false };
        rows.fill(0.0);
        products.insert(head, HeadProjection { columns: Columns { width, first: head * d_head, n: d_head }, product });
    }
    Ok(SplitProjection { heads: products, rest: Matmul { w: upload(width, &rest)?, ..block.out.clone() } })
}
