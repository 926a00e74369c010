// Heads in memory and in a workgroup of GROUP invocations, which holds a head of up to 128 numbers as two Numbers each.
//   base     64 invocations: neighbours read neighbours, as a GPU likes it. Any d_head.
//   narrow   16 invocations, vec4. For processors that play the GPU: a load there is a loop over the lanes whatever it
//            brings, and an invocation without work costs what one with work does. d_head in whole vec4.
#import element

// Lengths of arrays in workgroup memory: Numbers of a head, and keys of a tile. What `base` needs, in all texts, since Mesa unrolls
// a loop that indexes an array of no more than 32 elements, whatever its bounds: a second of compilation for each entry.
const WIDEST: u32 = 128u;
const TILE: u32 = 64u;

// `shape` is the number of heads and their width in Numbers. Offset of q (part 0), k (1) or v (2) of `head` in row `r` of
// a [_, 3d] array.
fn part_in(shape: vec2<u32>, r: u32, part: u32, head: u32) -> u32 {
    return ((3u * r + part) * shape.x + head) * shape.y;
}

// Offset of `head` in row `r` of a [_, d] array.
fn head_in(shape: vec2<u32>, r: u32, head: u32) -> u32 {
    return (r * shape.x + head) * shape.y;
}
