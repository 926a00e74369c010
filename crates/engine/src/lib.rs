//! Device choice, tensors, recordings, and the two executors that run them.
//!
//! Operations append [`Launch`]es to a [`Recording`] over named buffers; a [`Device`] executes it, on a GPU
//! through wgpu or on the host. Every [`Kernel`] is a WGSL entry and a host body over the same bindings, so
//! both executors run the same recordings.
//!
//! ```
//! use resolvent_engine::Device;
//!
//! let device = Device::host();
//! let x = device.upload("x", &[("rows", 2), ("d", 3)], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! assert_eq!(device.read(&x)?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
//! # Ok::<(), resolvent_engine::Error>(())
//! ```

mod blocking;
mod buffer;
mod cached;
mod closest;
mod collector;
mod counted;
mod device;
mod error;
mod first_use;
mod fork;
mod gpu;
mod guard;
pub mod host;
mod info;
mod kernel;
mod launch;
mod lockstep;
mod options;
mod profile;
mod recording;
mod steps;
mod stop;
mod tensor;
mod upload;
mod waiting;
mod work;

pub use buffer::Buffer;
pub use closest::{closest, did_you_mean};
pub use counted::counted;
pub use device::{Device, Preference, adapters, hidden_adapters};
pub use error::{Error, Result};
pub use first_use::KernelTests;
pub use fork::in_own_threads;
pub use gpu::{WgpuParts, wgpu};
pub use info::{Info, Kind};
pub use kernel::{Bound, Constants, Kernel, as_u32};
pub use launch::{Launch, MAX_GROUPS};
pub use lockstep::Comparison;
pub use options::{BATCH_BYTES, Choice, Options};
pub use profile::Sample;
pub use recording::Recording;
pub use steps::{Step, Steps, reported, stepped};
pub use stop::{go_on, stoppable};
pub use tensor::{Shape, Tensor};
pub use work::Work;
