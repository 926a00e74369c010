//! Devices: which one, what it can do, and its effects: upload, execute, read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::blocking::block_on;
use crate::cached;
use crate::collector::Collector;
use crate::counted;
use crate::error::{Error, Result};
use crate::fork::Opener;
use crate::guard::Guard;
use crate::info::Info;
use crate::launch::Launch;
use crate::lockstep::{self, Comparison};
use crate::options::{Choice, Options};
use crate::profile::Sample;
use crate::work::Work;
use crate::{gpu, host};

/// The GPU adapters of this machine, real ones first. Empty where no driver is installed.
pub fn adapters() -> Vec<Info> {
    gpu::adapters()
}

/// Returns what hides adapters of this machine, if an environment variable does: its name, its value and what to do.
pub fn hidden_adapters() -> Option<String> {
    gpu::hidden()
}

/// The text that measurement found best for launches of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// The shader.
    pub shader: &'static str,
    /// The size, by the name that whoever chooses gives it.
    pub size: &'static str,
    /// The text variant.
    pub variant: &'static str,
}

/// An open device: uploads, executes recordings, reads back. Cloning shares it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    executor: Executor,
    opener: Opener,
    batch_bytes: u64,
    variants: Vec<(&'static str, &'static str)>,
    f16_weights: bool,
    f16_inputs: bool,
    preferred: OnceLock<Vec<Preference>>,
    cache: Option<PathBuf>,
    compared: Option<lockstep::Log>,
    /// The test of kernels before their first use.
    guard: OnceLock<Guard>,
    /// Of a device that takes inputs of tests from work on the host: what it behaves like, and where the inputs go.
    collecting: Option<(Info, Arc<Collector>)>,
    /// Floating-point operations of all that was submitted.
    segments: AtomicU64,
    waits: AtomicU64,
}

pub(crate) enum Executor {
    Gpu(Arc<gpu::Gpu>),
    Host(host::Host),
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Only the process that opened a GPU may close it.
        if let Executor::Gpu(gpu) = &self.executor
            && self.opener.is_parent()
        {
            std::mem::forget(gpu.clone());
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.info())
    }
}

impl Device {
    /// Opens the device that `options` choose. Blocks until it is open.
    pub fn open(options: &Options) -> Result<Self> {
        block_on(Self::open_async(options))
    }

    /// Opens the device that `options` choose, without blocking.
    ///
    /// # Errors
    /// As [`Self::open`]: no such adapter, or one that gives no device.
    pub async fn open_async(options: &Options) -> Result<Self> {
        host::check_instructions()?;
        let executor = match &options.choice {
            Choice::Host => Executor::Host(host::Host::new(options)),
            Choice::Auto => match gpu::Gpu::open(options).await {
                Ok(gpu) => Executor::Gpu(Arc::new(gpu)),
                Err(Error::NoAdapter { .. }) => {
                    // A machine without a GPU is no news. A variable that hides its GPU is.
                    if let Some(hidden) = gpu::hidden() {
                        tracing::warn!("no GPU adapter: {hidden}; using the host executor");
                    }
                    Executor::Host(host::Host::new(options))
                }
                Err(other) => {
                    tracing::warn!("{other}; using the host executor");
                    Executor::Host(host::Host::new(options))
                }
            },
            _ => Executor::Gpu(Arc::new(gpu::Gpu::open(options).await?)),
        };
        Ok(Self::new(executor, options))
    }

    /// Returns a device that behaves like a GPU, runs all work on the host, and collects inputs of kernels.
    pub(crate) fn collecting(options: &Options, like: Info, collector: Arc<Collector>) -> Self {
        let host = Executor::Host(host::Host::new(options));
        Self::with(host, options, Some((like, collector)))
    }

    fn new(executor: Executor, options: &Options) -> Self {
        Self::with(executor, options, None)
    }

    fn with(executor: Executor, options: &Options, collecting: Option<(Info, Arc<Collector>)>) -> Self {
        Self(Arc::new(Inner {
            executor,
            opener: Opener::this(),
            batch_bytes: options.memory(),
            variants: options.variants.clone(),
            f16_weights: options.f16_weights || options.f16_inputs,
            f16_inputs: options.f16_inputs,
            preferred: OnceLock::new(),
            cache: options.cache_folder().map(ToOwned::to_owned),
            compared: options.compare.then(lockstep::Log::default),
            guard: OnceLock::new(),
            collecting,
            segments: AtomicU64::new(0),
            waits: AtomicU64::new(0),
        }))
    }

