//! Execution: launches are split into segments by a time budget; a segment is one encoder and one compute pass.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use web_time::Instant;

use super::fault::{self, Scopes};
use super::flight::{Flight, PARAMS_STRIDE, SEGMENT_LAUNCHES, Timed};
use super::memory::Block;
use super::pipeline::Pipeline;
use super::readback;
use super::shared::Shared;
use crate::blocking::block_on;
use crate::buffer::{Buffer, Storage};
use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::profile::Sample;
use crate::stop::go_on;

/// Target time of one submission, far below any driver's watchdog.
const BUDGET: Duration = Duration::from_millis(250);
/// Submissions queued before the next one waits for the oldest.
const IN_FLIGHT: usize = 3;

/// A launch that is ready to encode.
struct Ready {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    /// Whether the bind group was made for this launch.
    is_new: bool,
    grid: [u32; 3],
    poison: Vec<wgpu::Buffer>,
    sample: Sample,
}

/// Launches of one submission. One set of error scopes is open from the first launch until the submission, so a launch
/// whose bind group is cached needs none of its own.
struct Segment {
    ready: Vec<Ready>,
    params: Vec<u8>,
    cost: f64,
    scopes: Scopes,
}

impl Segment {
    fn open(shared: &Shared) -> Self {
        Self { ready: Vec::new(), params: Vec::new(), cost: 0.0, scopes: Scopes::open(&shared.device) }
    }

    /// Whether a launch of cost `next` belongs into the next segment.
    fn is_full(&self, flight: &Flight, next: f64) -> bool {
        self.ready.len() == SEGMENT_LAUNCHES || self.cost + next > flight.speed * BUDGET.as_secs_f64()
    }

    fn push(&mut self, shared: &Shared, flight: &Flight, launch: &Launch) -> Result<()> {
        self.ready.push(prepare(shared, flight, launch)?);
        self.params.extend_from_slice(&launch.params);
        self.params.resize(self.params.len().next_multiple_of(PARAMS_STRIDE), 0);
        self.cost += launch.work.cost();
        Ok(())
    }
}

/// Executes `launches` in order, and returns the number of segments.
pub(super) fn submit(shared: &Shared, launches: Vec<Launch>) -> Result<u64> {
    shared.pipelines.ready(&shared.device, &launches)?;
    let mut flight = shared.lock_flight();
    let (mut open, mut segments): (Option<Segment>, _) = (None, 0);
    for launch in launches {
        if let Some(full) = open.take_if(|segment| segment.is_full(&flight, launch.work.cost())) {
            flush(shared, &mut flight, full)?;
            segments += 1;
        }
        open.get_or_insert_with(|| Segment::open(shared)).push(shared, &flight, &launch)?;
        // Dropping the launch here returns its unused buffers to the pool, for the next launch.
    }
    if let Some(last) = open {
        flush(shared, &mut flight, last)?;
        segments += 1;
    }
    Ok(segments)
}

fn prepare(shared: &Shared, flight: &Flight, launch: &Launch) -> Result<Ready> {
    launch.reads_are_written()?;
    let pipeline = shared.pipelines.get(&shared.device, launch)?;
    let (mut ranges, mut poison) = (Vec::new(), Vec::new());
    for tensor in &launch.bindings {
        let (block, placed_now) = place(shared, tensor.buffer())?;
        if placed_now && shared.memory.is_poisoned() {
            poison.push(block.buffer().clone());
        }
        let words = tensor.range();
        ranges.push((block.buffer().clone(), words.start as u64 * 4, words.len() as u64 * 4));
    }
    let of = (pipeline.shader, &pipeline.layout, launch.label.as_str());
    let (bind_group, is_new) = shared.memory.bind_groups.get(&shared.device, of, &flight.params, ranges);
    Ok(Ready { pipeline, bind_group, is_new, grid: launch.grid, poison, sample: launch.sample(0.0) })
}

/// Returns the block of `buffer`, and whether it was taken from the pool just now.
fn place<'a>(shared: &Shared, buffer: &'a Buffer) -> Result<(&'a Block, bool)> {
    let fresh = buffer.storage().is_none();
    if fresh {
        buffer.place(Storage::Gpu(Block::pooled(&shared.memory, buffer.label(), buffer.bytes())?));
    }
    match buffer.storage() {
        Some(Storage::Gpu(block)) if block.is_of(&shared.memory) => Ok((block, fresh)),
        _ => Err(Error::foreign(buffer.label())),
    }
}

fn flush(shared: &Shared, flight: &mut Flight, segment: Segment) -> Result<()> {
    go_on()?;
    let Segment { ready, params, cost, scopes } = segment;
    shared.queue.write_buffer(&flight.params, 0, &params);
    let mut encoder = shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let ticks = if flight.profile.is_some() {
        Some(encode_timed(shared, flight, &mut encoder, &ready))
    } else {
        encode(shared, flight, &mut encoder, &ready);
        None
    };
    let index = shared.queue.submit([encoder.finish()]);
    if let Some(error) = block_on(scopes.close()) {
        shared.memory.bind_groups.clear();
        let launches: Vec<(&str, bool)> = ready.iter().map(|r| (r.sample.label.as_str(), r.is_new)).collect();
        return Err(fault::of_segment(error, &launches));
    }
    let samples = ready.into_iter().map(|ready| ready.sample).collect();
    if let (Some(profile), Some(ticks)) = (&mut flight.profile, ticks) {
        profile.push(Timed { samples, ticks, period: flight.timestamp_period });
    }
    flight.landed(shared.landed.load(Ordering::SeqCst));
    if flight.queued.is_empty() {
        flight.last_done = Instant::now();
    }
    flight.queued.push_back((index, cost));
    flight.count += 1;
    shared.sent.store(flight.count, Ordering::SeqCst);
    if flight.queued.len() > IN_FLIGHT {
        wait_for_oldest(shared, flight)?;
    }
    shared.faults.check("submission")
}

