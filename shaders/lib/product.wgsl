// The params of products of a matrix and a weight: matmul and matmul_f16 share launches and host bodies.

struct Params {
    rows: u32, k: u32, n: u32,
    stride: u32,    // row length of y
    first: u32,     // first of the n columns of y that a launch writes
    w_is_f16: u32,  // for the host body; on a GPU the variant decides
    pad0: u32, pad1: u32,
}
