//! What a device remembers of its submissions.

use std::collections::VecDeque;

use web_time::Instant;

use crate::profile::Sample;

/// Most launches in one segment; their params share one uniform buffer, 256 bytes apart.
pub(super) const SEGMENT_LAUNCHES: usize = 256;
pub(super) const PARAMS_STRIDE: usize = 256;

/// Submissions in flight, and the estimated speed of the device.
pub(super) struct Flight {
    pub(super) params: wgpu::Buffer,
    /// Operations per second, as measured; starts at a guess from the kind of device.
    pub(super) speed: f64,
    pub(super) queued: VecDeque<(wgpu::SubmissionIndex, f64)>,
    /// Number of submissions so far.
    pub(super) count: u64,
    pub(super) last_done: Instant,
    pub(super) profile: Option<Vec<Timed>>,
    pub(super) timestamp_period: f32,
    pub(super) poison: Option<wgpu::Buffer>,
}

impl Flight {
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue, speed: f64, profile: bool) -> Self {
        let params = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: (SEGMENT_LAUNCHES * PARAMS_STRIDE) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            params,
            speed,
            queued: VecDeque::new(),
            count: 0,
            last_done: Instant::now(),
            profile: profile.then(Vec::new),
            timestamp_period: queue.get_timestamp_period(),
            poison: None,
        }
    }

    /// Forgets the first `count` submissions, which are done. A later wait for one of them would count idle time as its
    /// own.
    pub(super) fn landed(&mut self, count: u64) {
        let later = (self.count - count) as usize;
        self.queued.drain(..self.queued.len().saturating_sub(later));
    }

    pub(super) fn take_pending(&mut self) -> Vec<Timed> {
        self.profile.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// A profiled segment whose timestamps are still on the device.
pub(super) struct Timed {
    pub(super) samples: Vec<Sample>,
    pub(super) ticks: wgpu::Buffer,
    pub(super) period: f32,
}
