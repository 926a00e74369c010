//! Progress of long work: a line on stderr, if stderr is a terminal and the work has taken two seconds.

use std::fmt::Write;
use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use resolvent::engine::{Step, reported};

/// Time after which a command shows its progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two updates of clocks.
const TICK: Duration = Duration::from_millis(200);

/// All bars of this process. indicatif hides them if stderr is not a terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Shows a bar from now on.
pub(crate) fn add(bar: ProgressBar) -> ProgressBar {
    BARS.add(bar)
}

/// Runs `write` while no bar is drawn, so that lines do not mix with bars.
pub(crate) fn between_bars<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

/// Returns the style of a bar with the given parts. `{rate}` and `{left}` are empty until something is done.
pub(crate) fn style(parts: &str) -> ProgressStyle {
    let rate = |state: &ProgressState, text: &mut dyn Write| {
        let _infallible = if state.pos() > 0 { write!(text, " {:.1}/s", state.per_sec()) } else { Ok(()) };
    };
    let left = |state: &ProgressState, text: &mut dyn Write| {
        let seconds = HumanDuration(state.eta());
        let _infallible = if state.pos() > 0 { write!(text, ", {seconds:#} left") } else { Ok(()) };
    };
    let style = ProgressStyle::with_template(parts).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", rate).with_key("left", left).progress_chars("=> ")
}

/// Runs the work of a command. After two seconds, shows the steps of its loops, with their rate and the time left, and
/// a clock.
pub(crate) fn watched<T>(work: impl FnOnce() -> T) -> T {
    let bar =
        ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style("{spinner} {elapsed}"));
    let (shown, (done, waits)) = (bar.clone(), channel::<()>());
    let clock = thread::spawn(move || {
        if waits.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            add(shown).enable_steady_tick(TICK);
        }
    });
    let (reports, mut last) = (bar.clone(), "");
    let result = reported(move |step| show(&reports, &mut last, step), work);
    drop(done);
    let _panicked = clock.join();
    bar.finish_and_clear();
    result
}

/// Shows a step. The first step of a loop has nothing done.
fn show(bar: &ProgressBar, last: &mut &'static str, step: Step) {
    if *last != step.what || step.done == 0 {
        bar.set_position(0);
        bar.reset_eta();
    }
    if *last != step.what {
        bar.set_style(style("{bar:16} {pos}/{len} {msg}{rate}, {elapsed}{left}"));
        bar.set_message(step.what);
        *last = step.what;
    }
    bar.set_length(step.all);
    bar.set_position(step.done);
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use indicatif::TermLike;

    use super::*;

    /// A terminal of one line, which shows what was written last.
    #[derive(Clone, Debug, Default)]
    struct Line(Arc<Mutex<String>>);

    impl Line {
        fn change(&self, change: impl FnOnce(&mut String)) -> io::Result<()> {
            change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(())
        }
    }

    impl TermLike for Line {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.change(|line| line.push_str(text))
        }

        fn clear_line(&self) -> io::Result<()> {
            self.change(String::clear)
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A loop shows what it counts, and its rate and the time left once something is done.
    #[test]
    fn steps_are_shown() {
        let terminal = Line::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 255);
        let (bar, mut last) = (ProgressBar::with_draw_target(None, target), "");
        let mut shown = |what: &'static str, done: u64, all: u64| {
            show(&bar, &mut last, Step::new(what, done, all));
            thread::sleep(Duration::from_millis(20));
            terminal.change(String::clear).expect("a line");
            bar.force_draw();
            terminal.0.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned()
        };
        let begun = shown("edges", 0, 40);
        assert!(begun.contains("0/40 edges, 0s") && !begun.contains("left"), "{begun}");
        let later = shown("edges", 10, 40);
        assert!(later.contains("10/40 edges ") && later.contains("/s, ") && later.ends_with(" left"), "{later}");
        let next = shown("gradients", 0, 3);
        assert!(next.contains("0/3 gradients") && !next.contains("left"), "{next}");
    }
}
