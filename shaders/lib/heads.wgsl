// Where heads lie in memory: `shape` is their number and their width.

// Offset of q (part 0), k (1) or v (2) of `head` in row `r` of a [_, 3d] array.
fn part_in(shape: vec2<u32>, r: u32, part: u32, head: u32) -> u32 {
    return ((3u * r + part) * shape.x + head) * shape.y;
}

// Offset of `head` in row `r` of a [_, d] array.
fn head_in(shape: vec2<u32>, r: u32, head: u32) -> u32 {
    return (r * shape.x + head) * shape.y;
}
