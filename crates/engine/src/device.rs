//! Devices: which one, what it can do, and the few effects there are: upload, submit, read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::NoUninit;

use crate::buffer::{Buffer, Storage};
use crate::error::{Error, Result};
use crate::profile::Sample;
use crate::recording::Recording;
use crate::tensor::{Shape, Tensor};
use crate::{gpu, host};

/// Which device to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// A real GPU if there is one, else the host executor. A software Vulkan is never chosen unasked.
    #[default]
    Auto,
    /// Any GPU adapter, real ones first; an error if there is none.
    Gpu,
    /// The host executor.
    Host,
    /// The adapter at this place of [`adapters`].
    Index(usize),
    /// The first adapter whose name or driver contains this text, without regard to case.
    Name(String),
}

impl FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "host" | "cpu" => Self::Host,
            other => other.parse().map_or_else(|_| Self::Name(other.to_owned()), Self::Index),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::Host => f.write_str("host"),
            Self::Index(i) => write!(f, "{i}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Memory of a batch's intermediate values, unless [`Options::batch_bytes`] says otherwise.
pub const BATCH_BYTES: u64 = 512 << 20;

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which device.
    pub choice: Choice,
    /// Ask for the adapter's own binding sizes instead of WebGPU's default limits (128 MiB a binding).
    pub adapter_limits: bool,
    /// Bind at most this many bytes at once, where that is less than the device offers: how a smaller device behaves.
    pub max_binding: Option<u64>,
    /// Fill fresh buffers with NaN, so that a kernel that does not write shows. For tests.
    pub poison: bool,
    /// Time every launch; see [`Device::take_profile`].
    pub profile: bool,
    /// Threads of the host executor; 0 is one for each core.
    pub threads: usize,
    /// Memory that the intermediate values of one batch may take, in bytes; 0 is [`BATCH_BYTES`]. Larger work is cut.
    pub batch_bytes: u64,
    /// Text variants to use instead of what an op would choose: (shader, variant), for tuning and for tests.
    pub variants: Vec<(&'static str, &'static str)>,
    /// Folder in which compiled kernels wait for the next process. `None`, or an empty path, keeps nothing.
    pub cache: Option<PathBuf>,
}

impl Options {
    /// Default options for `choice`.
    pub fn new(choice: Choice) -> Self {
        Self { choice, ..Self::default() }
    }

    /// Memory of one batch, in bytes.
    fn memory(&self) -> u64 {
        if self.batch_bytes == 0 { BATCH_BYTES } else { self.batch_bytes }
    }

    /// Where something may be kept between processes.
    pub fn cache_folder(&self) -> Option<&Path> {
        self.cache.as_deref().filter(|folder| !folder.as_os_str().is_empty())
    }

    /// Memory that may wait to be used again: what two batches take, one being prepared while the other runs.
    pub(crate) fn idle_bytes(&self) -> u64 {
        self.memory().saturating_mul(2)
    }
}

/// What kind of machinery is behind a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Vulkan, Metal, Dx12, Gl, or host.
    pub backend: String,
    /// Kind of device.
    pub kind: Kind,
    /// Smallest and largest subgroup, where kernels may use subgroups.
    pub subgroups: Option<(u32, u32)>,
    /// Whether kernels may use 16-bit floats.
    pub f16: bool,
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
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.backend, self.driver)
    }
}

/// The GPU adapters of this machine, real ones first. Empty where no driver is installed.
pub fn adapters() -> Vec<Info> {
    gpu::adapters()
}

/// An open device: uploads, executes recordings, reads back. Cloning shares it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    executor: Executor,
    batch_bytes: u64,
    variants: Vec<(&'static str, &'static str)>,
    /// Floating-point operations of all that was submitted.
    flops: AtomicU64,
    segments: AtomicU64,
}

enum Executor {
    Gpu(gpu::Gpu),
    Host(host::Host),
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.info())
    }
}

impl Device {
    /// Opens the device that `options` choose.
    pub fn open(options: &Options) -> Result<Self> {
        let executor = match &options.choice {
            Choice::Host => Executor::Host(host::Host::new(options)),
            Choice::Auto => match gpu::Gpu::open(options) {
                Ok(gpu) => Executor::Gpu(gpu),
                Err(Error::NoAdapter { .. }) => Executor::Host(host::Host::new(options)),
                Err(other) => {
                    tracing::warn!("{other}; using the host executor");
                    Executor::Host(host::Host::new(options))
                }
            },
            _ => Executor::Gpu(gpu::Gpu::open(options)?),
        };
        Ok(Self::new(executor, options))
    }

