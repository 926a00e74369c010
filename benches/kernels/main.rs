//! Throughput of kernels on every executor, beside what the device and the crates below can do at most.
//!
//! Criterion's elements are floating-point operations, so `Gelem/s` reads as GFLOP/s, and `GiB/s` as memory traffic.

mod attention;
mod matmul;
mod peak;

use criterion::{criterion_group, criterion_main};

criterion_group!(kernels, peak::bench, matmul::bench, attention::bench);
criterion_main!(kernels);
