//! The shards that wait for a device, and what each device does next.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::process::Child;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a device is left out whose process says nothing.
const ENDED: &str = "its process ended early";

/// What precedes the reason in an answer that no process would avoid.
pub(super) const REFUSED: &str = "refused: ";

/// How many processes of one device, or at one shard, may end early.
const TRIES: usize = 2;

/// What the processes of all devices share.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<usize>,
    pub(super) devices: Vec<Speed>,
    pub(super) left_out: usize,
    /// Devices whose processes a shard has ended.
    ended: BTreeMap<usize, Vec<usize>>,
    /// Shards that no process gets any more, and why.
    pub(super) set_aside: BTreeMap<usize, String>,
    /// Why no process can compute a shard.
    pub(super) refused: Option<String>,
}

/// What a device has done.
#[derive(Clone, Default)]
pub(super) struct Speed {
    pub(super) shards: usize,
    seconds: f64,
    /// The shard that it computes.
    running: Option<usize>,
    /// The shard that ended its process, and how many processes have ended since its last complete shard.
    lost: Option<usize>,
    ends: usize,
    /// Whether it has opened its device, or was ended because the others had computed all before that.
    is_ready: bool,
    pub(super) is_late: bool,
    /// Why its process ended early.
    pub(super) failure: Option<String>,
}

impl Speed {
    /// Returns whether its process may still open it.
    fn opens(&self) -> bool {
        !self.is_ready && !self.is_late && self.failure.is_none()
    }

    /// Returns the seconds of a shard, once they are known.
    pub(super) fn of_shard(&self) -> Option<f64> {
        (self.shards > 0).then(|| self.seconds / self.shards as f64)
    }
}

/// What a device does next.
#[derive(Debug, PartialEq)]
enum Next {
    Shard(usize),
    Wait,
    End,
}

impl Queue {
    pub(super) fn new(shards: Vec<usize>, devices: usize) -> Self {
        Self { waiting: shards.into(), devices: vec![Speed::default(); devices], ..Self::default() }
    }

    /// Chooses what a device does next. It leaves the last shards to faster devices that would compute all of them
    /// before it had computed one. The fastest device never waits for others to take a shard. A shard that ended a
    /// process of this device goes to another one.
    fn next(&mut self, device: usize) -> Next {
        let others = || self.devices.iter().enumerate().filter(|(i, of)| *i != device && of.failure.is_none());
        if self.waiting.is_empty() || self.refused.is_some() {
            // A process that ends early would give its shard back.
            return if others().any(|(_, of)| of.running.is_some()) { Next::Wait } else { Next::End };
        }
        let has_other = others().any(|(_, of)| of.is_ready);
        let is_own = |shard: &usize| self.ended.get(shard).is_some_and(|by| by.contains(&device));
        let Some(at) = self.waiting.iter().position(|shard| !has_other || !is_own(shard)) else { return Next::Wait };
        let shard = self.waiting[at];
        let helps = self.devices[device].of_shard().is_none_or(|own| {
            let faster = others().filter_map(|(_, of)| of.of_shard()).filter(|seconds| *seconds < own);
            faster.map(|seconds| own / seconds.max(1e-9)).sum::<f64>() <= self.waiting.len() as f64
        });
        if !helps && !self.ended.contains_key(&shard) {
            return Next::Wait;
        }
        self.waiting.remove(at);
        self.devices[device].running = Some(shard);
        Next::Shard(shard)
    }

    /// Gives back the shard that a process computed when it ended, or sets it aside.
    fn lose(&mut self, device: usize, shard: usize) {
        let ended = self.ended.entry(shard).or_default();
        ended.push(device);
        match ended.len() < TRIES {
            // It comes last, so that a shard that ends every process stops no other one before.
            true => self.waiting.push_back(shard),
            false => drop(self.set_aside.insert(shard, ENDED.to_owned())),
        }
        let of = &mut self.devices[device];
        (of.lost, of.ends) = (Some(shard), of.ends + 1);
        of.failure = Some(ENDED.to_owned());
    }

