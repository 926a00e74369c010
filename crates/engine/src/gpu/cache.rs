//! Compiled pipelines between processes: the driver's pipeline cache, stored in a file.
//!
//! Nothing here is an error: without a usable file, the driver compiles the kernels again.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::fault;
use crate::cached;

/// Largest file that is read. A cache only grows, so a larger one contains many pipelines that are no longer used.
const LARGEST: usize = 64 << 20;

/// The driver's cache and its file.
pub(super) struct Cache {
    pub(super) pipelines: wgpu::PipelineCache,
    file: PathBuf,
    /// The data in the file.
    saved: Mutex<Vec<u8>>,
}

impl Cache {
    /// Opens the cache of `device` in `folder`, with the data of earlier processes. Returns `None` if the backend has
    /// no pipeline cache.
    pub(super) async fn open(device: &wgpu::Device, about: &wgpu::AdapterInfo, folder: &Path) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = wgpu::util::pipeline_cache_key(about)?;
        // Each driver of a GPU has its own file, so that two drivers do not discard each other's data.
        let name = cached::name(&format!("{key} {} {}", about.driver, env!("CARGO_PKG_VERSION")));
        let file = folder.join("pipelines").join(name);
        let found = cached::read(&file).filter(|data| data.len() <= LARGEST).unwrap_or_default();
        let mut pipelines = None;
        if !found.is_empty() {
            pipelines = create(device, Some(&found)).await;
        }
        let (pipelines, saved) = match pipelines {
            Some(pipelines) => (pipelines, found),
            // There were no data, or wgpu refused them, because they belong to another adapter under the same name.
            None => (create(device, None).await?, Vec::new()),
        };
        Some(Self { pipelines, file, saved: Mutex::new(saved) })
    }

    /// Writes the file again if the driver has new data.
    pub(super) fn save(&self) {
        let Some(data) = self.pipelines.get_data() else { return };
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if *saved != data {
            cached::write(&self.file, &data);
            *saved = data;
        }
    }
}

/// Returns the driver's cache with `data`, or `None` if it refuses them.
async fn create(device: &wgpu::Device, data: Option<&[u8]>) -> Option<wgpu::PipelineCache> {
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data, fallback: true };
    // SAFETY: `data` must come from `PipelineCache::get_data`. `save` writes exactly that, with a checksum, and
    // `cached::read` returns only data whose checksum matches. So truncated, damaged and unrelated files are excluded.
    // wgpu then compares adapter, driver and format with the header of the data. The checksum is no signature. But
    // whoever can write to the user's own cache folder could as well replace the program.
    let create = || unsafe { device.create_pipeline_cache(&descriptor) };
    fault::scoped_async(device, "pipeline cache", 0, create).await.ok()
}
