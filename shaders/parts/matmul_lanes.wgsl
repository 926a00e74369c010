// matmul's product by the lanes of a subgroup, without workgroup memory: variants `subgroup` and `tall`.
#import octet
#import matmul_panel

alias Pair = array<vec4<f32>, 4>;

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) sub: u32,
}

var<private> octets: array<Octet, OCTETS>;

fn bring(pair: u32) {
    if (pair < 4u) { acc = pair_of(octets[0], pair); }
    if (pair / 4u == 1u) { acc = pair_of(octets[1], pair - 4u); }
#ifdef TALL
    if (pair / 4u == 2u) { acc = pair_of(octets[2], pair - 8u); }
#endif
}

// Four steps of k of this lane's eight columns of w.
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

// Adds the product of the quads of x from `at` on to `o`.
fn onto(o: Octet, at: u32, w: Panels) -> Octet {
    return steps(steps(o, x[at], w.first.low, w.first.high), x[at + 1u], w.second.low, w.second.high);
}
#else
fn panels(s: u32, transposed: bool) -> Panel {
    if (transposed) { return Panel(turned(s, own.y), turned(s, own.y + 4u)); }
    return Panel(straight(s, own.y), straight(s, own.y + 4u));
}

fn onto(o: Octet, at: u32, w: Panel) -> Octet {
    return steps(o, x[at], w.low, w.high);
}
#endif

fn product(place: Place, transposed: bool) {
    own = vec2<u32>(place.group.y * GROUP_ROWS, place.group.x * GROUP_COLS + 8u * place.lane);
    let k = p.k / 4u;
    let last = p.rows - 1u;
    let row = own.x + (place.sub & 7u);
    let r0 = min(row, last) * k;
    let r1 = min(row + 8u, last) * k;
    var o0 = Octet();
    var o1 = Octet();
#ifdef TALL
    let r2 = min(row + 16u, last) * k;
    var o2 = Octet();
#endif
    for (var s = 0u; s < k; s += QUADS) {
        let weights = panels(s, transposed);
        o0 = onto(o0, r0 + s, weights);
        o1 = onto(o1, r1 + s, weights);
#ifdef TALL
        o2 = onto(o2, r2 + s, weights);
#endif
    }
    octets[0] = o0;
    octets[1] = o1;
#ifdef TALL
    octets[2] = o2;
#endif
}
