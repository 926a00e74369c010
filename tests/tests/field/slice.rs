//! Slices of Green operators, compared with the reference's Jacobian and with each other.

use std::collections::HashMap;

use resolvent_engine::{Choice, Options};
use resolvent_field::{Basis, BasisContext, Frames, Labelled as Result, Pass, Place, PlacePairs, Slice, Sliced};
use resolvent_model::{Linearization, Mode, Model, Run, Site, Source, gaussian};
use resolvent_tests::truth::{inner, wide};
use resolvent_tests::{Golden, Labelled, Subject, Twin, Worst, subjects, tangents, tolerance};

use super::{array, close, run};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

/// Returns random vectors, which are neither orthogonal nor of equal length.
fn frames(rank: usize, d: usize, seed: u64) -> Frames {
    Frames::everywhere(rank, gaussian(seed, rank * d))
}

fn of<'a>(linear: &'a Linearization<'a>, pairs: PlacePairs, [k, m]: [usize; 2]) -> Slice<'a> {
    let d = linear.run().model().sizes().d;
    Slice::with_frames(linear, pairs, [frames(k, d, 3), frames(m, d, 4)]).unwrap_or_else(|e| panic!("{e}"))
}

fn computed(slice: &Slice<'_>) -> Sliced {
    slice.compute(&mut |_, _| ()).unwrap_or_else(|e| panic!("{e}"))
}

fn all(run: &Run) -> PlacePairs {
    PlacePairs::new(run, None, None).expect("there are pairs")
}

/// Returns the reference's response to each of the vectors at each place, `[L+1, T, d]`.
fn responses(twin: &Twin, vectors: &[f32], places: &[Place]) -> HashMap<(Place, usize), Vec<f64>> {
    let mut found = HashMap::new();
    for &(level, token) in places {
        for (i, v) in vectors.chunks(twin.config.n_embd).enumerate() {
            let source = Source { site: Site::level(level, &twin.sizes()), token, vector: v.to_vec() };
            found.insert(((level, token), i), tangents(&twin.tangent(&TOKENS, &[], &[source]).field));
        }
    }
    found
}

/// Returns `U^T G V` of the reference for each pair.
fn truth(twin: &Twin, pairs: &PlacePairs, [k, m]: [usize; 2]) -> Vec<f64> {
    let d = twin.config.n_embd;
    let (v, u) = (gaussian(3, k * d), wide(&gaussian(4, m * d)));
    let responses = responses(twin, &v, pairs.from());
    let mut blocks = Vec::new();
    for pair in 0..pairs.len() {
        let (from, (level, token)) = pairs.get(pair).expect("a pair");
        for u in u.chunks(d) {
            let at = (level * TOKENS.len() + token) * d;
            blocks.extend((0..k).map(|i| inner(u, &responses[&(from, i)][at..at + d])));
        }
    }
    blocks
}

/// Returns singular values in f64, computed by faer.
fn singular_values(block: &[f64], k: usize) -> Vec<f64> {
    let matrix = faer::MatRef::from_row_major_slice(block, block.len() / k, k);
    matrix.singular_values().expect("finite numbers")
}

#[test]
fn blocks_are_the_jacobian() {
    let mut worst = ["slice.blocks", "slice.values"].map(Worst::new);
    let twin = Twin::small();
    for shape in [[3, 2], [2, 4]] {
        let [k, m] = shape;
        for on in subjects() {
            let run = run(&twin, on, &TOKENS);
            let linear = run.linearize(Mode::Exact);
            let want = truth(&twin, &all(&run), shape);
            let values: Vec<f64> = want.chunks(k * m).flat_map(|b| singular_values(b, k)).collect();
            for pass in [Pass::Forward, Pass::Adjoint] {
                let got = computed(&of(&linear, all(&run), shape).pass(pass)).result;
                let label = |name| on.label(&got.array(name).expect("every slice has it").data);
                let check = |worst: &mut Worst, got, want: &[f64]| {
                    worst.check(pass.name(), &got, &Labelled::reference(want.to_vec()), tolerance::MODEL);
                };
                check(&mut worst[0], label("blocks"), &want);
                check(&mut worst[1], label("singular_values"), &values);
            }
        }
    }
}

