// splice:  y_i = edits_i(source_i): every row is a row of x, a row of the base run, or zero, and then edited in order.
// One kernel for what a ragged batch needs: runs that join (their rows come from the base run), rows that are picked
// out, and localised sources at a site.
//   add: y += a s      put: y = s      scale: y = a y      project: y -= (<y, s> / <s, s>) s
//   take: y = a row of the base run,  on columns from .. from + n
// One entry serves values, tangents and cotangents: the sources of a tangent are `add`s, and the linear part of each
// edit is an edit (add: nothing, put and take: scale by 0), symmetric. Layout: one workgroup a row; a row's edits
// follow one another.
#import reduce

struct Params { d: u32, pad0: u32, pad1: u32, pad2: u32 }

@group(0) @binding(0) var<uniform> p: Params;                         // params
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [_, d]
@group(0) @binding(2) var<storage, read> base: array<f32>;            // [primal, d]
@group(0) @binding(3) var<storage, read> sources: array<vec4<u32>>;   // [rows, 4]     kind (0 zero, 1 x, 2 base), row,
                                                                      //               first edit, edits
@group(0) @binding(4) var<storage, read> edits: array<vec4<u32>>;     // [edits, 4]    kind (0 add, 1 put, 2 scale,
                                                                      //               3 project, 4 take), first
                                                                      //               column, columns, offset of s,
                                                                      //               or the row to take
@group(0) @binding(5) var<storage, read> amounts: array<f32>;         // [edits]       a
@group(0) @binding(6) var<storage, read> vectors: array<f32>;         // [_]           all s, one after the other
@group(0) @binding(7) var<storage, read_write> y: array<f32>;         // [rows, d]

const ADD: u32 = 0u;
const PUT: u32 = 1u;
const SCALE: u32 = 2u;
const PROJECT: u32 = 3u;
const TAKE: u32 = 4u;

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    let source = sources[row];
    let out = row * p.d;
    for (var i = lane; i < p.d; i += WG) {
        var v = 0.0;
        if (source.x == 1u) { v = x[source.y * p.d + i]; }
        if (source.x == 2u) { v = base[source.y * p.d + i]; }
        y[out + i] = v;
    }
    for (var n = source.z; n < source.z + source.w; n++) {
        let edit = edits[n];
        let a = amounts[n];
        // Another invocation may have written these columns in the edit before.
        storageBarrier();
        var along = vec2<f32>(0.0);
        if (edit.x == PROJECT) {
            for (var i = lane; i < edit.z; i += WG) {
                let s = vectors[edit.w + i];
                along += vec2<f32>(s * y[out + edit.y + i], s * s);
            }
            along = sum2(lane, along);
        }
        for (var i = lane; i < edit.z; i += WG) {
            let at = out + edit.y + i;
            switch edit.x {
                case ADD: { y[at] += a * vectors[edit.w + i]; }
                case PUT: { y[at] = vectors[edit.w + i]; }
                case SCALE: { y[at] *= a; }
                case TAKE: { y[at] = base[edit.w * p.d + edit.y + i]; }
                default: { if (along.y > 0.0) { y[at] -= along.x / along.y * vectors[edit.w + i]; } }
            }
        }
    }
}