/// Waits for the oldest submission and learns the device's speed from it.
fn wait_for_oldest(shared: &Shared, flight: &mut Flight) -> Result<()> {
    let total = landed(shared, flight)?;
    let took = flight.last_done.elapsed().as_secs_f64();
    flight.last_done = Instant::now();
    if took > 1e-3 {
        // Average with the old figure: one disturbed submission does not change the split by much.
        flight.speed = (0.5 * flight.speed + 0.5 * total / took).max(1e9);
    }
    Ok(())
}

/// Waits for the oldest submission, and returns its cost.
#[cfg(not(target_arch = "wasm32"))]
fn landed(shared: &Shared, flight: &mut Flight) -> Result<f64> {
    let Some((index, total)) = flight.queued.pop_front() else { return Ok(0.0) };
    let polled = shared.device.poll(wgpu::PollType::Wait { submission_index: Some(index), timeout: None });
    polled.map_err(|e| Error::DeviceLost { reason: e.to_string() })?;
    Ok(total)
}

/// Waits for all submissions, since a browser cannot wait for one alone, and returns their cost.
#[cfg(target_arch = "wasm32")]
fn landed(shared: &Shared, flight: &mut Flight) -> Result<f64> {
    block_on(shared.drained())?;
    Ok(flight.queued.drain(..).map(|(_, cost)| cost).sum())
}

fn encode(shared: &Shared, flight: &mut Flight, encoder: &mut wgpu::CommandEncoder, ready: &[Ready]) {
    let mut rest = ready;
    let mut first = 0;
    while !rest.is_empty() {
        poison(shared, flight, encoder, &rest[0].poison);
        let run = 1 + rest[1..].iter().take_while(|r| r.poison.is_empty()).count();
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (i, launch) in rest[..run].iter().enumerate() {
            dispatch(&mut pass, launch, first + i);
        }
        drop(pass);
        first += run;
        rest = &rest[run..];
    }
}

fn dispatch(pass: &mut wgpu::ComputePass<'_>, launch: &Ready, place: usize) {
    pass.set_pipeline(&launch.pipeline.pipeline);
    // At most 256 launches of 256 bytes: fits 32 bits.
    pass.set_bind_group(0, &launch.bind_group, &[(place * PARAMS_STRIDE) as u32]);
    let [x, y, z] = launch.grid;
    pass.dispatch_workgroups(x, y, z);
}

/// Fills `targets` with NaN. There are none unless `Options::poison` is set.
fn poison(shared: &Shared, flight: &mut Flight, encoder: &mut wgpu::CommandEncoder, targets: &[wgpu::Buffer]) {
    const CHUNK: u64 = 1 << 20;
    if targets.is_empty() {
        return;
    }
    let source = flight.poison.get_or_insert_with(|| {
        let source = shared.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("poison"),
            size: CHUNK,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        shared.queue.write_buffer(&source, 0, &vec![0xFF; CHUNK as usize]);
        source
    });
    for target in targets {
        for at in (0..target.size()).step_by(CHUNK as usize) {
            let size = CHUNK.min(target.size() - at);
            encoder.copy_buffer_to_buffer(source, 0, target, at, size);
        }
    }
}

/// Waits for a profiled segment and returns its samples, with their times.
pub(super) async fn samples(shared: &Shared, timed: Timed) -> Result<Vec<Sample>> {
    let Timed { mut samples, ticks, period } = timed;
    let range = 0..samples.len() as u64 * 16;
    let bytes = readback::read(shared, &[(&ticks, "timestamps", range)]).await?.concat();
    let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
    for (sample, pair) in samples.iter_mut().zip(ticks.chunks_exact(2)) {
        sample.seconds = pair[1].saturating_sub(pair[0]) as f64 * f64::from(period) * 1e-9;
    }
    Ok(samples)
}

/// Like [`encode`], with a pass and two timestamps for each launch. Returns the buffer that will contain the
/// timestamps.
fn encode_timed(
    shared: &Shared,
    flight: &mut Flight,
    encoder: &mut wgpu::CommandEncoder,
    ready: &[Ready],
) -> wgpu::Buffer {
    let count = 2 * ready.len() as u32;
    let queries = shared.device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("profile"),
        ty: wgpu::QueryType::Timestamp,
        count,
    });
    for (i, launch) in ready.iter().enumerate() {
        poison(shared, flight, encoder, &launch.poison);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(launch.pipeline.shader.name),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(2 * i as u32),
                end_of_pass_write_index: Some(2 * i as u32 + 1),
            }),
        });
        dispatch(&mut pass, launch, i);
    }
    let ticks = shared.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("timestamps"),
        size: u64::from(count) * 8,
        usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    encoder.resolve_query_set(&queries, 0..count, &ticks, 0);
    ticks
}
