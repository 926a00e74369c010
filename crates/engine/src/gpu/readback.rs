//! Reading buffers back.

use std::ops::Range;
use std::sync::mpsc;
use std::time::Duration;

use super::{Shared, fault};
use crate::error::{Error, Result};

/// Time that an answer may take once the queue is empty.
const ANSWER: Duration = Duration::from_secs(10);

/// The bytes of `range` (a multiple of 4) of `buffer`, after all submitted work.
pub(super) fn read(shared: &Shared, buffer: &wgpu::Buffer, label: &str, range: Range<u64>) -> Result<Vec<u8>> {
    let size = range.end - range.start;
    if size == 0 {
        return Ok(Vec::new());
    }
    let staging = fault::scoped(&shared.device, label, size, || {
        let staging = shared.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, range.start, &staging, 0, size);
        shared.queue.submit([encoder.finish()]);
        staging
    })?;
    let (send, receive) = mpsc::channel();
    staging.slice(..).map_async(wgpu::MapMode::Read, move |mapped| {
        // The receiver waits below; it can only be gone if this thread has unwound.
        let _gone = send.send(mapped);
    });
    shared.submit_pending()?;
    let failed =
        |reason: String| Error::Buffer { label: label.to_owned(), reason: format!("cannot be read: {reason}") };
    // Another thread that polls may have taken our answer along, and be about to deliver it.
    match receive.recv_timeout(ANSWER) {
        Ok(Ok(())) => {}
        Ok(Err(e)) => return Err(failed(e.to_string())),
        Err(_) => return Err(failed("the driver finished without answering".to_owned())),
    }
    let view = staging.slice(..).get_mapped_range().map_err(|e| failed(e.to_string()))?;
    Ok(view.to_vec())
}
