//! The primal of [`crate::matmul`] with inputs rounded to f16: `y = r(x) w + b`.  `[rows, k] -> [rows, n]`
//!
//! For f16 weights [whose inputs are rounded](crate::Weight::rounding_inputs): devices with matrix units are fast at
//! such products. All devices round in the same manner, so their results agree. It is launched like any
//! [`Product`](crate::matmul), with other kernels. Derivatives treat rounding as the identity: they are those of
//! `matmul`, in f32.

use resolvent_engine::Kernel;
use resolvent_shaders::matmul_f16 as shader;

use crate::matmul::host::{primal, primal_add, primal_gelu};

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal::<true> };
static PRIMAL_ADD: Kernel = Kernel { shader: &shader::PRIMAL_ADD, host: primal_add::<true> };
static PRIMAL_GELU: Kernel = Kernel { shader: &shader::PRIMAL_GELU, host: primal_gelu::<true> };

/// This op's kernels.
pub(crate) static KERNELS: &[&Kernel] = &[&PRIMAL, &PRIMAL_ADD, &PRIMAL_GELU];

/// Returns the kernel here that replaces `kernel` of [`crate::matmul`], or `None` if `kernel` is no primal.
pub(crate) fn in_place_of(kernel: &Kernel) -> Option<&'static Kernel> {
    KERNELS.iter().find(|own| own.shader.entry == kernel.shader.entry).copied()
}

#[cfg(test)]
mod tests {
    use super::KERNELS;

    /// Launches and host bodies of [`crate::matmul`] give these kernels their arguments. The params are one file of
    /// shaders/lib; the buffers are compared here.
    #[test]
    fn buffers_are_those_of_matmul() {
        for kernel in KERNELS {
            let replaced = crate::matmul::KERNELS.iter().find(|k| k.shader.entry == kernel.shader.entry);
            let names = |kernel: &resolvent_engine::Kernel| -> Vec<(u32, &str)> {
                kernel.shader.bindings.iter().map(|binding| (binding.slot, binding.name)).collect()
            };
            assert_eq!(replaced.map(|k| names(k)), Some(names(kernel)), "{}", kernel.name());
        }
    }
}
