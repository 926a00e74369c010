// Heads in memory, and in a workgroup of GROUP invocations. An invocation has two Elements of a head.
//   base     64 invocations: neighbours read neighbouring addresses, which suits a GPU. Heads of up to 128 f32.
//   narrow   16 invocations, vec4. For software GPUs: there, a load is a loop over the lanes whatever its width, and an
//            idle invocation costs as much as a busy one. d_head in whole vec4.
//   *_wide   the same with twice the invocations, for heads of up to 256 f32.
#import element
#import math

// Lengths of arrays in workgroup memory: Elements of a head, and keys of a tile. Narrow variants use those of `base`.
// Mesa unrolls a loop that indexes an array of at most 32 elements, whatever its bounds, and each entry then takes a
// second longer to compile.
#ifdef WIDE
const WIDEST: u32 = 256u;
const TILE: u32 = 128u;
#else
const WIDEST: u32 = 128u;
const TILE: u32 = 64u;
#endif

// Sizes of a row of [queries | keys | values]: query heads, key and value heads, and their width in Elements.
struct Heads { queries: u32, keys: u32, width: u32 }

// Offset of the queries of `head` in row `r`.
fn query_in(shape: Heads, r: u32, head: u32) -> u32 {
    return (r * (shape.queries + 2u * shape.keys) + head) * shape.width;
}

// Offset of the keys of key head `head` in row `r`. The values lie `shape.keys` heads further on.
fn key_in(shape: Heads, r: u32, head: u32) -> u32 {
    return query_in(shape, r, shape.queries + head);
}

// Offset of `head` in row `r` of an array with all query heads side by side.
fn head_in(shape: Heads, r: u32, head: u32) -> u32 {
    return (r * shape.queries + head) * shape.width;
}

// First key that a query at token t sees, in a window that includes its own.
fn first_key(t: u32, window: u32) -> u32 {
    return t + 1u - min(t + 1u, window);
}

// End of the queries that see a key at token t, for a sequence that ends at `end`.
fn last_query(t: u32, window: u32, end: u32) -> u32 {
    return t + min(end - t, window);
}

override CAPPED: bool = false;

// The soft-cap g = c tanh(s / c) of a score with its first and second derivative; the score itself if not CAPPED.
fn capped(s: f32, c: f32) -> vec3<f32> {
    if (!CAPPED) { return vec3<f32>(s, 1.0, 0.0); }
    let u = tanh_safe(s / c);
    let slope = tanh_d(s / c);
    return vec3<f32>(c * u, slope, -2.0 * u * slope / c);
}
