//! `--device all`: several devices of this machine compute the shards of one work, each in a process of its own.
//!
//! A device gets the next shard when it has written the one before, so fast devices compute more. A process that ends
//! early gives its shard back. One that still opens its device when all is done, or after ten minutes, is ended.

mod queue;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use resolvent::engine::{Choice, Kind, adapters};

use crate::Failure;
use crate::terminal::{print, say};
use queue::{Queue, Shared, Speed};

/// How long a process may open its device and its model, before the other devices proceed without it.
const OPEN: Duration = Duration::from_secs(600);

/// The value of `--device`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    One(Choice),
    /// A list of indices, which may contain `host`.
    List(Vec<String>),
    /// All real GPUs and the host executor.
    All,
}

impl FromStr for Asked {
    type Err = resolvent::engine::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        // Names of adapters may have commas too.
        let is_listed = |part: &&str| matches!(part.parse(), Ok(Choice::Host | Choice::Index(_)));
        match text.trim().to_lowercase().as_str() {
            "all" => Ok(Self::All),
            _ if parts.len() > 1 && parts.iter().all(is_listed) => {
                Ok(Self::List(parts.into_iter().map(str::to_owned).collect()))
            }
            _ => Ok(Self::One(text.parse()?)),
        }
    }
}

impl Asked {
    /// Returns the names of several devices; `None` if one was asked for.
    pub(crate) fn several(&self) -> Option<Vec<String>> {
        let real = || adapters().into_iter().enumerate().filter(|(_, info)| info.kind != Kind::Software);
        match self {
            Self::One(_) => None,
            Self::List(names) => Some(names.clone()),
            Self::All => Some(real().map(|(i, _)| i.to_string()).chain(["host".to_owned()]).collect()),
        }
    }
}

/// Returns the device that RESOLVENT_DEVICE names, if it is set. Of a list, a process that knows its index on the
/// machine takes one.
pub(crate) fn from_environment() -> Option<String> {
    const INDICES: [&str; 4] = ["SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK"];
    let text = std::env::var("RESOLVENT_DEVICE").ok().filter(|text| !text.trim().is_empty())?;
    let index = INDICES.iter().find_map(|name| std::env::var(name).ok()?.parse::<usize>().ok());
    match (text.parse(), index) {
        (Ok(Asked::List(names)), Some(index)) => names.get(index % names.len()).cloned(),
        _ => Some(text),
    }
}

/// What several devices have computed.
pub(crate) struct Shares {
    /// Rows that were left out.
    pub(crate) left_out: usize,
    /// What each device has computed, in words.
    pub(crate) text: String,
}

