//! Bases: computed bases are orthonormal, and span the documented spaces.

use resolvent_field::{Basis, BasisContext, Direction, End, Frames, Place, norm};
use resolvent_model::{Mode, Observable, Run, Site, Source};
use resolvent_tests::truth::{inner, wide};
use resolvent_tests::{Twin, subjects, tangents};

use super::{close, run};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];
const D: usize = 18;

fn everywhere() -> Vec<Place> {
    (0..3).flat_map(|l| (0..5).map(move |t| (l, t))).collect()
}

fn frames(run: &Run, basis: &Basis, context: BasisContext<'_>) -> Frames {
    let linear = run.linearize(Mode::Exact);
    basis.frames(&linear, &everywhere(), End::Source, context).unwrap_or_else(|e| panic!("{basis}: {e}"))
}

fn refused(run: &Run, basis: &Basis, context: BasisContext<'_>) -> String {
    let linear = run.linearize(Mode::Exact);
    basis.frames(&linear, &everywhere(), End::Source, context).expect_err("refused").to_string()
}

fn at(frames: &Frames, place: Place) -> Vec<Vec<f64>> {
    frames.at(place).expect("every place has vectors").chunks(D).map(wide).collect()
}

/// Returns the distance of x from the span of orthonormal (or zero) vectors, relative to its length.
fn outside(x: &[f64], vectors: &[Vec<f64>]) -> f64 {
    let mut rest = x.to_vec();
    for v in vectors {
        let along = inner(v, &rest);
        rest.iter_mut().zip(v).for_each(|(rest, v)| *rest -= along * v);
    }
    (inner(&rest, &rest) / inner(x, x)).sqrt()
}

fn is_orthonormal(vectors: &[Vec<f64>]) -> bool {
    let number = |i: usize, j: usize| inner(&vectors[i], &vectors[j]);
    let n = vectors.len();
    (0..n).all(|i| {
        (0..n).all(|j| (number(i, j) - if i == j { 1.0 } else { 0.0 }).abs() < 1e-6 || (i == j && number(i, i) == 0.0))
    })
}

#[test]
fn computed_bases_are_orthonormal() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let others = [super::run(&twin, on, &[3, 1, 15, 9, 2]), super::run(&twin, on, &[4, 14, 15, 9, 20])];
        let j = [Observable::logit_diff(4, 20, 4)];
        for (basis, rank, observables) in [
            (Basis::Pca, 4, &[][..]),
            (Basis::Unembed(vec![]), 8, &[]),
            (Basis::Unembed(vec![3, 9, 3]), 3, &[]),
            (Basis::Embed(vec![]), 5, &[]),
            (Basis::Embed(vec![7, 2]), 2, &[]),
            (Basis::Sensitivity, 8, &[]),
            (Basis::Sensitivity, 1, &j),
            (Basis::Displacement, 2, &[]),
            (Basis::Krylov(1), 8, &[]),
            (Basis::Krylov(1), 8, &j),
            (Basis::Random(5), 8, &[]),
        ] {
            let with = match basis {
                Basis::Displacement => &others[..],
                _ => &[],
            };
            let found = frames(&run, &basis, BasisContext { observables, others: with, ..Default::default() });
            assert_eq!((found.rank(), found.width()), (rank, D), "{basis}");
            for place in everywhere() {
                assert!(is_orthonormal(&at(&found, place)), "{basis} at {place:?} on {}", on.name());
            }
        }
    }
}

