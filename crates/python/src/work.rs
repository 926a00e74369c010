//! Work without the GIL, with interruption by signals and tqdm progress bars.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use resolvent::engine::{in_own_threads, stoppable};

use crate::failure::{DeviceError, Failure, Result};

/// Interval of signal checks: short for a user, long compared with a launch.
const PAUSE: Duration = Duration::from_millis(50);

/// The exception that a signal handler or a progress bar raises during work. The work then stops at its next launch.
#[derive(Clone)]
pub(crate) struct Raised {
    error: Arc<Mutex<Option<PyErr>>>,
    /// The process in which the work began.
    process: u32,
}

impl Raised {
    fn new() -> Self {
        Self { error: Arc::default(), process: std::process::id() }
    }

    fn error(&self) -> MutexGuard<'_, Option<PyErr>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs Python code during the work, and stores the exception that it raises.
    pub(crate) fn python(&self, run: impl FnOnce(Python<'_>) -> PyResult<()>) {
        if self.error().is_some() {
            return;
        }
        if let Err(error) = Python::attach(run) {
            self.error().replace(error);
        }
    }

    /// Returns whether the work must stop.
    fn stop(&self, last: &mut Instant) -> bool {
        if std::process::id() != self.process {
            let forked = "the process was forked by its own progress bar; start processes outside of the work";
            self.error().get_or_insert_with(|| DeviceError::new_err(forked));
        }
        if last.elapsed() >= PAUSE {
            *last = Instant::now();
            self.python(|py| py.check_signals());
        }
        self.error().is_some()
    }
}

/// Runs `work` while other Python threads run.
///
/// Ctrl-C, or an exception raised through the [`Raised`] argument, stops the work at its next launch. The exception is
/// then returned as the error.
pub(crate) fn detached<T: Send, E: Into<Failure> + Send>(
    py: Python<'_>,
    work: impl FnOnce(&Raised) -> Result<T, E> + Send,
) -> Result<T> {
    let (done, raised) = py.detach(move || {
        let raised = Raised::new();
        // In a forked child the work has a thread of its own, and only this one may handle signals.
        let signals = || raised.python(|py| py.check_signals());
        let done = in_own_threads((PAUSE, signals), || {
            let (asked, mut last) = (raised.clone(), Instant::now());
            stoppable(move || asked.stop(&mut last), || work(&raised))
        });
        let raised = raised.error().take();
        (done, raised)
    });
    match raised {
        Some(error) => Err(error.into()),
        None => done?.map_err(Into::into),
    }
}

/// A tqdm progress bar, or none if tqdm is not installed or not wanted.
#[derive(Default)]
pub(crate) struct Bar {
    bar: Option<Py<PyAny>>,
    at: u64,
}

impl Bar {
    /// Creates a bar that counts `unit`; bytes (`B`) are shown in larger units.
    pub(crate) fn new(py: Python<'_>, (what, unit): (&str, &str)) -> PyResult<Self> {
        let tqdm = match py.import("tqdm.auto") {
            Err(error) if error.is_instance_of::<PyImportError>(py) => return Ok(Self::default()),
            imported => imported?,
        };
        let options = PyDict::new(py);
        options.set_item("desc", what)?;
        options.set_item("unit", unit)?;
        options.set_item("unit_scale", unit == "B")?;
        options.set_item("leave", false)?;
        Ok(Self { bar: Some(tqdm.getattr("tqdm")?.call((), Some(&options))?.unbind()), at: 0 })
    }

    /// Shows `done` of `all`, and a text about the current work.
    pub(crate) fn show(&mut self, raised: &Raised, (done, all): (u64, u64), text: Option<&str>) {
        let Some(bar) = &self.bar else { return };
        let step = done as i64 - self.at as i64;
        raised.python(|py| {
            let bar = bar.bind(py);
            bar.setattr("total", all)?;
            if let Some(text) = text {
                bar.call_method1("set_postfix_str", (text,))?;
            }
            bar.call_method1("update", (step,)).map(|_| ())
        });
        self.at = done;
    }

    /// Advances the bar by `more`.
    pub(crate) fn add(&mut self, raised: &Raised, (more, all): (u64, u64)) {
        self.show(raised, (self.at + more, all), None);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let Some(bar) = self.bar.take() else { return };
        // A bar that fails to close does not affect the result.
        Python::attach(|py| drop(bar.bind(py).call_method0("close")));
    }
}
