//! The one test binary.

mod architecture; // edges between crates, names, file sizes
mod cli; // the binary: result files, and what it says to bad input
mod engine; // errors, memory, submissions, profile
mod field; // analyses: against known answers and the reference
mod harness; // the harness is seen to fail
mod hub; // models by name: downloads, caches, hubs that fail
mod kernels; // every op: executors against f64 and against each other
mod model; // whole models: golden files, edits, derivatives, sweeps, results
mod pages; // what README and docs show is compiled, run and compared
