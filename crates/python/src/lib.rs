//! `resolvent._native`: the library as Python classes. This layer computes nothing itself.
//!
//! | file | |
//! |---|---|
//! | `classes.rs`; `model.rs`, `run.rs`, `linearization.rs` | the classes that own data on a device; their methods |
//! | `sites.rs`, `under.rs` | a run as a mapping; what is read of many edited runs |
//! | `analyses.rs`, `growth.rs`, `locate.rs`, `quadratic.rs`, `slice.rs`, `study.rs` | the analyses |
//! | `prompts.rs`, `average.rs`, `averaged_operator.rs` | many prompts at once, and averages over them |
//! | `observable.rs`, `edit.rs` | observables of a run, and changes of it |
//! | `result.rs` | results: arrays with axes, checks, provenance, figures |
//! | `arrays.rs`, `arguments.rs` | numpy and everything array-like; prompts, tokens, places, directions |
//! | `work.rs`, `download.rs` | work without the GIL, signals, progress |
//! | `failure.rs` | errors as exceptions |

#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "Python functions have many keyword arguments, and pyo3 passes extracted values"
)]

mod analyses;
mod arguments;
mod arrays;
mod average;
mod averaged_operator;
mod circuits;
mod classes;
mod compare;
mod copies;
mod dictionary;
mod download;
mod edit;
mod failure;
mod generate;
mod growth;
mod linearization;
mod lists;
mod locate;
mod many;
mod model;
mod observable;
mod opened;
mod paths;
mod positions;
mod prompt_circuits;
mod prompt_places;
mod prompt_rows;
mod prompt_slices;
mod prompt_sources;
mod prompts;
mod quadratic;
mod result;
mod result_copies;
mod run;
mod shard_target;
mod shards;
mod sites;
mod slice;
mod study;
mod under;
mod weights;
mod work;

use pyo3::prelude::*;
use resolvent::engine::adapters;

/// Returns the adapters of this machine, real GPUs first. `device` accepts an index of this list; the host needs no
/// adapter.
#[pyfunction]
fn devices(py: Python<'_>) -> Vec<String> {
    py.detach(|| adapters().iter().map(ToString::to_string).collect())
}

/// The native part of the package.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::devices;
    #[pymodule_export]
    use crate::averaged_operator::PyAveragedOperator;
    #[pymodule_export]
    use crate::classes::{PyModel, PyRun};
    #[pymodule_export]
    use crate::compare::{compare, summarise};
    #[pymodule_export]
    use crate::copies::{_edit, _model, _observable, _run};
    #[pymodule_export]
    use crate::dictionary::PyDictionary;
    #[pymodule_export]
    use crate::edit::{PyCotangent, PyEdit, PySource};
    #[pymodule_export]
    use crate::failure::{CertificateError, DeviceError};
    #[pymodule_export]
    use crate::linearization::PyLinearization;
    #[pymodule_export]
    use crate::observable::{
        PyObservable, continuation, entropy, kl_divergence, log_prob, logit, logit_diff, prob, projection,
    };
    #[pymodule_export]
    use crate::prompts::PyPrompts;
    #[pymodule_export]
    use crate::result::PyResultOf;
    #[pymodule_export]
    use crate::result_copies::_result;
    #[pymodule_export]
    use crate::shards::{_merge, _missing, _paths, _shards, PyShards};
    #[pymodule_export]
    use crate::study::PyStudy;

    /// Sends warnings of the library, for example of a GPU that fails its self-test, to stderr. `RESOLVENT_LOG` selects
    /// more.
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
