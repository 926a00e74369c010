//! Launches: one dispatch of one kernel, checked against its shader.

use std::fmt;

use bytemuck::NoUninit;
use resolvent_shaders::{Access, Binding};

use crate::error::{Error, Result};
use crate::info::Info;
use crate::kernel::{Constants, Kernel};
use crate::profile::Sample;
use crate::tensor::Tensor;
use crate::work::Work;

/// WebGPU's smallest guaranteed limit on workgroups along one dimension.
pub const MAX_GROUPS: u32 = 65_535;

/// What a launch compiles to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) kernel: &'static str,
    pub(crate) variant: &'static str,
    constants: Vec<(&'static str, u64)>,
}

impl Key {
    /// Returns what a kernel's variant compiles to with default constants.
    pub(crate) fn new(kernel: &'static str, variant: &'static str) -> Self {
        Self { kernel, variant, constants: Vec::new() }
    }

    /// Returns the values of `override` constants.
    pub(crate) fn constants(&self) -> Constants {
        let pairs: Vec<(&'static str, f64)> =
            self.constants.iter().map(|&(name, bits)| (name, f64::from_bits(bits))).collect();
        Constants::new(&pairs)
    }
}

impl fmt::Display for Key {
    /// Writes kernel, variant and constants, such as `gelu.jvp base EXACT=1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kernel, self.variant)?;
        self.constants.iter().try_for_each(|&(name, bits)| write!(f, " {name}={}", f64::from_bits(bits)))
    }
}

/// One dispatch of one kernel.
#[derive(Debug)]
pub struct Launch {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Name of the shader's variant.
    pub variant: &'static str,
    /// Values of `override` constants.
    pub constants: Constants,
    /// The `Params` uniform, as bytes.
    pub params: Vec<u8>,
    /// One tensor for each reflected binding, in slot order.
    pub bindings: Vec<Tensor>,
    /// Workgroups along x, y and z.
    pub grid: [u32; 3],
    /// Cost bound.
    pub work: Work,
    /// Scope in the model and kernel, such as `blocks.3:matmul.primal`.
    pub label: String,
}

impl Launch {
    /// Creates a launch of the kernel's `base` variant with default constants. [`crate::Recording::launch`] sets its
    /// label.
    pub fn new<P: NoUninit>(kernel: &'static Kernel, params: P, bindings: &[&Tensor], grid: [u32; 3]) -> Self {
        Self {
            kernel,
            variant: "base",
            constants: Constants::default(),
            params: bytemuck::bytes_of(&params).to_vec(),
            bindings: bindings.iter().map(|&t| t.clone()).collect(),
            grid,
            work: Work::default(),
            label: String::new(),
        }
    }

    /// Sets the variant.
    #[must_use]
    pub fn variant(mut self, variant: &'static str) -> Self {
        self.variant = variant;
        self
    }

    /// Sets override constants.
    #[must_use]
    pub fn constants(mut self, values: &[(&'static str, f64)]) -> Self {
        self.constants = Constants::new(values);
        self
    }

    /// Sets the cost bound.
    #[must_use]
    pub fn work(mut self, flops: f64, bytes: f64) -> Self {
        self.work = Work { flops, bytes };
        self
    }

    fn fail(&self, reason: impl Into<String>) -> Error {
        Error::Launch { kernel: self.kernel.name(), label: self.label.clone(), reason: reason.into() }
    }

    /// Checks the launch against the reflected shader and against the device.
    pub(crate) fn check(&self, info: &Info) -> Result<()> {
        let (shader, limit) = (self.kernel.shader, info.max_binding);
        let Some(variant) = shader.variant(self.variant) else {
            return Err(self.fail(format!("has no variant `{}`", self.variant)));
        };
        if let Some(lacking) = info.lacks(variant) {
            return Err(self.fail(format!("variant `{}` needs {lacking}, which {info} lacks", self.variant)));
        }
        if shader.params_size as usize != self.params.len() {
            let (want, have) = (shader.params_size, self.params.len());
            return Err(self.fail(format!("params are {have} bytes, the shader's are {want}")));
        }
        if shader.bindings.len() != self.bindings.len() {
            let (want, have) = (shader.bindings.len(), self.bindings.len());
            return Err(self.fail(format!("{have} bindings given, the shader has {want}")));
        }
        if let Some((name, _)) =
            self.constants.pairs().iter().find(|(name, _)| !shader.overrides.iter().any(|o| o.name == *name))
        {
            return Err(self.fail(format!("no override `{name}`")));
        }
        if self.grid.iter().any(|&n| n > MAX_GROUPS) {
            return Err(self.fail(format!("grid {:?} exceeds {MAX_GROUPS} along a dimension", self.grid)));
        }
        for (i, (binding, tensor)) in shader.bindings.iter().zip(&self.bindings).enumerate() {
            let bytes = tensor.shape().elements() as u64 * 4;
            if bytes > limit {
                let label = format!("{} ({})", tensor.buffer().label(), binding.name);
                return Err(Error::TooLarge { label, bytes, limit });
            }
            if bytes == 0 {
                return Err(self.fail(format!("binding `{}` is empty: {}", binding.name, tensor.shape())));
            }
            if tensor.range().start % 64 != 0 {
                return Err(self.fail(format!("binding `{}` is not aligned to 256 bytes", binding.name)));
            }
            if binding.access == Access::ReadWrite {
                let twice = self
                    .bindings
                    .iter()
                    .enumerate()
                    .any(|(j, other)| j != i && other.buffer().id() == tensor.buffer().id());
                if twice {
                    return Err(self.fail(format!("`{}` is written and bound twice", tensor.buffer().label())));
                }
            }
        }
        Ok(())
    }
}

impl Launch {
    /// Returns what it compiles to.
    pub(crate) fn key(&self) -> Key {
        Key { kernel: self.kernel.name(), variant: self.variant, constants: self.constants.key() }
    }

    /// Returns the profile's sample of the launch, which took `seconds`.
    pub(crate) fn sample(&self, seconds: f64) -> Sample {
        let bindings = self.kernel.shader.bindings.iter().zip(&self.bindings);
        let written = bindings.filter(|(binding, _)| binding.access == Access::ReadWrite);
        let shapes: Vec<String> = written.map(|(_, tensor)| tensor.shape().to_string()).collect();
        Sample {
            kernel: self.kernel.name(),
            label: self.label.clone(),
            shape: shapes.join(" "),
            work: self.work,
            seconds,
        }
    }

    /// Fails if the launch would read a buffer that nothing has written; called just before the launch runs.
    pub(crate) fn reads_are_written(&self) -> Result<()> {
        let bindings = self.kernel.shader.bindings.iter().zip(&self.bindings);
        let unwritten = |(binding, tensor): &(&Binding, &Tensor)| {
            binding.access == Access::Read && tensor.buffer().storage().is_none()
        };
        match bindings.into_iter().find(unwritten) {
            Some((binding, tensor)) => Err(Error::Buffer {
                label: tensor.buffer().label().to_owned(),
                reason: format!("is read by `{}` ({}) before anything has written it", self.label, binding.name),
            }),
            None => Ok(()),
        }
    }
}
