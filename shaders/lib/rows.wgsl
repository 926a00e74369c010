// A row of a ragged batch, as (primal, first, start, end): its primal row in the buffers of the base run, the batch row
// at which its sequence begins, and the tokens start <= t < end that its sequence owns. Earlier tokens belong to the
// base run.

fn row_token(r: vec4<u32>, row: u32) -> u32 {
    return r.z + (row - r.y);
}

// Batch row of token t, which the sequence must own.
fn row_of(r: vec4<u32>, t: u32) -> u32 {
    return r.y + (t - r.z);
}

// Base row of token t of the same prompt.
fn base_of(r: vec4<u32>, row: u32, t: u32) -> u32 {
    return r.x + t - row_token(r, row);
}
