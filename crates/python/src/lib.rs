//! `resolvent._native`: the library as Python classes. Thin: what is computed is computed below.
//!
//! | file | |
//! |---|---|
//! | `model.rs`, `run.rs`, `linearization.rs` | the classes that hold something on a device |
//! | `analyses.rs`, `slice.rs`, `study.rs` | the analyses: arguments in, a result out |
//! | `observable.rs`, `edit.rs` | what is read from a run, and what is done to it |
//! | `result.rs` | results: arrays with axes, checks, provenance, figures |
//! | `arrays.rs`, `arguments.rs` | numpy and everything array-like; prompts, tokens, places, directions |
//! | `work.rs`, `download.rs` | work without the GIL, signals, progress |
//! | `failure.rs` | errors as exceptions |

#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "functions of Python have keywords, and are handed what was extracted from its objects"
)]

mod analyses;
mod arguments;
mod arrays;
mod download;
mod edit;
mod failure;
mod linearization;
mod model;
mod observable;
mod result;
mod run;
mod slice;
mod study;
mod work;

use pyo3::prelude::*;
use resolvent::engine::adapters;

/// The adapters of this machine, real GPUs first: their places are what `device` takes. The host needs none.
#[pyfunction]
fn devices(py: Python<'_>) -> Vec<String> {
    py.detach(|| adapters().iter().map(ToString::to_string).collect())
}

/// The native half of the package.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::devices;
    #[pymodule_export]
    use crate::edit::{PyCotangent, PyEdit, PySource};
    #[pymodule_export]
    use crate::failure::{CertificateError, DeviceError};
    #[pymodule_export]
    use crate::linearization::PyLinearization;
    #[pymodule_export]
    use crate::model::PyModel;
    #[pymodule_export]
    use crate::observable::{PyObservable, kl_divergence, log_prob, logit, logit_diff, projection};
    #[pymodule_export]
    use crate::result::PyResultOf;
    #[pymodule_export]
    use crate::run::PyRun;
    #[pymodule_export]
    use crate::study::PyStudy;

    /// Warnings of the library, such as that of a GPU which fails its self-test, go to stderr; `RESOLVENT_LOG` asks for more.
    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        resolvent_report::terminal::start_log();
        Ok(())
    }

    /// Version of the package.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
