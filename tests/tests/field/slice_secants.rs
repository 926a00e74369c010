//! Slices of the secant operator: blocks and errors against the reference.

use resolvent_field::{Frames, Labelled, Place, PlacePairs, Slice};
use resolvent_model::{Edit, Mode, Run, RunOptions, Site, Source, gaussian};
use resolvent_tests::truth::{inner, wide};
use resolvent_tests::{Twin, subjects, tangents};

use super::{array, close, run};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];
const FROM: [Place; 2] = [(0, 1), (1, 2)];
const TO: [Place; 3] = [(1, 2), (2, 3), (2, 4)];
const AMPLITUDE: f64 = 0.3;
const K: usize = 2;
const M: usize = 3;

/// Nodes and weights of the rule with two nodes on (0, 1).
fn two_nodes() -> [[f64; 2]; 2] {
    let half = 0.5 / 3f64.sqrt();
    [[0.5 - half, 0.5], [0.5 + half, 0.5]]
}

fn vectors(d: usize) -> [Vec<f32>; 2] {
    [gaussian(3, K * d).iter().map(|x| 0.2 * x).collect(), gaussian(4, M * d)]
}

fn slice(run: &Run, secants: Option<(usize, f64)>) -> Labelled {
    let linear = run.linearize(Mode::Exact);
    let [v, u] = vectors(run.model().sizes().d);
    let pairs = PlacePairs::new(run, Some(&FROM), Some(&TO)).expect("there are pairs");
    let slice = Slice::with_frames(&linear, pairs, [Frames::everywhere(K, v), Frames::everywhere(M, u)]);
    let mut slice = slice.unwrap_or_else(|e| panic!("{e}"));
    if let Some((nodes, amplitude)) = secants {
        slice = slice.secants(nodes, amplitude).unwrap_or_else(|e| panic!("{e}"));
    }
    slice.compute(&mut |_, _| ()).unwrap_or_else(|e| panic!("{e}")).result
}

/// The reference: for each pair, the blocks by the rule with two nodes, by its embedded rule, by finite responses, and
/// of first order.
struct Truth {
    secant: Vec<f64>,
    embedded: Vec<f64>,
    finite: Vec<f64>,
    first: Vec<f64>,
    lengths: Vec<f64>,
}

fn truth(twin: &Twin, edits: &[Edit]) -> Truth {
    let (d, tokens) = (twin.config.n_embd, TOKENS.len());
    let [v, u] = vectors(d);
    let field = twin.primal(&TOKENS, edits).field;
    let row = |field: &[f64], (level, token): Place| field[(level * tokens + token) * d..][..d].to_vec();
    let mut truth = Truth { secant: vec![], embedded: vec![], finite: vec![], first: vec![], lengths: vec![] };
    for from in FROM {
        let h = row(&field, from);
        let length = AMPLITUDE * inner(&h, &h).sqrt();
        let site = Site::level(from.0, &twin.sizes());
        let source = |v: &[f32]| Source { site, token: from.1, vector: v.to_vec() };
        let moved = |v: &[f32], x: f64| {
            let vector = v.iter().map(|&e| (x * length * f64::from(e)) as f32).collect();
            [edits.to_vec(), vec![Edit::add(site, from.1, vector)]].concat()
        };
        let of_vector = |v: &[f32]| {
            let [a, b] = two_nodes().map(|[x, _]| tangents(&twin.tangent(&TOKENS, &moved(v, x), &[source(v)]).field));
            let whole = twin.primal(&TOKENS, &moved(v, 1.0)).field;
            let finite: Vec<f64> = whole.iter().zip(&field).map(|(a, b)| (a - b) / length).collect();
            let first = tangents(&twin.tangent(&TOKENS, edits, &[source(v)]).field);
            let secant: Vec<f64> = a.iter().zip(&b).map(|(a, b)| 0.5 * (a + b)).collect();
            // The embedded rule of two nodes is the first of them.
            [secant, a, finite, first]
        };
        let columns: Vec<[Vec<f64>; 4]> = v.chunks(d).map(of_vector).collect();
        for to in TO.into_iter().filter(|to| to.0 > from.0 && to.1 >= from.1) {
            truth.lengths.push(length);
            for u in wide(&u).chunks(d) {
                for column in &columns {
                    let [secant, embedded, finite, first] = [0, 1, 2, 3].map(|i| inner(u, &row(&column[i], to)));
                    truth.secant.push(secant);
                    truth.embedded.push(embedded);
                    truth.finite.push(finite);
                    truth.first.push(first);
                }
            }
        }
    }
    truth
}

/// Returns the distance of each block from another, over the length of the latter.
fn apart(of: &[f64], from: &[f64]) -> Vec<f64> {
    let blocks = of.chunks(K * M).zip(from.chunks(K * M));
    let each = blocks.map(|(of, from)| {
        let difference: Vec<f64> = of.iter().zip(from).map(|(a, b)| a - b).collect();
        (inner(&difference, &difference) / inner(from, from)).sqrt()
    });
    each.collect()
}

