//! Recordings: launches as data. Nothing happens until a device executes one.

use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::launch::Launch;
use crate::tensor::{Shape, Tensor};
use crate::work::Work;

/// Launches in order. Their buffers live as long as a launch or a handle refers to them.
pub struct Recording {
    device: Device,
    scope: String,
    launches: Vec<Launch>,
}

impl Recording {
    pub(crate) fn new(device: Device) -> Self {
        Self { device, scope: String::new(), launches: Vec::new() }
    }

    /// Returns the device that it will run on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Labels the following launches and tensors with `scope`, such as `blocks.3`.
    pub fn scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// Creates a tensor that later launches will write. It takes no memory before the first of them runs.
    pub fn tensor(&self, name: &str, dims: &[(&'static str, usize)]) -> Result<Tensor> {
        let shape = Shape::new(dims);
        let label = if self.scope.is_empty() { name.to_owned() } else { format!("{}.{name}", self.scope) };
        Tensor::new(Buffer::unplaced(label, shape.elements()), shape)
    }

    /// Returns the total cost bound of the launches.
    pub fn work(&self) -> Work {
        let add =
            |sum: Work, one: &Launch| Work { flops: sum.flops + one.work.flops, bytes: sum.bytes + one.work.bytes };
        self.launches.iter().fold(Work::default(), add)
    }

    /// Checks a launch against its shader and appends it. Ignores a launch whose grid has a zero dimension.
    pub fn launch(&mut self, mut launch: Launch) -> Result<()> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let kernel = launch.kernel.name();
        launch.label = if self.scope.is_empty() { kernel.to_owned() } else { format!("{}:{kernel}", self.scope) };
        launch.check(self.device.info())?;
        self.launches.push(launch);
        Ok(())
    }

    /// Returns the launches so far.
    pub fn launches(&self) -> &[Launch] {
        &self.launches
    }
}

// These are here and not with the device, so that `device.rs` does not import this file, which imports it.
impl Device {
    /// Returns an empty recording for this device.
    pub fn record(&self) -> Recording {
        Recording::new(self.clone())
    }

    /// Executes a recording. Work is queued on a GPU; errors that only show later come back from
    /// [`Device::read`] and [`Device::wait`].
    pub fn submit(&self, recording: Recording) -> Result<()> {
        let work = recording.work();
        self.execute(recording.launches, work)
    }
}
