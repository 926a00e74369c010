// A row of a ragged batch, as (primal, first, start, end): the row of the shared base buffers that it differs from,
// the batch row at which its run begins, and the tokens start <= t < end that its run owns. Earlier tokens are the
// base run's.

fn row_token(r: vec4<u32>, row: u32) -> u32 {
    return r.z + (row - r.y);
}

// Batch row of the run's token t, which it must own.
fn row_of(r: vec4<u32>, t: u32) -> u32 {
    return r.y + (t - r.z);
}

// Base row of token t of the same prompt.
fn base_of(r: vec4<u32>, row: u32, t: u32) -> u32 {
    return r.x + t - row_token(r, row);
}
