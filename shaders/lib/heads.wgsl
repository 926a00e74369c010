// Heads in memory, and in a workgroup of GROUP invocations. An invocation has two Elements of a head of up to 128 f32.
//   base     64 invocations: neighbours read neighbouring addresses, which suits a GPU. Any d_head.
//   narrow   16 invocations, vec4. For software GPUs: there, a load is a loop over the lanes whatever its width, and an
//            idle invocation costs as much as a busy one. d_head in whole vec4.
#import element

// Lengths of arrays in workgroup memory: Elements of a head, and keys of a tile. All variants use those of `base`.
// Mesa unrolls a loop that indexes an array of at most 32 elements, whatever its bounds, and each entry then takes a
// second longer to compile.
const WIDEST: u32 = 128u;
const TILE: u32 = 64u;

// Offset of q (part 0), k (1) or v (2) of `head` in row `r` of a [_, 3d] array. `shape` is the number of heads and
// their width in Elements.
fn part_in(shape: vec2<u32>, r: u32, part: u32, head: u32) -> u32 {
    return ((3u * r + part) * shape.x + head) * shape.y;
}

// Offset of `head` in row `r` of a [_, d] array.
fn head_in(shape: vec2<u32>, r: u32, head: u32) -> u32 {
    return (r * shape.x + head) * shape.y;
}
