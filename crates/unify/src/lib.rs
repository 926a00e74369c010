//! No code: this crate requests features of dependencies that several crates of the workspace share.
//!
//! Cargo compiles a dependency once for each set of features that is requested of it, and also all that depends on it.
//! The command, the tests, a single crate's tests and the Python package request different sets of small crates such as
//! `syn`, `smallvec` and `num-traits`. Without this crate each of them compiles most of the tree again; with it they
//! share one set of artefacts. `cargo tree -e features -i NAME` shows who requests what.