    /// Notes that the process of a device has ended, with the text of its error; `None` if it had nothing left to do.
    pub(super) fn end(&mut self, device: usize, reason: String) -> Option<Ended> {
        let of = &mut self.devices[device];
        if of.is_late || (of.failure.is_none() && reason.is_empty()) {
            return None;
        }
        let reason = if reason.is_empty() { of.failure.take().unwrap_or_default() } else { reason };
        of.failure = Some(reason.clone());
        let lost = of.lost.take();
        if let Some(why) = lost.and_then(|shard| self.set_aside.get_mut(&shard)) {
            why.clone_from(&reason);
        }
        let again = lost.is_some() && of.ends < TRIES && self.refused.is_none() && !self.waiting.is_empty();
        if again {
            (of.failure, of.is_ready) = (None, false);
        }
        let next = match (again, self.waiting.is_empty()) {
            (true, _) => "its process is started again",
            (false, false) => "other devices compute its shards",
            (false, true) => "no shard is left for it",
        };
        Some(Ended { reason, again, next })
    }
}

/// How the process of a device has ended.
pub(super) struct Ended {
    pub(super) reason: String,
    /// Whether it is to be started again.
    pub(super) again: bool,
    /// What happens next, in words.
    pub(super) next: &'static str,
}

/// The queue, and what wakes those who wait for a change of it.
pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    pub(super) changed: Condvar,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the processes that have not opened their device within `limit`, so that the others do not wait for them.
    pub(super) fn watch(&self, children: &[Mutex<Option<Child>>], limit: Duration) {
        let began = Instant::now();
        let mut queue = self.lock();
        while queue.devices.iter().any(Speed::opens) {
            let Some(rest) = limit.checked_sub(began.elapsed()).filter(|rest| !rest.is_zero()) else { break };
            (queue, _) = self.changed.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner);
        }
        for (device, child) in queue.devices.iter_mut().zip(children).filter(|(device, _)| device.opens()) {
            device.failure = Some(format!("it was not open after {} s", limit.as_secs_f64()));
            let _ended = child.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(Child::kill);
        }
    }

    /// Gives shards to the process of one device until all are computed, or until it ends.
    pub(super) fn serve(&self, device: usize, children: &[Mutex<Option<Child>>], done: &Sender<()>) {
        let own = |number: usize| children[number].lock().unwrap_or_else(PoisonError::into_inner);
        let pipes = own(device).as_mut().and_then(|child| child.stdin.take().zip(child.stdout.take()));
        let mut talk = pipes.map(|(stdin, stdout)| (stdin, BufReader::new(stdout)));
        // The process says that its device is open, so that its start is no part of the time of a shard.
        let mut line = String::new();
        let is_ready = talk.as_mut().is_some_and(|(_, stdout)| stdout.read_line(&mut line).is_ok_and(|n| n > 0));
        let mut queue = self.lock();
        let own_speed = &mut queue.devices[device];
        // A process that was not open in time has its reason.
        let is_ready = is_ready && own_speed.opens();
        own_speed.is_ready = is_ready;
        if own_speed.opens() {
            own_speed.failure = Some(ENDED.to_owned());
        }
        drop(queue);
        self.changed.notify_all();
        if !is_ready {
            return;
        }
        loop {
            let mut queue = self.lock();
            let shard = loop {
                match queue.next(device) {
                    Next::Shard(shard) => break shard,
                    Next::End => {
                        for (number, of) in queue.devices.iter_mut().enumerate() {
                            if of.opens() {
                                of.is_late = true;
                                let _ended = own(number).as_mut().map(Child::kill);
                            }
                        }
                        drop(queue);
                        self.changed.notify_all();
                        return;
                    }
                    Next::Wait => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(queue);
            let began = Instant::now();
            let answer = talk.as_mut().and_then(|(stdin, stdout)| {
                writeln!(stdin, "{shard}").and_then(|()| stdin.flush()).ok()?;
                let mut line = String::new();
                stdout.read_line(&mut line).ok()?;
                Some(line.trim().to_owned())
            });
            let mut queue = self.lock();
            let of = &mut queue.devices[device];
            of.running = None;
            match answer.as_deref().map(|text| (text.parse::<usize>(), text.strip_prefix(REFUSED))) {
                Some((Ok(left_out), _)) => {
                    (of.shards, of.ends) = (of.shards + 1, 0);
                    of.seconds += began.elapsed().as_secs_f64();
                    queue.left_out += left_out;
                    // The one that listens outlives all processes.
                    let _heard = done.send(());
                }
                Some((_, Some(reason))) => queue.refused = Some(reason.to_owned()),
                Some(_) | None => queue.lose(device, shard),
            }
            let ended = queue.devices[device].failure.is_some() || queue.refused.is_some();
            drop(queue);
            self.changed.notify_all();
            if ended {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(shards: usize, seconds: &[Option<f64>]) -> Queue {
        let speed = |seconds: &Option<f64>| match seconds {
            Some(seconds) => Speed { shards: 2, seconds: 2.0 * seconds, ..Speed::default() },
            None => Speed::default(),
        };
        let devices = seconds.iter().map(speed).collect();
        Queue { waiting: (0..shards).collect(), devices, ..Queue::default() }
    }

    #[test]
    fn slow_devices_leave_the_last_shards_to_fast_ones() {
        assert_eq!(queue(1, &[None, Some(1.0)]).next(0), Next::Shard(0), "its speed is not known");
        assert_eq!(queue(9, &[Some(10.0), Some(1.0)]).next(0), Next::Wait);
        assert_eq!(queue(10, &[Some(10.0), Some(1.0)]).next(0), Next::Shard(0));
        assert_eq!(queue(1, &[Some(10.0), Some(1.0)]).next(1), Next::Shard(0));
        assert_eq!(queue(1, &[Some(1.0), Some(1.0), Some(1.0)]).next(0), Next::Shard(0), "none of them is faster");
        // If the fast device is lost, the slow one computes the rest.
        let mut lost = queue(1, &[Some(10.0), Some(1.0)]);
        lost.devices[1].failure = Some("lost".to_owned());
        assert_eq!((lost.next(0), lost.next(0)), (Next::Shard(0), Next::End));
        // A shard that another device computes may come back.
        let mut all = queue(1, &[Some(1.0), Some(1.0)]);
        assert_eq!((all.next(0), all.next(1)), (Next::Shard(0), Next::Wait));
        all.devices[0].running = None;
        assert_eq!(all.next(1), Next::End);
    }

    /// A process that never says that its device is open, as one whose driver hangs, is ended and named.
    #[cfg(unix)]
    #[test]
    fn a_device_that_does_not_open_is_ended() {
        use std::process::{Command, Stdio};
        let mut silent = Command::new("sleep");
        let child = silent.arg("100").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let children = [Mutex::new(Some(child))];
        let shared = Shared { queue: Mutex::new(queue(2, &[None])), changed: Condvar::new() };
        let (sender, _receiver) = std::sync::mpsc::channel();
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| shared.watch(&children, Duration::from_millis(300)));
            shared.serve(0, &children, &sender);
        });
        let mut ended = children[0].lock().expect("a child").take().expect("a child");
        assert!(!ended.wait().expect("ends").success() && began.elapsed() < Duration::from_secs(50));
        let queue = shared.lock();
        assert_eq!(queue.devices[0].failure.as_deref(), Some("it was not open after 0.3 s"));
        assert_eq!(queue.waiting.len(), 2, "its shards wait for others");
        drop(queue);
        // A device that is open, or that has failed, is not waited for.
        shared.watch(&children, Duration::from_secs(100));
        assert!(began.elapsed() < Duration::from_secs(50));
    }
}
