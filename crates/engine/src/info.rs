//! What a device is and what it can do.

use std::fmt;

use resolvent_shaders::Variant;

/// What kind of machinery is behind a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The host executor.
    Host,
    /// A GPU of its own.
    Discrete,
    /// A GPU that shares memory with the processor.
    Integrated,
    /// A GPU behind a virtual machine.
    Virtual,
    /// A GPU driver that computes on the processor, such as lavapipe or SwiftShader.
    Software,
    /// The driver does not say.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Virtual => "virtual GPU",
            Self::Software => "software GPU",
            Self::Other => "GPU",
        })
    }
}

/// A device's name, driver and abilities.
#[derive(Clone, Debug)]
pub struct Info {
    /// Adapter name, or the host's thread count.
    pub name: String,
    /// Driver name and version.
    pub driver: String,
    /// Vulkan, Metal, Dx12, or host.
    pub backend: String,
    /// Kind of device.
    pub kind: Kind,
    /// Smallest and largest subgroup, where kernels may use subgroups.
    pub subgroups: Option<(u32, u32)>,
    /// Whether kernels may use 16-bit floats.
    pub f16: bool,
    /// Sides of the square matrices of 16-bit floats that the device multiplies as one, with sums in f32: cooperative
    /// matrices. Of an open device, those that kernels may use, which is none unless [`crate::Options::f16_inputs`]
    /// asked for them.
    pub cooperative: Vec<u32>,
    /// Whether launches can be timed on the device.
    pub timestamps: bool,
    /// Most bytes in one binding.
    pub max_binding: u64,
}

impl Info {
    /// Whether launches run on the host executor.
    pub fn is_host(&self) -> bool {
        self.kind == Kind::Host
    }

    /// What a text asks for that this device does not offer; `None` if it runs.
    pub fn lacks(&self, variant: &Variant) -> Option<String> {
        let needs = variant.features;
        if needs.f16 && !self.f16 {
            return Some("16-bit floats".to_owned());
        }
        let side = variant.number("SIDE").unwrap_or(0);
        if needs.cooperative && !self.cooperative.contains(&side) {
            return Some(format!("cooperative matrices of {side} x {side} 16-bit floats"));
        }
        match (needs.subgroup, self.subgroups, variant.number("LANES")) {
            (true, None, _) => Some("subgroups".to_owned()),
            (true, Some((least, _)), Some(lanes)) if least < lanes => {
                Some(format!("subgroups of at least {lanes} lanes"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.backend, self.driver)
    }
}
