//! Errors that wgpu reports out of band: stored until the next call that can return them, never a panic.

use std::sync::{Arc, Mutex, PoisonError};

use resolvent_shaders::Variant;

use crate::blocking::block_on;
use crate::error::{Error, Result};

/// The first fault that was not caught where it arose. A lost device stays lost.
#[derive(Default)]
pub(super) struct Faults {
    lost: Mutex<Option<String>>,
    uncaught: Mutex<Option<wgpu::Error>>,
}

impl Faults {
    /// Listens to `device`.
    pub(super) fn watch(device: &wgpu::Device) -> Arc<Self> {
        let faults = Arc::new(Self::default());
        let listener = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            // Dropping a device reports it as destroyed, after the last call that could return an error.
            if reason != wgpu::DeviceLostReason::Destroyed {
                *listener.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
            }
        });
        let listener = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error| {
            listener.uncaught.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }));
        faults
    }

    /// Fails if the device is lost.
    pub(super) fn check_lost(&self) -> Result<()> {
        match &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(Error::DeviceLost { reason: one_line(reason) }),
            None => Ok(()),
        }
    }

    /// The fault, if there was one since the last call; `what` names what was being done.
    pub(super) fn check(&self, what: &str) -> Result<()> {
        self.check_lost()?;
        match self.uncaught.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(typed(what, 0, error)),
            None => Ok(()),
        }
    }
}

/// Error scopes of one thread: what the driver refuses while they are open is returned when they are closed.
pub(super) struct Scopes {
    // Dropped in this order, which must be the reverse of the order in which they were opened.
    validation: wgpu::ErrorScopeGuard,
    internal: wgpu::ErrorScopeGuard,
    memory: wgpu::ErrorScopeGuard,
}

impl Scopes {
    pub(super) fn open(device: &wgpu::Device) -> Self {
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        Self { validation, internal, memory }
    }

    /// Closes the scopes, and returns the first error. They are closed by the call; only a browser's answer takes time.
    pub(super) fn close(self) -> impl Future<Output = Option<wgpu::Error>> {
        let found = [self.validation, self.internal, self.memory].map(wgpu::ErrorScopeGuard::pop);
        async {
            for error in found {
                if let Some(error) = error.await {
                    return Some(error);
                }
            }
            None
        }
    }
}

/// Runs `body` inside error scopes, so that what the driver refuses comes back as an error of `what`.
pub(super) async fn scoped_async<T>(
    device: &wgpu::Device,
    what: &str,
    bytes: u64,
    body: impl FnOnce() -> T,
) -> Result<T> {
    let scopes = Scopes::open(device);
    let value = body();
    match scopes.close().await {
        Some(error) => Err(typed(what, bytes, error)),
        None => Ok(value),
    }
}

/// The blocking form of [`scoped_async`].
pub(super) fn scoped<T>(device: &wgpu::Device, what: &str, bytes: u64, body: impl FnOnce() -> T) -> Result<T> {
    block_on(scoped_async(device, what, bytes, body))
}

/// Returns `error` of a segment of `launches`: labels, and whether the launch has a new bind group. The error names the
/// launch whose bind group the driver refused, if its message does, and otherwise the first and the last launch.
pub(super) fn of_segment(error: wgpu::Error, launches: &[(&str, bool)]) -> Error {
    let text = match &error {
        wgpu::Error::OutOfMemory { .. } => "",
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => description,
    };
    let named = launches.iter().find(|(label, is_new)| *is_new && text.contains(&format!("'{label}'")));
    let what = match (named, launches) {
        (Some((label, _)), _) | (None, [(label, _)]) => (*label).to_owned(),
        (None, [(first, _), .., (last, _)]) => format!("{} launches, `{first}` to `{last}`", launches.len()),
        (None, []) => "submission".to_owned(),
    };
    typed(&what, 0, error)
}

fn typed(what: &str, bytes: u64, error: wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { label: what.to_owned(), bytes },
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::Validation { what: what.to_owned(), reason: one_line(&description) }
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the messages about the WGSL of `variant`, each after the file and line where it was written, on one line.
/// `None` if no message has a location.
pub(super) fn located(variant: &Variant, messages: &[wgpu::CompilationMessage]) -> Option<String> {
    let located = messages.iter().filter_map(|message| {
        let (file, line) = variant.locate(message.location?.line_number as usize);
        Some(format!("{file}:{line}: {}", without_excerpt(&message.message)))
    });
    let all: Vec<String> = located.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// A message without the drawing of the source below its first line: that names the line of the assembled text.
fn without_excerpt(message: &str) -> String {
    const FRAME: [char; 4] = ['┌', '│', '╭', '╰'];
    let lines: Vec<&str> = message.lines().filter(|line| !line.contains(FRAME)).collect();
    one_line(&lines.join(" "))
}
