//! The one test binary.

mod architecture; // edges between crates, names, file sizes
mod engine; // errors, memory, submissions, profile
mod harness; // the harness is seen to fail
mod kernels; // every op: executors against f64 and against each other
