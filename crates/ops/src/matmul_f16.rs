//! The primal of [`crate::matmul`] with inputs rounded to 16-bit floats: `y = r(x) w + b`.  `[rows, k] -> [rows, n]`
//!
//! For a weight in halves [whose inputs are rounded](crate::Weight::rounding_inputs). What devices with matrix units are fast at;
//! all devices round alike, so that their results agree. Launched as any [`Product`](crate::matmul), with other kernels.
//! Derivatives take rounding for the identity: they are `matmul`'s, in f32.

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use resolvent_engine::Kernel;
use resolvent_shaders::matmul_f16 as shader;

use crate::host::each_row;
use crate::matmul::{primal, primal_add, primal_gelu};

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal::<true> };
static PRIMAL_ADD: Kernel = Kernel { shader: &shader::PRIMAL_ADD, host: primal_add::<true> };
static PRIMAL_GELU: Kernel = Kernel { shader: &shader::PRIMAL_GELU, host: primal_gelu::<true> };

/// This op's kernels.
pub(crate) static KERNELS: &[&Kernel] = &[&PRIMAL, &PRIMAL_ADD, &PRIMAL_GELU];

/// The kernel in the place of `kernel`, one of [`crate::matmul`]'s; `None` for what is no primal.
pub(crate) fn in_place_of(kernel: &Kernel) -> Option<&'static Kernel> {
    KERNELS.iter().find(|own| own.shader.entry == kernel.shader.entry).copied()
}

/// Rows of `k` numbers, each rounded to the nearest half.
pub(crate) fn rounded(x: &[f32], k: usize) -> Vec<f32> {
    let mut rounded = vec![0.0; x.len()];
    each_row(&mut rounded, k, |i, row| {
        let mut f16s = vec![f16::ZERO; k];
        f16s.convert_from_f32_slice(&x[i * k..][..k]);
        f16s.convert_to_f32_slice(row);
    });
    rounded
}
