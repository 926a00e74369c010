//! Assembled, validated and reflected WGSL kernels: text in, checked kernels out.
