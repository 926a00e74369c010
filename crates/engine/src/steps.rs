//! Progress of long work: loops report their steps, and a callback of the thread receives them.
//!
//! The callback belongs to a thread, not to a device, as that of [`crate::stoppable`].

use std::cell::{Cell, RefCell};

/// How far long work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What is counted, in the plural: `edited runs`.
    pub what: &'static str,
    /// How many are done.
    pub done: u64,
    /// How many there are.
    pub all: u64,
}

impl Step {
    /// Returns a step of a loop.
    pub fn new(what: &'static str, done: u64, all: u64) -> Self {
        Self { what, done, all }
    }
}

type Report = Box<dyn FnMut(Step)>;

thread_local! {
    static REPORT: RefCell<Option<Report>> = const { RefCell::new(None) };
    /// Number of loops of this thread that are counted and not at their end.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work`, and calls `report` on this thread for each step of its loops. Of nested loops, the outermost is
/// reported. Calls may be frequent, so `report` must be cheap.
pub fn reported<T>(report: impl FnMut(Step) + 'static, work: impl FnOnce() -> T) -> T {
    /// Restores the thread's former callback, also if `work` panics.
    struct Former(Option<Report>);
    impl Drop for Former {
        fn drop(&mut self) {
            REPORT.set(self.0.take());
        }
    }
    let _former = Former(REPORT.replace(Some(Box::new(report))));
    work()
}

/// The steps of a loop. Its steps are reported until it is dropped.
#[derive(Debug)]
pub struct Steps {
    step: Step,
    is_outermost: bool,
}

impl Steps {
    /// Begins a loop of `all` steps.
    pub fn new(what: &'static str, all: u64) -> Self {
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        let steps = Self { step: Step::new(what, 0, all), is_outermost: depth == 0 };
        steps.report();
        steps
    }

    /// Reports that `more` steps are done.
    pub fn advance(&mut self, more: u64) {
        self.show(self.step.done + more, self.step.all);
    }

    /// Reports how many of how many steps are done, for loops that learn the number as they run.
    pub fn show(&mut self, done: u64, all: u64) {
        self.step = Step { done, all, ..self.step };
        self.report();
    }

    fn report(&self) {
        if !self.is_outermost {
            return;
        }
        // The callback is taken out during its call, so that it may itself run work.
        if let Some(mut report) = REPORT.take() {
            report(self.step);
            REPORT.set(Some(report));
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

/// Iterates over the parts of long work, and reports a part's `size` as done when the next part is asked for.
pub fn stepped<T>(what: &'static str, parts: Vec<T>, size: impl Fn(&T) -> usize) -> impl Iterator<Item = T> {
    let sizes: Vec<u64> = parts.iter().map(|part| size(part) as u64).collect();
    let mut steps = Steps::new(what, sizes.iter().sum());
    let mut before = None;
    parts.into_iter().zip(sizes).map(move |(part, size)| {
        if let Some(done) = before.replace(size) {
            steps.advance(done);
        }
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn reports(work: impl FnOnce()) -> Vec<(&'static str, u64, u64)> {
        let all = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&all);
        reported(move |step| seen.borrow_mut().push((step.what, step.done, step.all)), work);
        all.take()
    }

    #[test]
    fn the_outermost_loop_is_reported() {
        let seen = reports(|| {
            for part in stepped("rows", vec![2, 3], |part| *part) {
                for _ in stepped("inner", vec![(); part], |()| 1) {}
            }
            drop(Steps::new("later", 7));
        });
        assert_eq!(seen, [("rows", 0, 5), ("rows", 2, 5), ("later", 0, 7)]);
    }

    #[test]
    fn a_loop_without_a_listener_reports_nothing() {
        let mut steps = Steps::new("rows", 2);
        steps.advance(1);
        drop(steps);
        let seen = reports(|| {
            let mut steps = Steps::new("rows", 0);
            steps.show(1, 4);
        });
        assert_eq!(seen, [("rows", 0, 0), ("rows", 1, 4)]);
    }

    #[test]
    fn other_threads_report_nothing_here() {
        let seen = reports(|| std::thread::spawn(|| drop(Steps::new("elsewhere", 1))).join().expect("runs"));
        assert_eq!(seen, []);
    }
}
