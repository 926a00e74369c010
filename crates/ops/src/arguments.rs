//! Arguments of kernels by name: the structs that `resolvent_shaders` generates, for launches and host bodies.

use bytemuck::{AnyBitPattern, NoUninit};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor};
use resolvent_shaders::{Entry, Uniform};

/// Creates a launch of `kernel` with the params and the buffers of its entry.
pub(crate) fn launch<'a, E>(kernel: &'static Kernel, params: E::Params, buffers: E, grid: [u32; 3]) -> Launch
where
    E: Entry<Slot = &'a Tensor, Params: Uniform<Words: NoUninit>>,
{
    Launch::new(kernel, params.words(), &slots(kernel, buffers), grid)
}

/// Returns the buffers of `kernel` in slot order.
pub(crate) fn slots<'a, E: Entry<Slot = &'a Tensor>>(kernel: &'static Kernel, buffers: E) -> Vec<&'a Tensor> {
    debug_assert!(std::ptr::eq(kernel.shader, E::KERNEL), "{} gets buffers of {}", kernel.name(), E::KERNEL.name);
    buffers.slots()
}

/// Checks an input `[rows, from]` of an op, and creates an output `[rows, to]`.
pub(crate) fn reshaped(
    rec: &Recording,
    (op, output): (&'static str, &'static str),
    rows: usize,
    [from, to]: [usize; 2],
    input: &Tensor,
) -> Result<Tensor> {
    input.expect(op, &[("rows", rows), ("d", from)])?;
    rec.tensor(output, &[("rows", rows), ("d", to)])
}

/// Reads the params of a host body.
pub(crate) fn params<P: Uniform<Words: AnyBitPattern>>(bound: &Bound<'_>) -> P {
    P::from_words(bound.params())
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use resolvent_engine::Device;
    use resolvent_shaders::gelu as shader;

    use super::slots;
    use crate::gelu::KERNELS;

    #[test]
    #[should_panic(expected = "gelu.jvp gets buffers of gelu.vjp")]
    fn buffers_of_another_entry_are_noticed() {
        let any = Device::host().upload("any", &[("n", 1)], &[0.0f32]).expect("it is small");
        let jvp = KERNELS.iter().find(|kernel| kernel.name() == "gelu.jvp").expect("it is declared");
        slots(jvp, shader::vjp::Bindings { x: &any, rows: &any, y_bar: &any, x_bar: &any });
    }
}
