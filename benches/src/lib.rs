//! Throughput of kernels and of whole analyses.