/// Blocks, lengths and all errors are those of the reference, in a run without and with edits. The tangent blocks are
/// others.
#[test]
fn secant_blocks_match_the_reference() {
    let twin = Twin::small();
    let scaled = vec![Edit::scale(Site::MlpOut(0), 3, 0.5), Edit::project_out(Site::ResidPre(1), 2, gaussian(9, 18))];
    for edits in [Vec::new(), scaled] {
        let want = truth(&twin, &edits);
        for on in subjects() {
            let options = RunOptions { edits: edits.clone(), sites: Vec::new() };
            let run = twin.on(on).run_with(&TOKENS, &options).expect("runs");
            let got = slice(&run, Some((2, AMPLITUDE)));
            close(&array(&got, "blocks"), &want.secant, 2e-5, on.name());
            close(&array(&got, "amplitude"), &want.lengths, 2e-5, "lengths");
            for (name, errors) in [
                ("first_error", apart(&want.first, &want.finite)),
                ("secant_error", apart(&want.secant, &want.finite)),
                ("secant_bar", apart(&want.embedded, &want.secant)),
            ] {
                for (pair, (got, want)) in array(&got, name).iter().zip(&errors).enumerate() {
                    match got.is_nan() {
                        true => assert!(*want < 1e-4, "{name}, pair {pair}: {want} is hidden"),
                        false => assert!((got - want).abs() < 1e-4 + 1e-3 * want, "{name}, pair {pair}: {got} {want}"),
                    }
                }
            }
            let tangent = array(&slice(&run, None), "blocks");
            close(&tangent, &want.first, 2e-5, "tangent blocks");
            assert!(apart(&tangent, &want.secant).iter().any(|x| *x > 0.02), "the amplitude is not small");
        }
    }
}

/// With more nodes the blocks become those of finite responses, and with a smaller amplitude the tangent ones.
#[test]
fn secant_blocks_become_finite_and_tangent_ones() {
    let twin = Twin::small();
    let want = truth(&twin, &[]);
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let many = slice(&run, Some((12, AMPLITUDE)));
        close(&array(&many, "blocks"), &want.finite, 1e-4, on.name());
        let tangent = slice(&run, Some((1, 1e-4)));
        close(&array(&tangent, "blocks"), &want.first, 1e-3, on.name());
        assert_eq!((&many.metadata["nodes"][..], &many.metadata["amplitude"][..]), ("12", "0.3"));
        assert!(many.metadata["median.first_error"].contains("of 5 pairs"), "{}", many.metadata["median.first_error"]);
        assert!(many.certificates.iter().any(|check| check.name == "other_pass" && check.value < 1e-6));
    }
}

/// A file has the same bytes as the result in memory.
#[test]
fn secants_are_written_too() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let [v, u] = vectors(run.model().sizes().d).map(|x| (x.len() / run.model().sizes().d, x));
    let pairs = PlacePairs::new(&run, Some(&FROM), Some(&TO)).expect("there are pairs");
    let frames = [v, u].map(|(rank, x)| Frames::everywhere(rank, x));
    let slice = Slice::with_frames(&linear, pairs, frames).expect("fits").secants(2, AMPLITUDE).expect("is valid");
    let path = std::env::temp_dir().join(format!("resolvent-secants-{}.safetensors", std::process::id()));
    slice.write(&path, true, &mut |_, _| ()).unwrap_or_else(|e| panic!("{e}"));
    let read = Labelled::read(&path).expect("a result");
    std::fs::remove_file(&path).expect("removes");
    let memory = slice.compute(&mut |_, _| ()).expect("computes").result;
    for name in ["pairs", "blocks", "singular_values", "effective_rank", "amplitude", "first_error", "secant_bar"] {
        let bits = |result: &Labelled| array(result, name).iter().map(|x| x.to_bits()).collect::<Vec<u64>>();
        assert_eq!(bits(&read), bits(&memory), "{name}");
    }
    assert_eq!(read.metadata["median.secant_error"], memory.metadata["median.secant_error"]);
}

#[test]
fn invalid_secants_are_refused() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let refused = |mode, nodes, amplitude| {
        let linear = run.linearize(mode);
        let pairs = PlacePairs::new(&run, Some(&FROM), Some(&TO)).expect("there are pairs");
        let [v, u] = vectors(run.model().sizes().d);
        let slice = Slice::with_frames(&linear, pairs, [Frames::everywhere(K, v), Frames::everywhere(M, u)]);
        let slice = slice.expect("fits").secants(nodes, amplitude);
        slice.err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(refused(Mode::Exact, 17, 0.1).contains("give at most 16"));
    assert!(refused(Mode::Exact, 0, 0.1).contains("one node or more"));
    assert!(refused(Mode::Exact, 2, 0.0).contains("invalid amplitude 0"));
    assert!(refused(Mode::Exact, 2, f64::NAN).contains("invalid amplitude NaN"));
    assert!(refused(Mode::FrozenNorm, 2, 0.1).contains("exact derivatives"));
}
