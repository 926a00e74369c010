//! The harness and the one test binary.
