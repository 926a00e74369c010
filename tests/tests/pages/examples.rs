//! The examples of the facade run, and print what their comments promise. `tests/build.rs` writes each one as a module.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

type Outcome = Result<(), Box<dyn std::error::Error>>;

thread_local! {
    static PRINTED: RefCell<String> = const { RefCell::new(String::new()) };
}

#[allow(unused, unreachable_pub, clippy::all, reason = "examples are compiled as a reader would write them")]
mod all {
    use super::{Outcome, PRINTED};

    /// Collects the lines that an example prints.
    macro_rules! println {
        ($($part:tt)*) => {{
            let line = format!($($part)*);
            super::PRINTED.with_borrow_mut(|all| all.extend([line.as_str(), "\n"]));
        }};
    }

    include!(concat!(env!("OUT_DIR"), "/examples.rs"));
}

/// Runs an example, and returns what it prints.
fn printed(name: &str, run: fn() -> Outcome) -> String {
    // An example may write a file whose name is unique to the process, and the tests are threads of one process.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    PRINTED.with_borrow_mut(String::clear);
    run().unwrap_or_else(|e| panic!("{name}: {e}"));
    PRINTED.with_borrow(String::clone)
}

/// Runs the example `name`.
fn printed_by(name: &str) -> String {
    let found = all::EXAMPLES.iter().find(|(other, _)| *other == name);
    let (name, run) = found.unwrap_or_else(|| panic!("there is no example `{name}`"));
    printed(name, *run)
}

#[test]
fn every_example_runs() {
    for (name, run) in all::EXAMPLES {
        assert!(!printed(name, *run).is_empty(), "{name} prints nothing");
    }
    assert!(all::EXAMPLES.len() >= 4, "the examples are lost");
}

#[test]
fn an_observable_of_its_own_is_explained() {
    let printed = printed_by("custom_observable");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("J = logprob(#") && lines[0].contains(" + 0.1 * entropy()@"), "{printed}");
    assert_eq!(lines.len(), 8, "{printed}");
    let norms: Vec<f64> = lines[3..].iter().map(|line| line[..9].trim().parse().expect("a number")).collect();
    assert!(norms.is_sorted_by(|a, b| a >= b) && norms[4] > 0.0, "{printed}");
}

#[test]
fn a_slice_is_streamed_to_a_file() {
    let printed = printed_by("streamed_slice");
    for part in ["[4, 4] numbers each", "  25 %", "  100 %", "strongest pairs:", "blocks ", " checks passed"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn a_worker_thread_is_stopped_in_the_middle() {
    let printed = printed_by("own_thread");
    let lines: Vec<&str> = printed.lines().collect();
    let figures: Vec<u64> = lines[0].split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(lines[0].ends_with(" done, stopping it") && figures[0] > 0 && figures[0] < figures[1], "{printed}");
    assert_eq!(lines[1], "request 1: stopped", "{printed}");
    assert!(lines[2].starts_with("request 2: logit(#2)@39 - logit(#6)@39 = "), "{printed}");
    assert_eq!(lines.len(), 3, "{printed}");
}

/// The engine and the program that embeds it share a device. Each sees its own results.
#[test]
fn the_engine_runs_on_the_device_of_a_program() {
    let printed = printed_by("inside_wgpu");
    if resolvent_tests::gpus().is_empty() {
        return;
    }
    assert!(printed.starts_with("J = ") && printed.lines().count() == 5, "{printed}");
    for line in printed.lines().skip(1) {
        let figures: Vec<f64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        assert!(figures[0] > 0.0 && (figures[1] - 2.0 * figures[0]).abs() < 2e-4, "{line}");
    }
}

#[test]
fn prompts_of_a_file_are_swept() {
    let printed = printed_by("sweep_csv");
    assert!(printed.contains("line 6 is left out: the clean prompt has 6 tokens"), "{printed}");
    let levels: Vec<&str> = printed.lines().filter(|line| line.contains(" to ")).collect();
    assert!(levels.len() >= 9 && printed.contains("agreement.resid: n "), "{printed}");
    // The country is read at the last token: its own patch moves J below, and that of the last token above.
    let effects: Vec<f64> = levels[..9].iter().map(|l| l[7..14].trim().parse().expect("a number")).collect();
    assert!(effects[8] > 10.0 && effects[0].abs() < 1e-3, "{printed}");
}