    fn new(executor: Executor, options: &Options) -> Self {
        let variants = options.variants.clone();
        let (flops, segments) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { executor, batch_bytes: options.memory(), variants, flops, segments }))
    }

    /// The host executor with default options.
    pub fn host() -> Self {
        let options = Options::new(Choice::Host);
        Self::new(Executor::Host(host::Host::new(&options)), &options)
    }

    /// The first GPU adapter, software ones included.
    pub fn gpu() -> Result<Self> {
        Self::open(&Options::new(Choice::Gpu))
    }

    /// Name, driver and abilities.
    pub fn info(&self) -> &Info {
        match &self.0.executor {
            Executor::Gpu(gpu) => gpu.info(),
            Executor::Host(host) => host.info(),
        }
    }

    /// Memory that the intermediate values of one batch may take, in bytes.
    pub fn batch_bytes(&self) -> u64 {
        self.0.batch_bytes
    }

    /// The text variant of `shader` that [`Options::variants`] asks for, if it names the shader.
    pub fn variant(&self, shader: &str) -> Option<&'static str> {
        self.0.variants.iter().find(|(name, _)| *name == shader).map(|&(_, variant)| variant)
    }

    /// An empty recording for this device.
    pub fn record(&self) -> Recording {
        Recording::new(self.clone())
    }

    /// Copies `data` (f32 or u32) to a new tensor of shape `dims`.
    pub fn upload<T: NoUninit>(
        &self,
        name: &str,
        dims: &[(&'static str, usize)],
        data: &[T],
    ) -> Result<Tensor> {
        let (tensor, bytes) = (self.reserve(name, dims)?, bytemuck::cast_slice(data));
        let want = tensor.buffer().bytes();
        if bytes.len() as u64 != want {
            let reason = format!("is {} and was given {} bytes", tensor.shape(), bytes.len());
            return Err(Error::Buffer { label: name.to_owned(), reason });
        }
        self.write(&tensor, 0, bytes)?;
        Ok(tensor)
    }

    /// A tensor with memory of its own, to be filled by [`Device::write`] piece by piece.
    pub fn reserve(&self, name: &str, dims: &[(&'static str, usize)]) -> Result<Tensor> {
        let shape = Shape::new(dims);
        let words = shape.elements();
        let (bytes, limit) = (words as u64 * 4, self.info().max_binding);
        if bytes > limit {
            return Err(Error::TooLarge { label: name.to_owned(), bytes, limit });
        }
        let storage = match &self.0.executor {
            Executor::Gpu(gpu) => Storage::Gpu(gpu.reserve(name, bytes)?),
            Executor::Host(host) => Storage::Host(host.reserve(words)),
        };
        Tensor::new(Buffer::placed(name, words, storage), shape)
    }

    /// Writes `bytes` into a reserved tensor from word `offset` on, before any launch to come.
    pub fn write(&self, tensor: &Tensor, offset: usize, bytes: &[u8]) -> Result<()> {
        let buffer = tensor.buffer();
        let fail =
            |reason: &str| Error::Buffer { label: buffer.label().to_owned(), reason: reason.to_owned() };
        let start = tensor.range().start + offset;
        if (start * 4 + bytes.len()) as u64 > buffer.bytes() {
            return Err(fail("is too small for what is written to it"));
        }
        match (&self.0.executor, buffer.storage()) {
            (Executor::Gpu(gpu), Some(Storage::Gpu(block))) if gpu.owns(block) => {
                gpu.write(block, start as u64 * 4, bytes)
            }
            (Executor::Host(_), Some(Storage::Host(block))) => {
                block.write()[start * 4..][..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            (_, None) => Err(fail("was not reserved")),
            _ => Err(Error::foreign(buffer.label())),
        }
    }

    /// Executes a recording. Work is queued on a GPU; errors that only show later come back from
    /// [`Device::read`] and [`Device::wait`].
    pub fn submit(&self, recording: Recording) -> Result<()> {
        self.0.flops.fetch_add(recording.work().flops as u64, Ordering::Relaxed);
        let segments = match &self.0.executor {
            Executor::Gpu(gpu) => gpu.submit(recording.into_launches())?,
            Executor::Host(host) => host.submit(recording.into_launches()).map(|()| 1)?,
        };
        self.0.segments.fetch_add(segments, Ordering::Relaxed);
        Ok(())
    }

    /// How often launches were handed to the device so far: once a recording, more often where one was cut because it is
    /// long. All threads that use the device are counted.
    pub fn segments(&self) -> u64 {
        self.0.segments.load(Ordering::Relaxed)
    }

    /// Floating-point operations of everything submitted to the device so far, by the cost bounds of the launches: what
    /// an analysis costs, whatever the machine is doing besides. All threads that use the device are counted.
    pub fn flops(&self) -> f64 {
        self.0.flops.load(Ordering::Relaxed) as f64
    }

    /// Waits for all submitted work, and for the errors it may have raised.
    pub fn wait(&self) -> Result<()> {
        match &self.0.executor {
            Executor::Gpu(gpu) => gpu.wait(),
            Executor::Host(_) => Ok(()),
        }
    }

    /// Reads a tensor back, row-major.
    pub fn read(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let buffer = tensor.buffer();
        let fail =
            |reason: &str| Error::Buffer { label: buffer.label().to_owned(), reason: reason.to_owned() };
        match (&self.0.executor, buffer.storage()) {
            (Executor::Gpu(gpu), Some(Storage::Gpu(block))) if gpu.owns(block) => {
                gpu.read(block, buffer.label(), tensor.range())
            }
            (Executor::Host(_), Some(Storage::Host(block))) => Ok(block.read()[tensor.range()].to_vec()),
            (_, None) => Err(fail("was never written; submit its recording first")),
            _ => Err(Error::foreign(buffer.label())),
        }
    }

    /// The launches executed since the last call, if the device was opened with `profile`.
    pub fn take_profile(&self) -> Result<Vec<Sample>> {
        match &self.0.executor {
            Executor::Gpu(gpu) => gpu.take_profile(),
            Executor::Host(host) => Ok(host.take_profile()),
        }
    }
}
