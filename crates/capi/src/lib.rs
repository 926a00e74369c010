//! The C library: opening models, runs, sensitivities, patch effects and responses, without numerics of its own.
//!
//! Every function of `include/resolvent.h` is here, and `cargo xtask header` writes that file from these sources. There
//! is no global state. A handle is a box on the heap that C sees as an opaque pointer. An error is a status, and its
//! message belongs to the thread (`status.rs`). A result is copied into a buffer of the caller (`buffer.rs`). A panic
//! ends at the boundary, in `status::guarded`. See `docs/src/decisions/0021-c-copies-into-callers-buffers.md`.

pub mod analyses;
pub mod buffer;
pub mod model;
pub mod result;
pub mod run;
pub mod status;
pub mod text;
pub mod watch;

#[cfg(test)]
mod tests;
