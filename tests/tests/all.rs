//! The one test binary.

mod architecture; // dependencies between crates, names, file sizes
mod capi; // the C library: programs in C and Python, and its leaks
mod cli; // the binary: result files, and messages about invalid input
mod engine; // errors, memory, submissions, profile
mod field; // analyses: against known answers and the reference
mod harness; // the harness fails for wrong kernels
mod hub; // models by name: downloads, caches, hubs that fail
mod kernels; // every op: executors against f64 and against each other
mod model; // whole models: golden files, edits, derivatives, sweeps, results
mod pages; // code and commands of README and docs are compiled, run and compared
mod web; // what the page for browsers calls
