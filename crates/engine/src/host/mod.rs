//! The host executor: runs recordings on the CPU, one launch after the other, each on all threads.

mod block;
mod dots;
mod f16_weights;
mod fetch;
mod gemm;
mod instructions;
mod lines;
#[cfg(target_arch = "x86_64")]
mod panels;
mod rows;
mod skinny;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod weights;

use std::sync::Mutex;

use resolvent_shaders::Access;
use web_time::Instant;

pub(crate) use block::{Block, Pool};
pub use fetch::fetch;
pub use gemm::{matmul, products};
pub(crate) use instructions::check as check_instructions;
pub use instructions::instructions;
pub use weights::{Elements, Weights};

use crate::buffer::{Buffer, Storage};
use crate::error::{Error, Result};
use crate::info::{Info, Kind};
use crate::kernel::Bound;
use crate::launch::Launch;
use crate::options::Options;
use crate::profile::Sample;
use crate::stop::go_on;
use block::Guard;

/// Largest binding on the host: WebGPU offsets are 32-bit words, and so are the kernels' indices.
const MAX_BINDING: u64 = 1 << 32;

/// Cost of a group of launches, between which long work can be stopped: a few milliseconds on two cores.
const GROUP: f64 = 5e8;

pub(crate) struct Host {
    info: Info,
    pool: Pool,
    threads: Option<rayon::ThreadPool>,
    profile: Option<Mutex<Vec<Sample>>>,
}

impl Host {
    pub(crate) fn new(options: &Options) -> Self {
        let threads = (options.threads > 0)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(options.threads).build().ok())
            .flatten();
        let count = threads.as_ref().map_or_else(rayon::current_num_threads, |t| t.current_num_threads());
        let info = Info {
            name: format!("host executor, {count} threads"),
            driver: format!(
                "{}-{}, {}",
                std::env::consts::ARCH,
                std::env::consts::OS,
                instructions::name(instructions())
            ),
            backend: "host".to_owned(),
            kind: Kind::Host,
            subgroups: None,
            f16: false,
            cooperative: Vec::new(),
            timestamps: true,
            max_binding: options.max_binding.unwrap_or(MAX_BINDING).min(MAX_BINDING),
        };
        Self {
            info,
            pool: Pool::new(options.poison, options.idle_bytes()),
            threads,
            profile: options.profile.then(Mutex::default),
        }
    }

    pub(crate) fn info(&self) -> &Info {
        &self.info
    }

    pub(crate) fn reserve(&self, words: usize) -> Block {
        self.pool.take(words)
    }

    /// Runs the launches in order. Dropping a launch after it ran returns its buffers to the pool.
    ///
    /// Launches run in groups on a thread of the pool. From a thread outside of it, each product and each loop over
    /// rows would wake the pool and wait to be woken, which costs as much as a small launch.
    pub(crate) fn submit(&self, launches: Vec<Launch>) -> Result<()> {
        let mut rest = launches.into_iter().peekable();
        while rest.peek().is_some() {
            go_on()?;
            let mut group = || {
                let mut cost = 0.0;
                while cost < GROUP
                    && let Some(launch) = rest.next()
                {
                    cost += launch.work.cost();
                    self.timed(&launch)?;
                }
                Ok(())
            };
            match &self.threads {
                Some(pool) => pool.install(group)?,
                None => rayon::scope(move |_| group())?,
            }
        }
        Ok(())
    }

    fn timed(&self, launch: &Launch) -> Result<()> {
        let start = self.profile.as_ref().map(|profile| (profile, Instant::now()));
        self.run(launch)?;
        if let Some((profile, start)) = start {
            let seconds = start.elapsed().as_secs_f64();
            let mut samples = profile.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            samples.push(launch.sample(seconds));
        }
        Ok(())
    }

    fn run(&self, launch: &Launch) -> Result<()> {
        launch.reads_are_written()?;
        // One lock per buffer, however often a launch binds it. Reading twice is allowed, and `Recording::launch` has
        // rejected a written buffer that is bound twice.
        let mut locked: Vec<(u64, Guard<'_>)> = Vec::with_capacity(launch.bindings.len());
        for (binding, tensor) in launch.kernel.shader.bindings.iter().zip(&launch.bindings) {
            let buffer = tensor.buffer();
            if locked.iter().all(|(id, _)| *id != buffer.id()) {
                let block = self.place(buffer)?;
                let guard = match binding.access {
                    Access::Read => Guard::Read(block.read_lock()),
                    Access::ReadWrite => Guard::Write(block.write_lock()),
                };
                locked.push((buffer.id(), guard));
            }
        }
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        let mut sources: Vec<(u64, &[f32])> = Vec::new();
        for (id, guard) in &mut locked {
            match guard {
                Guard::Read(lines) => sources.push((*id, block::words(lines))),
                Guard::Write(lines) => writes.push((*id, block::words_mut(lines))),
            }
        }
        let mut targets = Vec::with_capacity(writes.len());
        for (binding, tensor) in launch.kernel.shader.bindings.iter().zip(&launch.bindings) {
            let id = tensor.buffer().id();
            match binding.access {
                Access::Read => {
                    let words = sources.iter().find(|(other, _)| *other == id).map(|&(_, words)| words);
                    reads.extend(words.map(|words| &words[tensor.range()]));
                }
                Access::ReadWrite => {
                    if let Some(at) = writes.iter().position(|(other, _)| *other == id) {
                        targets.push(&mut writes.swap_remove(at).1[tensor.range()]);
                    }
                }
            }
        }
        let bound = Bound { params: &launch.params, constants: &launch.constants, reads, writes: targets };
        (launch.kernel.host)(bound);
        Ok(())
    }

    fn place<'a>(&self, buffer: &'a Buffer) -> Result<&'a Block> {
        if buffer.storage().is_none() {
            buffer.place(Storage::Host(self.pool.take(buffer.words())));
        }
        match buffer.storage() {
            Some(Storage::Host(block)) => Ok(block),
            _ => Err(Error::foreign(buffer.label())),
        }
    }

    pub(crate) fn take_profile(&self) -> Vec<Sample> {
        let Some(profile) = &self.profile else { return Vec::new() };
        std::mem::take(&mut *profile.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