#[test]
fn bases_span_the_documented_spaces() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let model = run.model();
        let default = BasisContext::default();
        // A repeated token adds no direction: its vector is zero, and the other vectors have the same indices.
        let unembed = at(&frames(&run, &Basis::Unembed(vec![3, 9, 3]), default), (1, 1));
        for id in [3, 9] {
            assert!(outside(&wide(&model.unembedding(id).expect("a token")), &unembed) < 1e-6);
        }
        assert_eq!(unembed[2], vec![0.0; D]);
        let embed = at(&frames(&run, &Basis::Embed(vec![]), default), (0, 0));
        for id in TOKENS {
            assert!(outside(&wide(&model.embedding(id).expect("a token")), &embed) < 1e-6);
        }
        // The largest logits of the last token, in order.
        let logits = run.logits_at(4).expect("runs");
        let best = (0..23).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        let likely = at(&frames(&run, &Basis::Unembed(vec![]), BasisContext { rank: Some(1), ..default }), (2, 0));
        assert!(outside(&wide(&model.unembedding(best as u32).expect("a token")), &likely) < 1e-6);

        // Bases of one vector equal the directions of `green`.
        let j = [Observable::logit_diff(4, 20, 3)];
        let context = BasisContext { observables: &j, ..default };
        let of = resolvent_field::Context { observable: Some(&j[0]), ..Default::default() };
        for place in everywhere() {
            let chi = Direction::Sensitivity.resolve(&run, place, of).expect("resolves");
            let (found, size) = (at(&frames(&run, &Basis::Sensitivity, context), place), norm(&chi));
            let unit: Vec<f64> = wide(&chi).iter().map(|x| x / size.max(f64::MIN_POSITIVE)).collect();
            close(&found[0], &unit, 1e-5, "sensitivity");
        }
        let other = super::run(&twin, on, &[3, 1, 15, 9, 2]);
        let context = BasisContext { others: std::slice::from_ref(&other), ..default };
        let displaced = frames(&run, &Basis::Displacement, context);
        let of = resolvent_field::Context { other: Some(&other), ..Default::default() };
        for place in everywhere() {
            let delta = Direction::Displacement.resolve(&run, place, of).expect("resolves");
            let found = at(&displaced, place);
            let seen = norm(&delta) > 0.0;
            assert_eq!(seen, inner(&found[0], &found[0]) > 0.0, "{place:?}");
            assert!(!seen || outside(&wide(&delta), &found) < 1e-6, "{place:?}");
        }
    }
}

/// Four principal components span five rows minus their mean. Of more rows, the first components have the most energy.
#[test]
fn principal_components_have_the_most_energy() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let others = [super::run(&twin, on, &[1, 2, 3, 4, 5, 6, 7]), super::run(&twin, on, &[20, 7])];
        let whole = frames(&run, &Basis::Pca, BasisContext::default());
        let many = BasisContext { others: &others, rank: Some(13), ..Default::default() };
        let many = frames(&run, &Basis::Pca, many);
        for level in 0..3 {
            let rows = |run: &Run| wide(&run.capture(Site::level(level, &twin.sizes())).expect("runs"));
            let centred = |rows: &[f64]| -> Vec<Vec<f64>> {
                let n = (rows.len() / D) as f64;
                let mean: Vec<f64> = (0..D).map(|i| rows.iter().skip(i).step_by(D).sum::<f64>() / n).collect();
                rows.chunks(D).map(|row| row.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect()
            };
            let (own, vectors) = (centred(&rows(&run)), at(&whole, (level, 0)));
            for row in &own {
                assert!(outside(row, &vectors) < 1e-5, "{level}");
            }
            let all: Vec<f64> = std::iter::once(&run).chain(&others).flat_map(rows).collect();
            let energy = |v: &Vec<f64>| centred(&all).iter().map(|row| inner(row, v).powi(2)).sum::<f64>();
            let energies: Vec<f64> = at(&many, (level, 3)).iter().map(energy).collect();
            assert!(energies.windows(2).all(|e| e[0] >= e[1] * (1.0 - 1e-6)), "{energies:?}");
            let matrix = faer::Mat::from_fn(14, D, |i, j| centred(&all)[i][j]);
            let values: Vec<f64> = matrix.singular_values().expect("finite").iter().take(13).map(|s| s * s).collect();
            close(&energies, &values, 1e-5, "energies");
        }
    }
}

/// Returns `A^T A` of the reference, where A is the response of the last level to each unit source at the place.
fn gram(twin: &Twin, (level, token): Place) -> Vec<Vec<f64>> {
    let columns: Vec<Vec<f64>> = (0..D)
        .map(|i| {
            let vector = (0..D).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
            let source = Source { site: Site::level(level, &twin.sizes()), token, vector };
            tangents(&twin.tangent(&TOKENS, &[], &[source]).field)[2 * 5 * D..].to_vec()
        })
        .collect();
    columns.iter().map(|a| columns.iter().map(|b| inner(a, b)).collect()).collect()
}

