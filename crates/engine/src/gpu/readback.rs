//! Reading buffers back.

use std::ops::Range;

use super::answer::Reply;
use super::fault;
use super::shared::Shared;
use crate::error::{Error, Result};

/// A range of a buffer, in bytes that are a multiple of 4, with the buffer's label.
pub(super) type Part<'a> = (&'a wgpu::Buffer, &'a str, Range<u64>);

/// Returns the bytes of several ranges after all submitted work: one copy, one wait, and no blocking.
pub(super) async fn read(shared: &Shared, parts: &[Part<'_>]) -> Result<Vec<Vec<u8>>> {
    let lengths: Vec<u64> = parts.iter().map(|(_, _, range)| range.end - range.start).collect();
    let size: u64 = lengths.iter().sum();
    let Some((_, label, _)) = parts.first().filter(|_| size > 0) else { return Ok(vec![Vec::new(); parts.len()]) };
    let staging = fault::scoped_async(&shared.device, label, size, || {
        let staging = shared.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for ((buffer, _, range), length) in parts.iter().zip(&lengths) {
            encoder.copy_buffer_to_buffer(buffer, range.start, &staging, at, *length);
            at += length;
        }
        shared.queue.submit([encoder.finish()]);
        staging
    })
    .await?;
    let failed =
        |reason: String| Error::Buffer { label: (*label).to_owned(), reason: format!("cannot be read: {reason}") };
    let map = |reply: Reply<_>| staging.slice(..).map_async(wgpu::MapMode::Read, move |mapped| reply.give(mapped));
    shared.answered(map).await?.map_err(|e| failed(e.to_string()))?;
    let view = staging.slice(..).get_mapped_range().map_err(|e| failed(e.to_string()))?;
    let mut at = 0;
    let part = |length: &u64| {
        let bytes = view[at..at + *length as usize].to_vec();
        at += bytes.len();
        bytes
    };
    Ok(lengths.iter().map(part).collect())
}
