//! Downloads from a hub, with tqdm progress bars.

use std::sync::{Mutex, PoisonError};

use resolvent::model::{Hub, HubEvent};

use crate::work::{Bar, Raised};

/// Returns the hub of the environment, with a progress bar for each downloaded file.
pub(crate) fn hub(raised: &Raised, progress: bool) -> Hub {
    if !progress {
        return Hub::from_env();
    }
    let (raised, shown) = (raised.clone(), Mutex::new((Bar::default(), 0)));
    Hub::from_env().with_report(move |event| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            HubEvent::File { name, bytes, have } => {
                let mut bar = Bar::default();
                raised.python(|py| {
                    bar = Bar::new(py, (name, "B"))?;
                    Ok(())
                });
                bar.show(&raised, (have, bytes), None);
                *shown = (bar, bytes);
            }
            HubEvent::Bytes(more) => {
                let all = shown.1;
                shown.0.add(&raised, (more, all));
            }
            HubEvent::Whole { .. } => shown.0 = Bar::default(),
            _ => {}
        }
    })
}