    /// Returns whether values of both devices can be used together: they are one device, or both are the host, whose
    /// memory is that of the process.
    pub fn shares_memory(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.info().is_host() && other.info().is_host())
    }

    /// Uses the wgpu device and the queue of the program that embeds the engine: results and the program's own work
    /// then share a device. [`Options::choice`] has no effect. The program's handlers of device errors stay in place,
    /// and get the errors of uploads; all other errors are returned here. Nothing tests the adapter: see the facade's
    /// self-test.
    ///
    /// # Errors
    /// [`Error::Limit`]: the device was requested with limits below WebGPU's defaults.
    pub fn from_wgpu(parts: gpu::WgpuParts, options: &Options) -> Result<Self> {
        Ok(Self::new(Executor::Gpu(Arc::new(gpu::Gpu::embedded(parts, options)?)), options))
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
        match (&self.0.executor, &self.0.collecting) {
            (_, Some((like, _))) => like,
            (Executor::Gpu(gpu), _) => gpu.info(),
            (Executor::Host(host), _) => host.info(),
        }
    }

    /// Tests kernels before their first use, if the device is a GPU without another guard.
    pub(crate) fn guard(&self, guard: Guard) {
        let _first = self.0.guard.set(guard);
    }

    /// Returns the error of the first kernel that failed its test: see [`Self::test_kernels`].
    pub fn failed_test(&self) -> Option<Error> {
        self.0.guard.get().and_then(Guard::failed).cloned()
    }

    /// Returns the folder of files for later processes.
    pub(crate) fn cache(&self) -> Option<&Path> {
        self.0.cache.as_deref()
    }

    /// Memory that the intermediate values of one batch may take, in bytes.
    pub fn batch_bytes(&self) -> u64 {
        self.0.batch_bytes
    }

    /// The text variant of `shader` that [`Options::variants`] asks for, if it names the shader.
    pub fn variant(&self, shader: &str) -> Option<&'static str> {
        self.0.variants.iter().find(|(name, _)| *name == shader).map(|&(_, variant)| variant)
    }

    /// Returns whether weights stay 16-bit floats: [`Options::f16_weights`].
    pub fn f16_weights(&self) -> bool {
        self.0.f16_weights
    }

    /// Whether forward products are to round their inputs to 16-bit floats: [`Options::f16_inputs`].
    pub fn f16_inputs(&self) -> bool {
        self.0.f16_inputs
    }

    /// Makes measured preferences known; those of the first call hold for as long as the device is open.
    pub fn prefer(&self, preferences: Vec<Preference>) {
        let _first = self.0.preferred.set(preferences);
    }

    /// What measurement found best for launches of `shader` of this size, if it was made [known](Self::prefer).
    pub fn preferred(&self, shader: &str, size: &str) -> Option<&'static str> {
        let all = self.0.preferred.get().map_or(&[][..], Vec::as_slice);
        all.iter().find(|p| p.shader == shader && p.size == size).map(|p| p.variant)
    }

    /// Returns what an earlier process [stored](Self::keep) under `kind` for this adapter, driver and version.
    pub fn cached(&self, kind: &str) -> Option<Vec<u8>> {
        cached::read(&self.keeping_place(kind)?)
    }

    /// Keeps `data` in the cache folder, for processes to come. Without a folder, or with one that cannot be written,
    /// nothing happens: what is cached can be computed again.
    pub fn keep(&self, kind: &str, data: &[u8]) {
        if let Some(file) = self.keeping_place(kind) {
            cached::write(&file, data);
        }
    }

    /// The file of [`Self::keep`]; `None` without a cache folder.
    fn keeping_place(&self, kind: &str) -> Option<PathBuf> {
        let info = self.info();
        let key = format!("{} {} {} {}", info.name, info.backend, info.driver, env!("CARGO_PKG_VERSION"));
        Some(self.0.cache.as_ref()?.join(kind).join(cached::name(&key)))
    }

    /// Executes `launches`, whose total cost bound is `work`.
    pub(crate) fn execute(&self, launches: Vec<Launch>, work: Work) -> Result<()> {
        counted::add(work);
        let segments = match self.usable()? {
            Executor::Gpu(gpu) => {
                if let Some(guard) = self.0.guard.get() {
                    guard.check(gpu, &launches)?;
                }
                match &self.0.compared {
                    Some(log) => lockstep::submit(gpu, launches, log)?,
                    None => gpu.submit(launches)?,
                }
            }
            Executor::Host(host) => {
                match &self.0.collecting {
                    Some((_, collector)) => collector.submit(host, launches)?,
                    None => host.submit(launches)?,
                }
                1
            }
        };
        self.0.segments.fetch_add(segments, Ordering::Relaxed);
        Ok(())
    }

    /// How often launches were handed to the device so far: once a recording, more often where one was cut because it
    /// is long. All threads that use the device are counted.
    pub fn segments(&self) -> u64 {
        self.0.segments.load(Ordering::Relaxed)
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// Returns the executor, unless it is a GPU that another process opened.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub(crate) fn usable(&self) -> Result<&Executor> {
        match &self.0.executor {
            Executor::Gpu(_) => self.0.opener.check()?,
            Executor::Host(_) => {}
        }
        Ok(&self.0.executor)
    }

    /// Counts a wait for the device.
    pub(crate) fn count_wait(&self) {
        self.0.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the caller has waited for the device so far, to read or for all work to end. All threads that use the
    /// device are counted; on the host, where work is done as it is submitted, reads count as on a GPU.
    pub fn waits(&self) -> u64 {
        self.0.waits.load(Ordering::Relaxed)
    }

    /// Returns the comparisons of the launches since the last call, if the device is a GPU that was opened with
    /// `compare`.
    pub fn take_comparisons(&self) -> Vec<Comparison> {
        self.0.compared.as_ref().map_or_else(Vec::new, lockstep::Log::take)
    }

    /// The launches executed since the last call, if the device was opened with `profile`.
    pub fn take_profile(&self) -> Result<Vec<Sample>> {
        match self.usable()? {
            Executor::Gpu(gpu) => gpu.take_profile(),
            Executor::Host(host) => Ok(host.take_profile()),
        }
    }
}
