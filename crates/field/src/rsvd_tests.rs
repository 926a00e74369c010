//! Singular values of maps whose spectrum is known.

use super::*;
use crate::dense::orthonormal;
use crate::lsqr::tests::Dense;

/// By iteration, whatever the size.
fn options(rank: usize) -> RsvdOptions {
    RsvdOptions { rank, exact: 0, ..Default::default() }
}

/// `U diag(values) V^T` of random orthonormal U and V.
fn with_spectrum(rows: usize, columns: usize, values: &[f64]) -> Dense {
    let turned = |n: usize, seed| {
        let mut q: Vec<Vec<f64>> = gaussian(seed, values.len() * n).chunks(n).map(wide).collect();
        orthonormal(&mut q);
        q
    };
    let (u, v) = (turned(rows, 1), turned(columns, 2));
    let number = |i: usize, j: usize| values.iter().enumerate().map(|(n, s)| u[n][i] * s * v[n][j]).sum::<f64>();
    let data = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| number(i, j) as f32);
    Dense { rows, columns, data: data.collect() }
}

#[test]
fn a_slow_spectrum_needs_iterations() {
    // s_i = i^-1/2: the tail holds most of the energy.
    let values: Vec<f64> = (1..=60).map(|i| 1.0 / f64::from(i).sqrt()).collect();
    let map = with_spectrum(90, 70, &values);
    let error = |power| {
        let got = rsvd(&map, &RsvdOptions { oversampling: 6, power, ..options(6) }).expect("computes");
        let apart = got.values.iter().zip(&values).map(|(g, w)| (g - w).abs() / w);
        // The best that six triplets can leave is the seventh value; what is left is below the bound.
        assert!(got.bound >= values[6], "{} {}", got.bound, values[6]);
        // A singular value is as near to one of A as its residual is large (Weyl).
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

/// The default iterates until values are right to the tolerance, and says so; fewer iterations say that they did not.
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

/// Small maps are decomposed whole: every value to rounding, and none is missed.
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

/// Every value lies in its range, and where values end the ranges are narrow above them.
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
            // The first four lie well above what is left, the others among it.
            assert!(got.range[..4].iter().all(|[low, high]| high - low < 1e-3), "{:?}", got.range);
            assert!(got.range[4..].iter().all(|[_, high]| *high < 1.4), "{:?}", got.range);
        }
    }
}

/// Of a map of low rank everything is found, and the bound says so.
#[test]
fn a_low_rank_is_found_whole() {
    let values = [3.0, 2.0, 0.5];
    let map = with_spectrum(40, 80, &values);
    let got = rsvd(&map, &RsvdOptions { power: 1, ..options(4) }).expect("computes");
    for (g, w) in got.values.iter().zip([3.0, 2.0, 0.5, 0.0]) {
        assert!((g - w).abs() < 2e-6, "{g} {w}");
    }
    assert!(got.bound < 1e-4 && got.residual.iter().flatten().all(|r| *r < 1e-5), "{got:?}");
}

/// The bound is above the true norm of what is left, and not by much: of a spectrum that decays by a fifth a value, and of one
/// that hardly decays.
#[test]
fn the_bound_bounds() {
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
fn what_cannot_be_is_refused() {
    let map = with_spectrum(5, 4, &[1.0]);
    for options in [
        RsvdOptions { rank: 0, ..Default::default() },
        RsvdOptions { rank: 5, ..Default::default() },
        RsvdOptions { rank: 1, probes: 0, ..Default::default() },
    ] {
        assert!(rsvd(&map, &options).is_err());
    }
    // A map of zeros has singular values of zero.
    let nothing = Dense { rows: 5, columns: 4, data: vec![0.0; 20] };
    for exact in [0, 512] {
        let got = rsvd(&nothing, &RsvdOptions { exact, ..options(2) }).expect("computes");
        assert_eq!((got.values, got.bound), (vec![0.0; 2], 0.0));
    }
}
