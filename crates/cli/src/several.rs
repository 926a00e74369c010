//! `--device all`: several devices of this machine compute the shards of one work, each in a process of its own.
//!
//! A device gets the next shard when it has written the one before, so fast devices compute more. A process that ends
//! early gives its shard back, and is started again until it has ended twice without a shard between. A shard that
//! ended two processes is set aside. A process that still opens its device when all is done, or after ten minutes, is
//! ended.

mod queue;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use resolvent::engine::{Choice, Kind, adapters};

use crate::Failure;
use crate::left_out::Refused;
use crate::terminal::{print, say};
use queue::{Ended, Queue, REFUSED, Shared};

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
    /// Shards that ended two processes, with the reason of the second.
    pub(crate) set_aside: Vec<(usize, String)>,
}

/// Computes shards by a process for each device, which runs `arguments`. `done` is called after each shard.
pub(crate) fn compute(
    arguments: &[OsString],
    devices: &[String],
    shards: Vec<usize>,
    done: &mut dyn FnMut(),
) -> Result<Shares, Failure> {
    let program = std::env::current_exe()?;
    let command = |device: &str| {
        let mut command = Command::new(&program);
        command.args(on_device(arguments, device));
        command
    };
    share(&command, devices, shards, done)
}

/// Computes shards by a process for each device, which `command` starts.
fn share(
    command: &(dyn Fn(&str) -> Command + Sync),
    devices: &[String],
    shards: Vec<usize>,
    done: &mut dyn FnMut(),
) -> Result<Shares, Failure> {
    let shared = Shared { queue: Mutex::new(Queue::new(shards, devices.len())), changed: Condvar::new() };
    let (sender, receiver) = channel();
    let children: Vec<Mutex<Option<Child>>> = devices.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for (number, device) in devices.iter().enumerate() {
            let (shared, children, sender) = (&shared, &children, sender.clone());
            scope.spawn(move || {
                loop {
                    let reason = serve(command(device), number, shared, children, &sender);
                    let ended = shared.lock().end(number, reason);
                    shared.changed.notify_all();
                    let Some(Ended { reason, again, next }) = ended else { return };
                    say(format_args!("device {device}: {reason}; {next}"));
                    if !again {
                        return;
                    }
                    scope.spawn(move || shared.watch(children, OPEN));
                }
            });
        }
        drop(sender);
        scope.spawn(|| shared.watch(&children, OPEN));
        receiver.iter().for_each(|()| done());
    });
    let mut queue = shared.lock();
    if let Some(reason) = queue.refused.take() {
        return Err(reason.into());
    }
    if !queue.waiting.is_empty() {
        let failures =
            devices.iter().zip(&queue.devices).filter_map(|(device, of)| Some((device, of.failure.as_ref()?)));
        let reasons: Vec<String> = failures.map(|(device, reason)| format!("device {device}: {reason}")).collect();
        let count = queue.waiting.len() + queue.set_aside.len();
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
    let set_aside = std::mem::take(&mut queue.set_aside).into_iter().collect();
    Ok(Shares { left_out: queue.left_out, text, set_aside })
}

/// Starts a process, gives it shards until all are computed or it ends, and returns the text of its error.
fn serve(
    mut command: Command,
    number: usize,
    shared: &Shared,
    children: &[Mutex<Option<Child>>],
    done: &Sender<()>,
) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(mut child) => thread::scope(|inner| {
            let stderr = child.stderr.take();
            let lines = inner.spawn(move || stderr.map_or_else(String::new, forward));
            let own = || children[number].lock().unwrap_or_else(PoisonError::into_inner);
            *own() = Some(child);
            // Its pipes are closed when this returns, and then it ends.
            shared.serve(number, children, done);
            let _status = own().take().map(|mut child| child.wait());
            lines.join().unwrap_or_default()
        }),
        Err(error) => error.to_string(),
    }
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
/// rows were left out. An error that concerns all processes is an answer too.
pub(crate) fn from_stdin(compute: &mut dyn FnMut(usize) -> Result<usize, Failure>) -> Result<(), Failure> {
    print("ready")?;
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line)? > 0 {
        let shard = line.trim().parse().map_err(|_| format!("invalid shard `{}`: expected a number", line.trim()))?;
        match compute(shard) {
            Ok(left_out) => print(&left_out.to_string())?,
            Err(failure) if failure.is::<Refused>() => {
                return print(&format!("{REFUSED}{}", crate::one_line(&failure.to_string())));
            }
            Err(failure) => return Err(failure),
        }
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

    /// Shares shards among processes that a shell plays. `on` is what they do with the shard `n`, before the answer.
    #[cfg(unix)]
    fn played(on: &str, devices: usize, shards: usize) -> (Result<Shares, Failure>, usize) {
        let script = format!("echo ready; while read n; do {on}\necho 1; done");
        let command = |_: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]);
            shell
        };
        let (devices, mut done) = (vec!["host".to_owned(); devices], 0);
        let shares = share(&command, &devices, (0..shards).collect(), &mut || done += 1);
        (shares, done)
    }

    /// A shard that ends its process is tried once more, by another device if there is one, and the others are
    /// computed.
    #[cfg(unix)]
    #[test]
    fn a_shard_that_ends_two_processes_is_set_aside() {
        for devices in [1, 2, 3] {
            let (shares, done) = played("[ $n = 3 ] && kill -9 $$", devices, 20);
            let shares = shares.unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((done, shares.left_out), (19, 19), "{devices}");
            assert_eq!(shares.set_aside, [(3, "its process ended early".to_owned())]);
        }
        let (shares, done) = played("case $n in 2|5) echo error: bad $n >&2; exit 1;; esac", 2, 8);
        let reasons = [(2, "bad 2".to_owned()), (5, "bad 5".to_owned())];
        assert_eq!((shares.unwrap_or_else(|e| panic!("{e}")).set_aside, done), (reasons.to_vec(), 6));
    }

    /// A process that is killed once is started again, and nothing is set aside.
    #[cfg(unix)]
    #[test]
    fn a_process_that_ends_once_is_started_again() {
        let once = std::env::temp_dir().join(format!("resolvent-once-{}", std::process::id()));
        let on = format!("[ $n = 1 ] && mkdir '{}' 2>/dev/null && kill -9 $$", once.display());
        let (shares, done) = played(&on, 1, 4);
        std::fs::remove_dir(once).expect("it was ended once");
        let shares = shares.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((done, shares.left_out, shares.set_aside), (4, 4, Vec::new()));
        assert!(shares.text.starts_with("\ndevice host: 4 shards, "), "{}", shares.text);
    }

    /// Processes that compute nothing are not started for ever, and an error of the options ends all.
    #[cfg(unix)]
    #[test]
    fn what_no_process_can_compute_ends_the_command() {
        let (shares, done) = played("echo error: the disk is full >&2; exit 1", 2, 9);
        let error = shares.err().expect("an error").to_string();
        assert!(error.starts_with("no device is left for 9 shards: device host: the disk is full; "), "{error}");
        assert_eq!(done, 0);
        let (shares, done) = played("echo refused: no prompt can be analysed; exit 0", 2, 9);
        assert_eq!(shares.err().expect("an error").to_string(), "no prompt can be analysed");
        assert_eq!(done, 0);
    }
}
