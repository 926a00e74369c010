// matmul's product in registers, eight rows at a time, without workgroup memory. In `subgroup` and `tall`, the lanes of
// a subgroup hand each other the elements of x; in `direct`, each invocation reads all of them.
#import octet
#import matmul_panel

alias Pair = array<vec4<f32>, 4>;

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
#ifdef SUBGROUP
    @builtin(subgroup_invocation_id) sub: u32,
#endif
}

var<private> octets: array<Octet, OCTETS>;

fn bring(pair: u32) {
    if (pair < 4u) { acc = pair_of(octets[0], pair); }
    if (pair / 4u == 1u) { acc = pair_of(octets[1], pair - 4u); }
#ifdef TALL
    if (pair / 4u == 2u) { acc = pair_of(octets[2], pair - 8u); }
#endif
}

#ifdef SUBGROUP
// Where this lane's row of the eight from `row` on begins in x.
fn begin(row: u32, place: Place) -> u32 {
    return min(row + (place.sub & 7u), p.rows - 1u) * (p.k / 4u);
}

// Adds the product of quad `s` of the eight rows that begin at `at` to `o`.
fn quad(o: Octet, at: u32, s: u32, low: mat4x4<f32>, high: mat4x4<f32>) -> Octet {
    return steps(o, x[at + s], low, high);
}
#else
// The first of eight rows.
fn begin(row: u32, place: Place) -> u32 {
    return row;
}

// Quad `s` of a row of x. Rows beyond the last one repeat it and are not stored.
fn across(row: u32, s: u32) -> vec4<f32> {
    return x[min(row, p.rows - 1u) * (p.k / 4u) + s];
}

// Adds the product of quad `s` of the eight rows from `row` on to `o`.
fn quad(o: Octet, row: u32, s: u32, low: mat4x4<f32>, high: mat4x4<f32>) -> Octet {
    let a = transpose(mat4x4<f32>(across(row, s), across(row + 1u, s), across(row + 2u, s), across(row + 3u, s)));
    let b = transpose(mat4x4<f32>(across(row + 4u, s), across(row + 5u, s), across(row + 6u, s), across(row + 7u, s)));
    let first = step(step(o, a[0], b[0], low[0], high[0]), a[1], b[1], low[1], high[1]);
    return step(step(first, a[2], b[2], low[2], high[2]), a[3], b[3], low[3], high[3]);
}
#endif

// Four steps of k of this invocation's eight columns of w.
struct Panel { low: mat4x4<f32>, high: mat4x4<f32> }

// Panels from quad `s` of k on. No arrays: a checked index, constant or not, hides the elements from a compiler, and
// costs a third of the speed.
#ifdef F16_WEIGHTS
struct Panels { first: Panel, second: Panel }

fn panels(s: u32, transposed: bool) -> Panels {
    if (transposed) {
        let a = turned(s, own.y);
        let b = turned(s, own.y + 4u);
        return Panels(Panel(transpose(a.low), transpose(b.low)), Panel(transpose(a.high), transpose(b.high)));
    }
    let a = straight(s, own.y);
    let b = straight(s + 1u, own.y);
    return Panels(Panel(a.low, a.high), Panel(b.low, b.high));
}

// Adds the product of the quads from `s` on to `o`.
fn onto(o: Octet, at: u32, s: u32, w: Panels) -> Octet {
    return quad(quad(o, at, s, w.first.low, w.first.high), at, s + 1u, w.second.low, w.second.high);
}
#else
fn panels(s: u32, transposed: bool) -> Panel {
    if (transposed) { return Panel(turned(s, own.y), turned(s, own.y + 4u)); }
    return Panel(straight(s, own.y), straight(s, own.y + 4u));
}

fn onto(o: Octet, at: u32, s: u32, w: Panel) -> Octet {
    return quad(o, at, s, w.low, w.high);
}
#endif

fn product(place: Place, transposed: bool) {
    own = vec2<u32>(place.group.y * GROUP_ROWS, place.group.x * GROUP_COLS + 8u * place.lane);
    let k = p.k / 4u;
    let r0 = begin(own.x, place);
    let r1 = begin(own.x + 8u, place);
    var o0 = Octet();
    var o1 = Octet();
#ifdef TALL
    let r2 = begin(own.x + 16u, place);
    var o2 = Octet();
#endif
    for (var s = 0u; s < k; s += QUADS) {
        let weights = panels(s, transposed);
        o0 = onto(o0, r0, s, weights);
        o1 = onto(o1, r1, s, weights);
#ifdef TALL
        o2 = onto(o2, r2, s, weights);
#endif
    }
    octets[0] = o0;
    octets[1] = o1;
#ifdef TALL
    octets[2] = o2;
#endif
}
