//! Readers that leave early, as `| head` does, terminals that have closed, and disks that are full.

use std::io::Read;
use std::process::Stdio;

use super::commands::calls;
use super::directory::Directory;
use super::{Ran, command, tiny};

/// The child's end when stdout is closed after `bytes` of it were read.
fn left_after(bytes: usize, arguments: &[&str]) -> Ran {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut stdout = child.stdout.take().expect("is a pipe");
    let mut some = vec![0; bytes];
    stdout.read_exact(&mut some).expect("prints as much");
    drop(stdout);
    child.wait_with_output().expect("ends").into()
}

#[test]
fn a_closed_pipe_is_no_failure() {
    // More than a pipe holds, so that the child is still writing when the reader goes.
    let tokens = vec!["1"; 64].join(",");
    let common = ["--device", "host", "--json", "--tokens", &tokens];
    for (bytes, command) in [
        (0, &["run"][..]),
        (10, &["run"]),
        (10, &["sensitivity", "--target", "#3"]),
        (10, &["green", "--source", "0,0"]),
    ] {
        let ran = left_after(bytes, &[command, &common].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command:?}");
    }
    for arguments in [&["devices", "--no-test"][..], &["run", "--tokens", "1", "--device", "host", "--model", tiny()]] {
        let ran = left_after(0, arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

/// Where one of the two streams of a command leads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stream {
    Read,
    /// A pipe without a reader: every write fails.
    Closed,
    /// A device without space: every write fails.
    #[cfg(target_os = "linux")]
    Full,
}

impl Stream {
    fn stdio(self) -> Stdio {
        match self {
            Self::Read => Stdio::piped(),
            Self::Closed => std::io::pipe().expect("a pipe").1.into(),
            #[cfg(target_os = "linux")]
            Self::Full => std::fs::OpenOptions::new().write(true).open("/dev/full").expect("is there").into(),
        }
    }
}

/// Every command does its work and writes its files, whatever becomes of what it says.
#[test]
fn no_stream_stops_the_work() {
    use Stream::{Closed, Read};
    let mut ways = vec![(Read, Closed), (Closed, Read), (Closed, Closed)];
    #[cfg(target_os = "linux")]
    ways.extend([(Read, Stream::Full), (Stream::Full, Read), (Stream::Full, Stream::Full)]);
    let (folder, text) = (tempfile::tempdir().expect("a temporary folder"), Directory::copy().with_tokenizer());
    for call in calls(folder.path(), &text) {
        for &(stdout, stderr) in &ways {
            call.clean();
            let mut command = command(&call.arguments());
            // A log line at every step, so that stderr is written to early and often.
            let log = if stderr == Read { "warn" } else { "trace" };
            let output = command.env("RESOLVENT_LOG", log).stdout(stdout.stdio()).stderr(stderr.stdio()).output();
            let ran = Ran::from(output.expect("runs"));
            let what = format!("{:?} {stdout:?} {stderr:?}: {}", call.arguments, ran.stderr);
            for file in &call.files {
                assert!(file.exists(), "{what}");
            }
            match stdout {
                Read | Closed => assert_eq!(ran.code, Some(0), "{what}"),
                // The result is lost, which is said; the files are there.
                #[cfg(target_os = "linux")]
                Stream::Full => {
                    assert_eq!(ran.code, Some(1), "{what}");
                    let said = ran.stderr.contains("error: stdout cannot be written: No space left on device");
                    assert!(said || stderr != Read, "{what}");
                }
            }
            assert!(!ran.stdout.is_empty() || stdout != Read, "{what}");
        }
    }
}

/// A failure without a listener is still a failure, and no panic; that goes for bad usage and for help as well.
#[test]
fn failures_without_a_listener_keep_their_code() {
    for (arguments, code) in [
        (&["run", "--tokens", "1", "--model", "/no/such/model", "--device", "host"][..], 1),
        (&["demo", "--device", "host", "--out", "/dev/null/folder"], 1),
        (&["run"], 2),
        (&["--help"], 0),
        (&["patch", "--help"], 0),
    ] {
        for stream in [
            Stream::Closed,
            #[cfg(target_os = "linux")]
            Stream::Full,
        ] {
            let output = command(arguments).stdout(stream.stdio()).stderr(stream.stdio()).output();
            assert_eq!(output.expect("runs").status.code(), Some(code), "{arguments:?} {stream:?}");
        }
    }
}
