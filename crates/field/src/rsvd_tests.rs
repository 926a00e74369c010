//! Tests singular values of maps with a known spectrum.

use super::*;
use crate::dense::orthonormal;
use crate::lsqr::tests::Dense;

/// Returns options that select iteration for maps of any size.
fn options(rank: usize) -> RsvdOptions {
    RsvdOptions { rank, exact: 0, ..Default::default() }
}

/// Returns `U diag(values) V^T` with random orthonormal U and V.
fn with_spectrum(rows: usize, columns: usize, values: &[f64]) -> Dense {
    let orthonormal_rows = |n: usize, seed| {
        let mut q: Vec<Vec<f64>> = gaussian(seed, values.len() * n).chunks(n).map(wide).collect();
        orthonormal(&mut q);
        q
    };
    let (u, v) = (orthonormal_rows(rows, 1), orthonormal_rows(columns, 2));
    let element = |i: usize, j: usize| values.iter().enumerate().map(|(n, s)| u[n][i] * s * v[n][j]).sum::<f64>();
    let data = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| element(i, j) as f32);
    Dense { rows, columns, data: data.collect() }
}

#[test]
fn a_slow_spectrum_needs_iterations() {
    // s_i = i^-1/2, so the tail contains most of the energy.
    let values: Vec<f64> = (1..=60).map(|i| 1.0 / f64::from(i).sqrt()).collect();
    let map = with_spectrum(90, 70, &values);
    let error = |power| {
        let got = rsvd(&map, &RsvdOptions { oversampling: 6, power, ..options(6) }).expect("computes");
        let apart = got.values.iter().zip(&values).map(|(g, w)| (g - w).abs() / w);
        // Any six triplets leave a remainder of norm values[6] or more, and the bound is above the remainder.
        assert!(got.bound >= values[6], "{} {}", got.bound, values[6]);
        // The distance of a computed value to the nearest singular value of A is at most its residual (Weyl).
        for (s, [a, b]) in got.values.iter().zip(&got.residual) {
            let nearest = values.iter().map(|v| (v - s).abs()).fold(f64::MAX, f64::min);
            assert!(nearest <= a.max(*b) + 1e-5, "{s}: {nearest} {a} {b}");
        }
        apart.fold(0.0f64, f64::max)
    };
    let errors = [0, 1, 2, 4, 8].map(error);
    assert!(errors[0] > 0.1, "{errors:?}");
    assert!(errors[1] < 0.1 && errors[2] < 0.03 && errors[4] < 2e-3, "{errors:?}");
}

/// By default, iterations continue to the tolerance, and the route says so. With fewer iterations, the route says that
/// they did not reach it.
#[test]
fn iterations_reach_the_tolerance() {
    let values: Vec<f64> = (1..=60).map(|i| 1.0 / f64::from(i).sqrt()).collect();
    let map = with_spectrum(90, 70, &values);
    let got = rsvd(&map, &options(6)).expect("computes");
    assert!(matches!(got.route, Route::Iterations(2.., true)), "{}", got.route);
    for (got, want) in got.values.iter().zip(&values) {
        assert!((got - want).abs() < 2e-6, "{got} {want}");
    }
    let few = rsvd(&map, &RsvdOptions { power: 1, ..options(6) }).expect("computes");
    assert_eq!(few.route, Route::Iterations(1, false));
    assert_eq!(few.route.to_string(), "1 iteration, tolerance not reached");
}

/// Small maps are decomposed as dense matrices: every value is found, and is exact up to rounding.
#[test]
fn small_maps_take_the_exact_route() {
    let values: Vec<f64> = (1..=45).map(|i| 5.0 - 0.1 * f64::from(i)).collect();
    for (rows, columns) in [(90, 45), (45, 90), (60, 60)] {
        let map = with_spectrum(rows, columns, &values);
        let got = rsvd(&map, &RsvdOptions::default()).expect("computes");
        assert_eq!(got.route, Route::Exact(rows.min(columns)));
        assert_eq!((got.left[0].len(), got.right[0].len()), (rows, columns));
        for ((got, want), [low, high]) in got.values.iter().zip(&values).zip(&got.range) {
            assert!((got - want).abs() < 5e-6 && low <= want && want <= high, "{got} {want} {low} {high}");
            assert!(high - low < 2e-4, "{low} {high}");
        }
        assert!(got.residual.iter().flatten().all(|r| *r < 1e-5), "{:?}", got.residual);
        assert!((got.bound - values[8]).abs() < 1e-4, "{}", got.bound);
    }
}

/// Every value lies in its range, and the ranges of values well above the remainder are narrow.
#[test]
fn ranges_enclose_the_values() {
    let values: Vec<f64> = (0..60).map(|i| if i < 4 { 9.0 - f64::from(i) } else { 1.0 }).collect();
    let map = with_spectrum(90, 70, &values);
    for power in [0, 1, 32] {
        let got = rsvd(&map, &RsvdOptions { power, ..options(6) }).expect("computes");
        for (i, [low, high]) in got.range.iter().enumerate() {
            assert!(*low <= values[i] + 1e-5 && values[i] <= high + 1e-5, "{power}: {i} {low} {high}");
        }
        if power == 32 {
            // The first four values lie well above the remainder, and the others are as large as it.
            assert!(got.range[..4].iter().all(|[low, high]| high - low < 1e-3), "{:?}", got.range);
            assert!(got.range[4..].iter().all(|[_, high]| *high < 1.4), "{:?}", got.range);
        }
    }
}

/// All triplets of a map of low rank are found, and the bound is near zero.
#[test]
fn all_triplets_of_a_low_rank_map_are_found() {
    let values = [3.0, 2.0, 0.5];
    let map = with_spectrum(40, 80, &values);
    let got = rsvd(&map, &RsvdOptions { power: 1, ..options(4) }).expect("computes");
    for (g, w) in got.values.iter().zip([3.0, 2.0, 0.5, 0.0]) {
        assert!((g - w).abs() < 2e-6, "{g} {w}");
    }
    assert!(got.bound < 1e-4 && got.residual.iter().flatten().all(|r| *r < 1e-5), "{got:?}");
}

/// The bound is above the true norm of the remainder, but not by much. One spectrum decays by a fifth from value to
/// value, and the other hardly decays.
#[test]
fn the_bound_is_above_the_remainder_and_tight() {
    for (decay, most) in [(0.8f64, 1.3), (0.98, 1.45)] {
        for seed in 0..20 {
            let values: Vec<f64> = (0..30).map(|i| decay.powi(i)).collect();
            let map = with_spectrum(50, 45, &values);
            let got = rsvd(&map, &RsvdOptions { seed, ..options(5) }).expect("computes");
            let ratio = got.bound / values[5];
            assert!((1.0..most).contains(&ratio), "{decay}, seed {seed}: {ratio}");
            assert!(got.failure < 1e-6);
        }
    }
}

#[test]
fn invalid_options_are_refused_and_a_zero_map_is_not() {
    let map = with_spectrum(5, 4, &[1.0]);
    for options in [
        RsvdOptions { rank: 0, ..Default::default() },
        RsvdOptions { rank: 5, ..Default::default() },
        RsvdOptions { rank: 1, probes: 0, ..Default::default() },
    ] {
        assert!(rsvd(&map, &options).is_err());
    }
    let zero = Dense { rows: 5, columns: 4, data: vec![0.0; 20] };
    for exact in [0, 512] {
        let got = rsvd(&zero, &RsvdOptions { exact, ..options(2) }).expect("computes");
        assert_eq!((got.values, got.bound), (vec![0.0; 2], 0.0));
    }
}
