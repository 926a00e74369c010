//! Readers that leave early, as `| head` does.

use std::io::Read;
use std::process::Stdio;

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