/// A slice has every causal pair once and in order, and arrays of the documented shapes.
#[test]
fn pairs_are_all_causal_ones() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let slice = of(&linear, all(&run), [3, 2]);
    // There are 3 pairs of levels and 15 pairs of tokens.
    assert_eq!(slice.pairs().len(), 45);
    let got = computed(&slice).result;
    let shapes: Vec<_> = got.arrays.iter().map(|a| (a.name, a.axes.iter().map(|x| x.1).collect::<Vec<_>>())).collect();
    let want = [
        ("pairs", vec![45, 4]),
        ("blocks", vec![45, 2, 3]),
        ("singular_values", vec![45, 2]),
        ("effective_rank", vec![45]),
    ];
    assert_eq!(shapes, want);
    assert_eq!(slice.bytes(), 4 * 45 * (4 + 6 + 2 + 1));
    let mut expected = Vec::new();
    for (l, t) in (0..3).flat_map(|l| (0..5).map(move |t| (l, t))) {
        for (to_l, to_t) in (0..3).flat_map(|l| (0..5).map(move |t| (l, t))) {
            if to_l > l && to_t >= t {
                expected.push([to_l, to_t, l, t]);
            }
        }
    }
    let pairs: Vec<usize> = array(&got, "pairs").iter().map(|x| *x as usize).collect();
    assert_eq!(pairs, expected.concat());
    for (i, [to_l, to_t, l, t]) in expected.iter().enumerate() {
        assert_eq!(slice.pairs().get(i), Some(((*l, *t), (*to_l, *to_t))));
    }
    assert_eq!(slice.pairs().get(45), None);
}

/// The blocks of chosen places equal those of a slice of all places, by either pass.
#[test]
fn chosen_places_have_the_same_blocks() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let linear = run.linearize(Mode::Exact);
        let whole = computed(&of(&linear, all(&run), [2, 3])).result;
        let (pairs, blocks) = (array(&whole, "pairs"), array(&whole, "blocks"));
        let from = [(1, 3), (0, 1), (0, 1), (2, 0)];
        for (to, pass) in [(vec![(2, 4)], Pass::Adjoint), (vec![(1, 1), (2, 3), (2, 4), (0, 0)], Pass::Forward)] {
            let chosen = PlacePairs::new(&run, Some(&from), Some(&to)).expect("there are pairs");
            let slice = of(&linear, chosen, [2, 3]);
            let got = computed(&slice.pass(pass)).result;
            let mut want = Vec::new();
            for pair in array(&got, "pairs").chunks(4) {
                assert!(to.contains(&(pair[0] as usize, pair[1] as usize)));
                let at = pairs.chunks(4).position(|p| p == pair).expect("one of all");
                want.extend(&blocks[at * 6..at * 6 + 6]);
            }
            close(&array(&got, "blocks"), &want, 1e-5, "blocks");
            assert_eq!([&got.metadata["from"], &got.metadata["pass"]], ["0,1 1,3", pass.name()]);
        }
    }
}

#[test]
fn the_cheaper_pass_is_taken() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let pass = |from: Option<&[Place]>, to: Option<&[Place]>, shape| {
        of(&linear, PlacePairs::new(&run, from, to).expect("pairs"), shape).chosen_pass()
    };
    assert_eq!(pass(None, Some(&[(2, 4)]), [3, 3]), Pass::Adjoint);
    assert_eq!(pass(Some(&[(0, 0)]), None, [3, 3]), Pass::Forward);
    assert_eq!(pass(None, None, [1, 9]), Pass::Forward);
    assert_eq!(pass(None, None, [9, 1]), Pass::Adjoint);
}

/// In complete bases, the blocks are the operator itself. They compose over the tokens of a level in between. In a
/// model with linear blocks, they are the same for every prompt.
#[test]
fn whole_blocks_compose() {
    let twin = Twin::linear(4);
    let d = twin.config.n_embd;
    let unit: Vec<f32> = (0..d * d).map(|i| if i % (d + 1) == 0 { 1.0 } else { 0.0 }).collect();
    for on in subjects() {
        let blocks = |tokens: &[u32]| -> HashMap<(Place, Place), Vec<f64>> {
            let run = run(&twin, on, tokens);
            let linear = run.linearize(Mode::Exact);
            let whole = || Frames::everywhere(d, unit.clone());
            let slice = Slice::with_frames(&linear, all(&run), [whole(), whole()]).expect("fits");
            let blocks = array(&computed(&slice).result, "blocks");
            let each = blocks.chunks(d * d).enumerate();
            each.map(|(i, b)| (slice.pairs().get(i).expect("a pair"), b.to_vec())).collect()
        };
        let found = blocks(&TOKENS[..4]);
        for (t, to) in [(0, 0), (0, 3), (1, 2)] {
            let mut sum = vec![0.0; d * d];
            for between in t..=to {
                let (a, b) = (&found[&((2, between), (3, to))], &found[&((0, t), (2, between))]);
                for (i, x) in sum.iter_mut().enumerate() {
                    *x += (0..d).map(|n| a[i / d * d + n] * b[n * d + i % d]).sum::<f64>();
                }
            }
            close(&found[&((0, t), (3, to))], &sum, 1e-5, "composition");
        }
        let other = blocks(&[1, 1, 7, 20]);
        for (pair, block) in &found {
            // The slope of GELU at inputs of 1e-5 differs from 1/2 by about 1e-5, in each of three blocks.
            close(&other[pair], block, 1e-3, "linear blocks do not see the prompt");
        }
    }
}

