//! Peak rates of a device: multiply-adds alone and copies alone, with which a bench compares other kernels.
//!
//! These are no ops of the model: they have no derivatives, and their page is the shader's header.

use resolvent_engine::{Bound, Kernel, Recording, Result, Tensor};
use resolvent_shaders::peak::{self as shader, Params};

use crate::arguments::{launch, params};
use crate::flat_grid;
use crate::host::{each_row, each_row_simd, row_body};

/// Chains of multiply-adds per element, and steps of each chain in a turn.
const CHAINS: usize = 8;
const STEPS: usize = 8;

/// Does eight multiply-adds in each of eight chains, for every element of `x`, `turns` times. The values should be near
/// 0.5. Returns the sums, one per element, after `128 turns` flops for each.
///
/// # Errors
/// The tensor does not fit the device.
pub fn fma(rec: &mut Recording, x: &Tensor, turns: usize) -> Result<Tensor> {
    let n = x.shape().elements();
    let y = rec.tensor("peak.fma", x.shape().dims())?;
    let (grid, groups_x) = flat_grid(n);
    let params = Params { n: n as u32, groups_x, turns: turns as u32 };
    let flops = (2 * CHAINS * STEPS * turns * n) as f64;
    rec.launch(launch(&FMA, params, shader::fma_chains::Bindings { x, y: &y }, grid).work(flops, 8.0 * n as f64))?;
    Ok(y)
}

/// Copies `x`, whose length must be a multiple of four; it moves 8 bytes per element.
///
/// # Errors
/// The tensor does not fit the device.
pub fn copy(rec: &mut Recording, x: &Tensor) -> Result<Tensor> {
    let n = x.shape().elements() / 4;
    let y = rec.tensor("peak.copy", x.shape().dims())?;
    let (grid, groups_x) = flat_grid(n);
    let params = Params { n: n as u32, groups_x, turns: 0 };
    rec.launch(launch(&COPY, params, shader::copy::Bindings { from_x: x, to_y: &y }, grid).work(0.0, 32.0 * n as f64))?;
    Ok(y)
}

static FMA: Kernel = Kernel { shader: &shader::FMA_CHAINS, host: fma_host };
static COPY: Kernel = Kernel { shader: &shader::COPY, host: copy_host };

/// These kernels.
pub static KERNELS: &[&Kernel] = &[&FMA, &COPY];

fn fma_host(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::fma_chains::Bindings { x, y } = shader::fma_chains::Bindings::of(bound.slices());
    each_row_simd::<FmaRow>(y, LANES, FmaInputs { x, steps: p.turns * STEPS as u32, wide: wide_registers() });
}

/// Whether there are 32 registers of 16 elements.
fn wide_registers() -> bool {
    #[cfg(target_arch = "x86_64")]
    return matches!(resolvent_engine::host::instructions(), pulp::Arch::V4(_));
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Elements side by side.
const LANES: usize = 16;

#[derive(Clone, Copy)]
struct FmaInputs<'a> {
    x: &'a [f32],
    steps: u32,
    /// Whether registers are wide and many.
    wide: bool,
}

row_body!(FmaRow<'a>(FmaInputs<'a>) = fma_row);

/// Runs a few chains at a time, so that their sums stay in registers. The number of chains fills the pipelines: four of
/// two registers each, or eight of one.
#[inline(always)]
fn fma_row(FmaInputs { x, steps, wide }: FmaInputs<'_>, row: usize, y: &mut [f32]) {
    let mut m = [0.5f32; LANES];
    m[..y.len()].copy_from_slice(&x[row * LANES..][..y.len()]);
    let mut sum = [0.0f32; LANES];
    // Loops instead of closures: a call that is not inlined is compiled for the oldest processor.
    if wide {
        chains::<CHAINS>(0, &m, steps, &mut sum);
    } else {
        for first in [0, 4] {
            chains::<4>(first, &m, steps, &mut sum);
        }
    }
    y.copy_from_slice(&sum[..y.len()]);
}

#[inline(always)]
fn chains<const N: usize>(first: usize, m: &[f32; LANES], steps: u32, sum: &mut [f32; LANES]) {
    let c = [1.0e-3f32, 2.0e-3, 3.0e-3, 4.0e-3];
    let mut chains = [[0.0f32; LANES]; N];
    for (i, chain) in chains.iter_mut().enumerate() {
        for (a, m) in chain.iter_mut().zip(m) {
            *a = if first + i < 4 { *m } else { m + c[i % 4] };
        }
    }
    for _ in 0..steps {
        for (i, chain) in chains.iter_mut().enumerate() {
            for (a, m) in chain.iter_mut().zip(m) {
                *a = a.mul_add(*m, c[i % 4]);
            }
        }
    }
    for chain in &chains {
        for (sum, a) in sum.iter_mut().zip(chain) {
            *sum += a;
        }
    }
}

fn copy_host(bound: Bound<'_>) {
    const CHUNK: usize = 1 << 16;
    let shader::copy::Bindings { from_x: x, to_y: y } = shader::copy::Bindings::of(bound.slices());
    each_row(y, CHUNK, |i, y| y.copy_from_slice(&x[i * CHUNK..][..y.len()]));
}
