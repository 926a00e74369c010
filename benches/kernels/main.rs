//! Throughput of kernels on every executor, compared with the peaks of the device and with the host's crates.
//!
//! Criterion's elements are floating-point operations: `Gelem/s` means GFLOP/s, and `GiB/s` is memory traffic.

mod attention;
mod matmul;
mod peak;

use criterion::{criterion_group, criterion_main};

criterion_group!(kernels, peak::bench, matmul::bench, attention::bench);
criterion_main!(kernels);