/// A slice reads out its strongest pairs, and has all its certificates and metadata.
#[test]
fn the_strongest_pairs_are_read() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let linear = run.linearize(Mode::Exact);
        let slice = of(&linear, all(&run), [3, 2]);
        let Sliced { result, strongest, resumed } = computed(&slice);
        assert_eq!((resumed, strongest.len()), (0, 10));
        let values = array(&result, "singular_values");
        let pairs = array(&result, "pairs");
        for (part, along) in strongest.chunks(5).zip([true, false]) {
            let mut best: Vec<f64> = values
                .chunks(2)
                .zip(pairs.chunks(4))
                .filter(|(_, p)| (p[1] == p[3]) == along)
                .map(|(v, _)| v[0])
                .collect();
            best.sort_by(|a, b| b.total_cmp(a));
            let found: Vec<f64> = part.iter().map(|r| f64::from(r.value)).collect();
            assert_eq!(found, best[..5]);
            assert!(part.iter().all(|r| (r.from.1 == r.to.1) == along));
        }
        readings(&twin, on, &strongest[7], &result, slice.pairs());
        for name in ["causal_zeros", "slope", "adjoint", "composition", "other_pass"] {
            assert!(result.certificates.iter().any(|c| c.name == name), "{name}");
        }
        let json: serde_json::Value = serde_json::from_str(&result.metadata["strongest"]).expect("json");
        assert_eq!(json.as_array().map(Vec::len), Some(10));
    }
}

/// Checks the tokens that a pair writes: the reference's logit responses to the block's first left singular vector.
fn readings(twin: &Twin, on: &Subject, reading: &resolvent_field::Reading, result: &Result, pairs: &PlacePairs) {
    let (d, vocab) = (twin.config.n_embd, twin.config.vocab_size);
    let pair = (0..pairs.len()).find(|&i| pairs.get(i) == Some((reading.from, reading.to))).expect("a pair");
    let block = &array(result, "blocks")[pair * 6..pair * 6 + 6];
    let matrix = faer::MatRef::from_row_major_slice(block, 2, 3);
    let svd = matrix.thin_svd().expect("finite");
    let combined = |vectors: &[f32], weights: faer::ColRef<'_, f64>| -> Vec<f32> {
        (0..d)
            .map(|i| (0..weights.nrows()).map(|n| weights[n] * f64::from(vectors[n * d + i])).sum::<f64>() as f32)
            .collect()
    };
    let response = combined(&gaussian(4, 2 * d), svd.U().col(0));
    let source = Source { site: Site::level(2, &twin.sizes()), token: 4, vector: response };
    let logits: Vec<f64> = tangents(&twin.tangent(&TOKENS, &[], &[source]).logits)[4 * vocab..].to_vec();
    // The sign of a triplet is arbitrary.
    let (id, moved) = reading.writes[0];
    let most = logits.iter().fold(0.0f64, |m, x| m.max(*x));
    let least = logits.iter().fold(0.0f64, |m, x| m.min(*x));
    let nearest = [most, -least].map(|x| (x - f64::from(moved)).abs() / x);
    assert!(nearest[0].min(nearest[1]) < 1e-4, "{}: {id} {moved} of {most} {least}", on.name());
    assert!(reading.writes.windows(2).all(|w| w[0].1 >= w[1].1) && reading.reads.len() == 5);
}

