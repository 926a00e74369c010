//! Kernels of tests: one entry that writes one buffer, in one variant.

/// Defines a kernel `SHADER.primal` with a binding `y`, from the size of its parameters, its WGSL, the files of its
/// lines, and its host body.
macro_rules! kernel {
    ($name:ident, $shader:literal, $params_size:literal, $source:expr, $lines:expr, $host:expr) => {
        static $name: Kernel = Kernel {
            shader: &shaders::Kernel {
                name: concat!($shader, ".primal"),
                shader: $shader,
                entry: "primal",
                params_size: $params_size,
                bindings: &[shaders::Binding {
                    slot: 1,
                    name: "y",
                    access: shaders::Access::ReadWrite,
                    element: shaders::Element::F32,
                }],
                overrides: &[],
                workgroup: [shaders::Extent::Literal(64), shaders::Extent::Literal(1), shaders::Extent::Literal(1)],
                variants: &[shaders::Variant {
                    name: "base",
                    source: $source,
                    features: shaders::Features { subgroup: false, f16: false, cooperative: false },
                    numbers: &[],
                    flags: &[],
                    lines: $lines,
                }],
            },
            host: $host,
        };
    };
}

pub(super) use kernel;
