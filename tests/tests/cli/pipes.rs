//! Output streams that fail: readers that stop early, as `| head` does, closed terminals, and full disks.

use std::io::Read;
use std::process::Stdio;

use super::commands::calls;
use super::directory::Directory;
use super::{Ran, command, tiny};

/// Runs the binary and closes its stdout after reading `bytes` bytes.
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
    // The output exceeds the capacity of a pipe, so that the child is still writing when the reader closes it.
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

/// The destination of stdout or stderr of a command.
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

/// Every command does its work and writes its files, even if stdout and stderr fail.
#[test]
fn failing_streams_do_not_stop_the_work() {
    use Stream::{Closed, Read};
    let mut pairs = vec![(Read, Closed), (Closed, Read), (Closed, Closed)];
    #[cfg(target_os = "linux")]
    pairs.extend([(Read, Stream::Full), (Stream::Full, Read), (Stream::Full, Stream::Full)]);
    let (folder, text) = (tempfile::tempdir().expect("a temporary folder"), Directory::copy().with_tokenizer());
    for call in calls(folder.path(), &text) {
        for &(stdout, stderr) in &pairs {
            call.clean();
            let mut command = command(&call.arguments());
            // Every step logs a line, so that the command writes to stderr early and often.
            let log = if stderr == Read { "warn" } else { "trace" };
            let output = command.env("RESOLVENT_LOG", log).stdout(stdout.stdio()).stderr(stderr.stdio()).output();
            let ran = Ran::from(output.expect("runs"));
            let what = format!("{:?} {stdout:?} {stderr:?}: {}", call.arguments, ran.stderr);
            for file in &call.files {
                assert!(file.exists(), "{what}");
            }
            match stdout {
                Read | Closed => assert_eq!(ran.code, Some(0), "{what}"),
                // The printed result is lost, which is an error. The files are complete.
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

/// Exit codes do not depend on whether messages can be written, for errors, invalid usage and help.
#[test]
fn exit_codes_do_not_depend_on_the_streams() {
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