/// The vectors span `V, M V, M^2 V, ...`, one after another, with the reference's M.
#[test]
fn krylov_spaces_match_the_reference() {
    let twin = Twin::small();
    let j = [Observable::logit_diff(4, 20, 4), Observable::logit(7, 3)];
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        for starts in [&j[..1], &j[..], &[]] {
            let context = BasisContext { observables: starts, rank: Some(6), ..Default::default() };
            let found = frames(&run, &Basis::Krylov(3), context);
            for place in [(0, 1), (1, 3), (0, 4)] {
                let (m, q) = (gram(&twin, place), at(&found, place));
                let block = starts.len().max(1);
                // An observable that does not depend on the place has a zero start vector.
                for i in (0..6 - block).filter(|&i| q[i].iter().any(|x| *x != 0.0)) {
                    let image: Vec<f64> = m.iter().map(|row| inner(row, &q[i])).collect();
                    // The image is inside the span including the next vector, and outside the span before it.
                    let (now, before) = (outside(&image, &q[..=i + block]), outside(&image, &q[..i + block]));
                    assert!(now < 1e-4, "{place:?} {i}: {now}");
                    assert!(before > 10.0 * now, "{place:?} {i}: {before} {now}");
                }
                for (i, start) in starts.iter().enumerate() {
                    let context = resolvent_field::Context { observable: Some(start), ..Default::default() };
                    let chi = Direction::Sensitivity.resolve(&run, place, context).expect("resolves");
                    assert!(norm(&chi) == 0.0 || outside(&wide(&chi), &q[..=i]) < 1e-5);
                }
            }
            // At the last level the operator is the identity, so that only the start vectors are nonzero.
            let last = at(&found, (2, 4));
            assert!(last[starts.len().max(1)..].iter().all(|q| q.iter().all(|x| *x == 0.0)));
        }
    }
}

/// Bases of files are used unchanged, and invalid files are refused with the reason.
#[test]
fn files_are_used_unchanged() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("basis.safetensors");
    let elements: Vec<f32> = (0..D * 3).map(|i| i as f32).collect();
    let write = |arrays: &[(&str, [usize; 2])]| {
        let views = arrays.iter().map(|(name, shape)| {
            let bytes = bytemuck::cast_slice(&elements[..shape[0] * shape[1]]);
            (*name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).expect("fits"))
        });
        std::fs::write(&path, safetensors::serialize(views, None).expect("a file")).expect("writable");
    };
    let basis = Basis::File(path.clone());
    let get = |end| basis.frames(&linear, &[(1, 2)], end, BasisContext::default());
    write(&[("source", [D, 3]), ("readout", [D, 2])]);
    let (source, readout) = (get(End::Source).expect("reads"), get(End::Readout).expect("reads"));
    assert_eq!((source.rank(), readout.rank()), (3, 2));
    // Columns of the file are vectors.
    assert_eq!(source.at((1, 2)).expect("a place")[..3], [0.0, 3.0, 6.0]);
    assert_eq!(readout.at((0, 0)).expect("a place")[D..D + 2], [1.0, 3.0]);
    write(&[("source", [D, 2])]);
    assert_eq!(get(End::Source).expect("reads"), get(End::Readout).expect("reads"));
    write(&[("source", [D - 1, 2])]);
    assert!(get(End::Source).expect_err("refused").to_string().contains("wanted F32, F16 or BF16 [18, any]"));
    write(&[("readout", [D, 2])]);
    assert!(get(End::Source).expect_err("refused").to_string().contains("no array `source`"));
    let ranked = BasisContext { rank: Some(2), ..Default::default() };
    assert!(refused(&run, &basis, ranked).contains("leave --rank out"));
}

#[test]
fn invalid_bases_are_refused() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let rank = |n| BasisContext { rank: Some(n), ..Default::default() };
    assert!(refused(&run, &Basis::Pca, rank(5)).contains("a rank of 1 to 4, or more prompts"));
    assert!(refused(&run, &Basis::Displacement, BasisContext::default()).contains("--donor"));
    assert!(refused(&run, &Basis::Embed(vec![]), rank(6)).contains("1 to 5"));
    assert!(refused(&run, &Basis::Unembed(vec![1, 2]), rank(3)).contains("1 to 2"));
    assert!(refused(&run, &Basis::Random(0), rank(0)).contains("1 to 18"));
    assert!(refused(&run, &Basis::Random(0), rank(19)).contains("1 to 18"));
    assert!(refused(&run, &Basis::Unembed(vec![99]), BasisContext::default()).contains("vocabulary"));
    let other = [super::run(&twin, subjects()[0], &[1, 2])];
    let context = BasisContext { others: &other, ..Default::default() };
    assert!(refused(&run, &Basis::Displacement, context).contains("2 tokens and the first 5"));
    let stranger = Twin::linear(1);
    let other = [super::run(&stranger, subjects()[0], &TOKENS)];
    let context = BasisContext { others: &other, ..Default::default() };
    assert!(refused(&run, &Basis::Pca, context).contains("different models"));
    let linear = run.linearize(Mode::Exact);
    assert!(Basis::Pca.frames(&linear, &[(3, 0)], End::Source, BasisContext::default()).is_err());
}
