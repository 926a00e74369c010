//! The engine in a browser: requests as JSON, answers with results, figures and checks.
//!
//! [`Explorer`] is what the page in `page/` talks to, from a worker. It has no numerics: each request is one analysis
//! of the library, and an answer has its [`Labelled`](resolvent::Labelled) result with all checks. In a browser, calls
//! that wait for WebGPU suspend the module, and return promises: see `docs/src/decisions/0019-webgpu-in-a-browser.md`.
//! The host executor has one thread there.
//!
//! The crate also builds for other platforms, where its tests run. `cargo xtask web` builds the module for browsers,
//! which then has the functions of `bindings.rs`.

mod answer;
#[cfg(target_arch = "wasm32")]
mod bindings;
mod error;
mod explorer;
mod files;
mod request;

pub use answer::Answer;
pub use error::{Error, Result};
pub use explorer::Explorer;
