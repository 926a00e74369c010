//! Singular triplets of Green operators, block norms and composition, against the reference's dense Jacobian.

use resolvent_field::{
    LinearMap, Operator, Place, Probes, Reading, RsvdOptions, Spectrum, block_norms, composition, rsvd, spectrum,
};
use resolvent_model::{Mode, Site, Source};
use resolvent_tests::truth::inner;
use resolvent_tests::{Twin, Worst, subjects, tangents, tolerance};

use super::{array, close, run};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

/// Returns the reference's response to each unit source at the places, each `[L+1, T, d]`.
fn responses(twin: &Twin, from: &[Place]) -> Vec<Vec<f64>> {
    let d = twin.config.n_embd;
    let each = from.iter().flat_map(|&place| (0..d).map(move |i| (place, i)));
    let response = |((level, token), i): (Place, usize)| {
        let vector = (0..d).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
        let source = Source { site: Site::level(level, &twin.sizes()), token, vector };
        tangents(&twin.tangent(&TOKENS, &[], &[source]).field)
    };
    each.map(response).collect()
}

/// Returns the columns of `G(to; from)` of the reference.
fn columns(twin: &Twin, from: &[Place], to: &[Place]) -> Vec<Vec<f64>> {
    let d = twin.config.n_embd;
    let rows = |field: &Vec<f64>| -> Vec<f64> {
        to.iter().flat_map(|(l, t)| field[(l * TOKENS.len() + t) * d..][..d].to_vec()).collect()
    };
    responses(twin, from).iter().map(rows).collect()
}

fn everywhere(level: usize) -> Vec<Place> {
    (0..TOKENS.len()).map(|t| (level, t)).collect()
}

#[test]
fn triplets_are_those_of_the_jacobian() {
    let mut worst = ["spectrum.values", "spectrum.residual"].map(Worst::new);
    let twin = Twin::small();
    for (from, to) in [
        (vec![(0, 1)], vec![(2, 3)]),
        (vec![(0, 1)], everywhere(2)),
        (everywhere(0), everywhere(2)),
        (vec![(0, 0), (1, 4)], vec![(2, 4), (1, 2)]),
    ] {
        let dense = columns(&twin, &from, &to);
        let matrix = faer::Mat::from_fn(dense[0].len(), dense.len(), |i, j| dense[j][i]);
        let exact: Vec<f64> = matrix.singular_values().expect("finite");
        // `exact: 0` computes by iteration, and 512 from the whole matrix.
        for (on, limit) in subjects().iter().flat_map(|on| [(on, 0), (on, 512)]) {
            let run = run(&twin, on, &TOKENS);
            let linear = run.linearize(Mode::Exact);
            let options = RsvdOptions { rank: 6, exact: limit, ..Default::default() };
            let got = spectrum(&linear, &from, &to, &options);
            let Spectrum { result: got, triplets } = got.unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let fits = |r: &Reading| from.contains(&r.from) && to.contains(&r.to) && r.writes.len() == 5;
            assert!(triplets.len() == 6 && triplets.iter().all(fits), "{triplets:?}");
            let (values, residual) = (array(&got, "svd_values"), array(&got, "svd_residual"));
            let (left, right) = (array(&got, "svd_left"), array(&got, "svd_right"));
            for (i, s) in values.iter().enumerate() {
                worst[0].within(format!("{from:?} {i}"), on.name(), (s - exact[i]).abs() / exact[0], tolerance::MODEL);
                // The reported residual equals that of the reference.
                let (u, v) = (&left[i * dense[0].len()..][..dense[0].len()], &right[i * dense.len()..][..dense.len()]);
                let image: Vec<f64> = (0..u.len()).map(|r| (0..v.len()).map(|c| dense[c][r] * v[c]).sum()).collect();
                let apart: Vec<f64> = image.iter().zip(u).map(|(a, u)| a - s * u).collect();
                let apart = (inner(&apart, &apart).sqrt() - residual[2 * i]).abs() / exact[0];
                worst[1].within(format!("{from:?} {i}"), on.name(), apart, tolerance::MODEL);
            }
            let bound = array(&got, "svd_bound")[0];
            assert!(
                bound >= exact[6] && bound < 1.45 * exact[6].max(1e-5 * exact[0]),
                "{from:?}: {bound} {}",
                exact[6]
            );
            // Each reported range contains the exact value, and its upper end is near.
            for (i, ends) in array(&got, "svd_range").chunks(2).enumerate() {
                let rounding = 2e-6 * exact[0];
                assert!(ends[0] <= exact[i] + rounding && exact[i] <= ends[1] + rounding, "{i}: {ends:?}");
                let far = if limit == 0 { 1.45 * exact[6].max(exact[i]) } else { exact[i] + 1e-4 * exact[0] };
                assert!(ends[1] <= far, "{from:?} {i}: {ends:?} {}", exact[i]);
            }
            let route = &got.metadata["svd_route"];
            assert!(route.contains(if limit == 0 { "tolerance reached" } else { "exact" }), "{route}");
        }
    }
}