/// The matrix products of a slice are only those of its tangents, by the number of operations of all launches.
#[test]
fn a_slice_costs_its_tangents() {
    let twin = Twin::small();
    let options = Options { profile: true, ..Options::new(Choice::Host) };
    let on = Subject::open(&options).expect("opens");
    let run = run(&twin, &on, &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let (d, inner) = (twin.config.n_embd as f64, 29.0);
    for (pass, vectors) in [(Pass::Forward, 3), (Pass::Adjoint, 2)] {
        // A tangent has the rows from its token on, in the blocks above its level. A cotangent has the rows up to its
        // token, in the blocks below.
        let rows = |level: usize, token: usize| match pass {
            Pass::Forward => (2 - level) * (5 - token),
            Pass::Adjoint => level * (token + 1),
        };
        let places = (0..3).flat_map(|level| (0..5).map(move |token| (level, token)));
        let rows = vectors * places.map(|(level, token)| rows(level, token)).sum::<usize>();
        let floor = rows as f64 * 2.0 * (4.0 * d * d + 2.0 * d * inner);
        // Only launches between the first and the last chunk are counted, because checks run before and after.
        let (mut spent, mut told) = (0.0, (0, 0));
        let slice = of(&linear, all(&run), [3, 2]).pass(pass);
        slice
            .compute(&mut |done, all| {
                let samples = on.device().take_profile().expect("is recorded");
                if done > 0 {
                    let products = samples.iter().filter(|s| s.kernel.starts_with("matmul"));
                    spent += products.map(|s| s.work.flops).sum::<f64>();
                }
                told = (done, all);
            })
            .expect("computes");
        println!("| slice.{} | {floor:.0} operations | {:.3} of the floor |", pass.name(), spent / floor);
        assert_eq!((spent, told), (floor, (rows as u64, rows as u64)), "{pass:?}");
    }
}

#[test]
fn invalid_slices_are_refused() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let pairs =
        |from: &[Place], to: &[Place]| PlacePairs::new(&run, Some(from), Some(to)).expect_err("refused").to_string();
    assert!(pairs(&[(0, 3)], &[(2, 1)]).contains("no source reaches"));
    assert!(pairs(&[(1, 3)], &[(1, 3)]).contains("no source reaches"));
    assert!(pairs(&[(3, 0)], &[(2, 1)]).contains("outside of the field"));
    let wide = Slice::with_frames(&linear, all(&run), [frames(2, 17, 1), frames(2, 18, 1)]);
    assert!(wide.err().expect("refused").to_string().contains("18 wide"));
    // 45 pairs of 8 x 8 elements exceed a memory of 10 kB, but can be written to a file.
    let small = subjects()[0].again(Options { batch_bytes: 10_000, ..Options::default() });
    let run = super::run(&twin, &small, &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let slice = of(&linear, all(&run), [8, 8]);
    let error = slice.compute(&mut |_, _| ()).expect_err("refused").to_string();
    assert!(error.contains("--out") && error.contains("0.0 MB"), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.safetensors");
    let mut told = Vec::new();
    slice.write(&path, false, &mut |done, all| told.push((done, all))).expect("writes");
    assert!(told.len() > 3 && told.last().is_some_and(|(done, all)| done == all && *all > 0), "{told:?}");
}

/// Where the vectors of a basis are zero, the blocks are zero.
#[test]
fn zero_vectors_have_zero_blocks() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let linear = run.linearize(Mode::Exact);
        let j = [resolvent_model::Observable::logit_diff(4, 20, 2)];
        let context = BasisContext { observables: &j, ..Default::default() };
        let (all, basis) = (all(&run), Basis::Sensitivity);
        let slice = Slice::new(&linear, all, [&basis, &basis], [context; 2]).expect("a slice");
        let got = computed(&slice).result;
        let (pairs, blocks, rank) = (array(&got, "pairs"), array(&got, "blocks"), array(&got, "effective_rank"));
        for ((pair, block), rank) in pairs.chunks(4).zip(&blocks).zip(&rank) {
            // J is read at token 2. It does not depend on later tokens, nor on other tokens of the last level.
            let seen = pair[1] <= 2.0 && (pair[0] < 2.0 || pair[1] == 2.0);
            assert_eq!((*block != 0.0, *rank), (seen, f64::from(u8::from(seen))), "{pair:?}");
        }
        assert_eq!(got.metadata["observable"], "logit(#4)@2 - logit(#20)@2");
        assert_eq!(got.metadata["basis"], "sensitivity");
    }
}

/// Two blocks with windows of 5 tokens: a source reaches 4 tokens more at each level. Beyond, blocks are zero by both
/// passes.
#[test]
fn blocks_beyond_a_window_are_zero() {
    for on in subjects() {
        let model = Model::open(on.device(), &Golden::directory("families/mistral")).expect("opens");
        let tokens: Vec<u32> = (0..22).map(|t| (7 * t + 3) % 41).collect();
        let run = model.run(&tokens, &[]).expect("runs");
        let linear = run.linearize(Mode::Exact);
        let to = [(1, 6), (1, 7), (1, 20), (2, 2), (2, 10), (2, 11), (2, 21)];
        let by = |pass| {
            let pairs = PlacePairs::new(&run, Some(&[(0, 2)]), Some(&to)).expect("there are pairs");
            let slice = of(&linear, pairs, [3, 2]);
            let got = computed(&slice.pass(pass)).result;
            let seen = array(&got, "blocks").chunks(6).map(|block| block.iter().any(|x| *x != 0.0)).collect::<Vec<_>>();
            assert_eq!(seen, [true, false, false, true, true, false, false], "{} {}", on.name(), pass.name());
            array(&got, "blocks")
        };
        close(&by(Pass::Forward), &by(Pass::Adjoint), 1e-5, on.name());
    }
}
