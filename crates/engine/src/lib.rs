//! Device choice, tensors, recordings and the two executors that run them.