/// If all singular values of a block are computed, the remainder is zero up to rounding.
#[test]
fn a_full_spectrum_leaves_no_remainder() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let linear = run.linearize(Mode::Exact);
        let operator = Operator::new(&linear, &[(0, 1)], &[(2, 3)]).expect("in the field");
        let got = rsvd(&operator, &RsvdOptions { rank: 18, ..Default::default() }).expect("computes");
        assert!(got.bound < 1e-4 * got.values[0], "{} {}", got.bound, got.values[0]);
        assert_eq!((got.left.len(), got.left[0].len(), operator.rows()), (18, 18, 18));
    }
}

#[test]
fn operators_without_a_spectrum_are_refused() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let refused = |from: &[Place], to: &[Place], rank| {
        let options = RsvdOptions { rank, ..Default::default() };
        spectrum(&linear, from, to, &options).map(drop).expect_err("refused").to_string()
    };
    assert!(refused(&[(2, 3)], &[(1, 4)], 2).contains("the operator is zero"));
    assert!(refused(&[(0, 3)], &[(2, 9)], 2).contains("outside of the field"));
    assert!(refused(&[(0, 3)], &[(2, 4)], 19).contains("has 18 singular values"));
    let small = subjects()[0].again(resolvent_engine::Options { batch_bytes: 10_000, ..Default::default() });
    let run = super::run(&twin, &small, &TOKENS);
    let linear = run.linearize(Mode::Exact);
    let error = spectrum(&linear, &everywhere(0), &everywhere(2), &RsvdOptions::default()).map(drop);
    assert!(error.expect_err("refused").to_string().contains("--memory"));
}

#[test]
fn block_norms_are_those_of_the_jacobian() {
    let mut worst = Worst::new("block_norm");
    let twin = Twin::small();
    let d = twin.config.n_embd;
    for place in [(0, 1), (1, 4), (2, 0)] {
        let dense = responses(&twin, &[place]);
        let want: Vec<f64> = (0..15)
            .map(|i| dense.iter().map(|field| inner(&field[i * d..][..d], &field[i * d..][..d])).sum::<f64>().sqrt())
            .collect();
        for on in subjects() {
            let run = run(&twin, on, &TOKENS);
            let linear = run.linearize(Mode::Exact);
            let got = block_norms(&linear, place, Probes::Exact).expect("computes");
            assert_eq!((got.norm.len(), got.error), (15, None));
            worst.check(
                format!("{place:?}"),
                &on.label(&got.norm),
                &resolvent_tests::Labelled::reference(want.clone()),
                tolerance::MODEL,
            );
            // Many random probes come near, within their estimated errors. Few probes have larger estimated errors.
            let many = block_norms(&linear, place, Probes::Hutchinson(400, 7)).expect("computes");
            let errors = many.error.expect("they have errors");
            for ((norm, error), want) in many.norm.iter().zip(&errors).zip(&want) {
                let apart = (f64::from(*norm) - want).abs();
                assert!(apart <= 4.5 * f64::from(*error) + 1e-5 * want, "{place:?}: {norm} +- {error}, {want}");
                assert!(f64::from(*error) <= 0.1 * want, "{error} {want}");
            }
            let few = block_norms(&linear, place, Probes::Hutchinson(8, 7)).expect("computes").error;
            let mean = |errors: &[f32]| errors.iter().sum::<f32>();
            assert!(mean(&few.expect("they have errors")) > 3.0 * mean(&errors));
        }
    }
    let run = run(&twin, subjects()[0], &TOKENS);
    let linear = run.linearize(Mode::Exact);
    assert!(block_norms(&linear, (0, 5), Probes::Exact).is_err());
    assert!(block_norms(&linear, (0, 0), Probes::Hutchinson(1, 0)).is_err());
}

/// In a model with linear blocks, norms are the same for every prompt. The norm at the source itself is sqrt(d).
#[test]
fn block_norms_of_a_linear_model() {
    let twin = Twin::linear(4);
    for on in subjects() {
        let norms = |tokens: &[u32]| {
            let run = run(&twin, on, tokens);
            let linear = run.linearize(Mode::Exact);
            let got = block_norms(&linear, (1, 1), Probes::Exact).expect("computes").norm;
            got.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>()
        };
        let (a, b) = (norms(&TOKENS), norms(&[1, 1, 7, 20, 8]));
        close(&a, &b, 1e-3, "linear");
        assert!((a[5 + 1] - 20f64.sqrt()).abs() < 1e-6 && a[5] == 0.0 && a[10] == 0.0);
    }
}

#[test]
fn green_operators_compose() {
    for twin in [Twin::small(), Twin::linear(2)] {
        for on in subjects() {
            let run = run(&twin, on, &TOKENS);
            let linear = run.linearize(Mode::Exact);
            for levels in [[0, 1, 2], [0, 0, 2], [0, 2, 2], [1, 1, 1]] {
                let certificate = composition(&linear, levels, 3).expect("computes");
                certificate.verify().unwrap_or_else(|e| panic!("{levels:?} on {}: {e}", on.name()));
            }
            assert!(composition(&linear, [1, 0, 2], 3).is_err());
            assert!(composition(&linear, [0, 1, 9], 3).is_err());
        }
    }
}