/// Computes shards by a process for each device, which runs `arguments`. `done` is called after each shard.
pub(crate) fn compute(
    arguments: &[OsString],
    devices: &[String],
    shards: Vec<usize>,
    done: &mut dyn FnMut(),
) -> Result<Shares, Failure> {
    let program = std::env::current_exe()?;
    let queue = Queue { waiting: shards.into(), devices: vec![Speed::default(); devices.len()], left_out: 0 };
    let shared = Shared { queue: Mutex::new(queue), changed: Condvar::new() };
    let (sender, receiver) = channel();
    let children: Vec<Mutex<Option<Child>>> = devices.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for (number, device) in devices.iter().enumerate() {
            let (program, shared, children, sender) = (&program, &shared, &children, sender.clone());
            scope.spawn(move || {
                let mut command = Command::new(program);
                command.args(on_device(arguments, device)).stdin(Stdio::piped()).stdout(Stdio::piped());
                let reason = match command.stderr(Stdio::piped()).spawn() {
                    Ok(mut child) => thread::scope(|inner| {
                        let stderr = child.stderr.take();
                        let lines = inner.spawn(move || stderr.map_or_else(String::new, forward));
                        let own = || children[number].lock().unwrap_or_else(PoisonError::into_inner);
                        *own() = Some(child);
                        // Its pipes are closed when this returns, and then it ends.
                        shared.serve(number, children, &sender);
                        let _status = own().take().map(|mut child| child.wait());
                        lines.join().unwrap_or_default()
                    }),
                    Err(error) => error.to_string(),
                };
                let mut queue = shared.lock();
                let own = &mut queue.devices[number];
                if !own.is_late && (own.failure.is_some() || !reason.is_empty()) {
                    let reason = if reason.is_empty() { own.failure.clone().unwrap_or_default() } else { reason };
                    say(format_args!("device {device}: {reason}; other devices compute its shards"));
                    own.failure = Some(reason);
                }
                drop(queue);
                shared.changed.notify_all();
            });
        }
        drop(sender);
        scope.spawn(|| shared.watch(&children, OPEN));
        receiver.iter().for_each(|()| done());
    });
    let queue = shared.lock();
    if !queue.waiting.is_empty() {
        let failures =
            devices.iter().zip(&queue.devices).filter_map(|(device, of)| Some((device, of.failure.as_ref()?)));
        let reasons: Vec<String> = failures.map(|(device, reason)| format!("device {device}: {reason}")).collect();
        let count = queue.waiting.len();
        return Err(format!("no device is left for {count} shards: {}", reasons.join("; ")).into());
    }
    let mut text = String::new();
    for (device, of) in devices.iter().zip(&queue.devices) {
        let each = match of.of_shard() {
            Some(seconds) => format!(", {seconds:.2} s each"),
            None if of.is_late => ", not open before the others were done".to_owned(),
            None => String::new(),
        };
        let _infallible = write!(text, "\ndevice {device}: {} shards{each}", of.shards);
    }
    Ok(Shares { left_out: queue.left_out, text })
}

/// Passes on the lines of a process's stderr. Returns the text of its error.
fn forward(stderr: impl Read) -> String {
    let mut failure = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match line.strip_prefix("error: ") {
            Some(error) => error.clone_into(&mut failure),
            None => say(format_args!("{line}")),
        }
    }
    failure
}

/// Returns the arguments with another device, and with shards from stdin.
fn on_device(arguments: &[OsString], device: &str) -> Vec<OsString> {
    let mut words = arguments.iter();
    let mut own: Vec<OsString> = words.next().cloned().into_iter().collect();
    own.extend([OsString::from(format!("--device={device}")), OsString::from("--queue")]);
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        match text {
            "--device" | "-d" => drop(words.next()),
            _ if text.starts_with("--device=") || text.starts_with("-d") => {}
            _ => own.push(word.clone()),
        }
    }
    own
}

/// Says that the device is open, computes the shards whose numbers stdin lists, and answers each with how many of its
/// rows were left out.
pub(crate) fn from_stdin(compute: &mut dyn FnMut(usize) -> Result<usize, Failure>) -> Result<(), Failure> {
    print("ready")?;
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line)? > 0 {
        let shard = line.trim().parse().map_err(|_| format!("invalid shard `{}`: expected a number", line.trim()))?;
        let left_out = compute(shard)?;
        print(&left_out.to_string())?;
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_devices_are_read() {
        let of = |text: &str| text.parse::<Asked>().ok();
        assert_eq!(of("ALL"), Some(Asked::All));
        assert_eq!(of("0, host"), Some(Asked::List(vec!["0".to_owned(), "host".to_owned()])));
        let name = "llvmpipe (LLVM 19, 256 bits)";
        assert_eq!(of(name), Some(Asked::One(Choice::Name(name.to_owned()))));
        assert_eq!((of("3"), of("")), (Some(Asked::One(Choice::Index(3))), None));
    }

    #[test]
    fn a_process_gets_its_own_device() {
        let of = |line: &str| {
            let words = on_device(&line.split(' ').map(OsString::from).collect::<Vec<_>>(), "host");
            words.iter().map(|word| word.to_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
        };
        let wanted = "run --device=host --queue --prompts x.csv --out-dir y";
        for device in ["--device all", "--device=all", "-d all", "-dall"] {
            assert_eq!(of(&format!("run --prompts x.csv {device} --out-dir y")), wanted);
        }
        assert_eq!(of("run --prompts x.csv --out-dir y"), wanted);
    }
}
