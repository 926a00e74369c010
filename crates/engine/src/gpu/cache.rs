//! Compiled pipelines that outlive the process: the driver's pipeline cache, kept in a file.
//!
//! Nothing here is an error: without a file, or with one that does not fit, kernels are compiled as ever.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::fault;
use crate::cached;

/// Files beyond this are not read: a cache only grows, and one of this size holds what nobody asks for any more.
const LARGEST: usize = 64 << 20;

/// The driver's cache, and where it is kept.
pub(super) struct Cache {
    pub(super) pipelines: wgpu::PipelineCache,
    file: PathBuf,
    /// What the file holds.
    saved: Mutex<Vec<u8>>,
}

impl Cache {
    /// The cache of `device` in `folder`, with what earlier processes left there. `None` where the backend has no such
    /// thing.
    pub(super) fn open(device: &wgpu::Device, about: &wgpu::AdapterInfo, folder: &Path) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = wgpu::util::pipeline_cache_key(about)?;
        // Two drivers of one GPU have a file each, rather than throwing away each other's.
        let name = cached::name(&format!("{key} {} {}", about.driver, env!("CARGO_PKG_VERSION")));
        let file = folder.join("pipelines").join(name);
        let found = cached::read(&file).filter(|data| data.len() <= LARGEST).unwrap_or_default();
        let make = |data: Option<&[u8]>| {
            let descriptor = wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data, fallback: true };
            // SAFETY: `data` must come from `PipelineCache::get_data`. `cached::read` gives nothing but bytes that bear the
            // checksum with which `save` wrote exactly that, so a file that was cut, damaged or is another's is not
            // handed on; wgpu then checks that adapter, driver and format are those of its header. The checksum
            // is no signature: who can write to the user's own cache folder can forge a file, and could as well
            // replace the program.
            fault::scoped(device, "pipeline cache", 0, || unsafe { device.create_pipeline_cache(&descriptor) }).ok()
        };
        let (pipelines, saved) = match (!found.is_empty()).then(|| make(Some(&found))).flatten() {
            Some(pipelines) => (pipelines, found),
            // Of another adapter under the same name, which wgpu refuses: begun anew.
            None => (make(None)?, Vec::new()),
        };
        Some(Self { pipelines, file, saved: Mutex::new(saved) })
    }

    /// Writes the file anew, if the driver has something to add.
    pub(super) fn save(&self) {
        let Some(data) = self.pipelines.get_data() else { return };
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if *saved != data {
            cached::write(&self.file, &data);
            *saved = data;
        }
    }
}
