//! The linear regime: finite responses, derivatives and radii, against f64.

use resolvent_field::{Labelled, Place, RegimeOptions, regime};
use resolvent_model::{Edit, Observable, Site, Source};
use resolvent_reference::{Dual, Logit, Observable as _};
use resolvent_tests::{Random, Twin, subjects};

use super::{array, close, run, truth};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];
const AMPLITUDES: [f32; 4] = [0.01, 0.1, -0.3, 1.5];

fn sites(twin: &Twin) -> Vec<(Place, Vec<f32>)> {
    let mut random = Random::new(11);
    let places = [(0, 1), (1, 3), (0, 4), (2, 4), (2, 1), (1, 0)];
    places.into_iter().map(|place| (place, random.normals(twin.config.n_embd))).collect()
}

fn options(absolute: bool) -> RegimeOptions {
    RegimeOptions { amplitudes: AMPLITUDES.to_vec(), absolute, field: true, nodes: 0 }
}

/// Returns the observable of these tests.
fn observable() -> Observable {
    Observable::logit_diff(4, 20, 4)
}

/// Returns the vector that amplitude 1 adds, by the reference's field.
fn unit(twin: &Twin, (place, v): &(Place, Vec<f32>), absolute: bool) -> Vec<f64> {
    let d = twin.config.n_embd;
    let field = twin.primal(&TOKENS, &[]).field;
    let h = &field[(place.0 * TOKENS.len() + place.1) * d..][..d];
    let size = if absolute { 1.0 } else { h.iter().map(|x| x * x).sum::<f64>().sqrt() };
    v.iter().map(|&x| size * f64::from(x)).collect()
}

/// Returns `J(h + a v) - J(h)` of the reference.
fn finite(twin: &Twin, site: &(Place, Vec<f32>), absolute: bool, a: f64) -> f64 {
    let s = unit(twin, site, absolute).iter().map(|x| (a * x) as f32).collect();
    let edit = Edit::add(Site::level(site.0.0, &twin.sizes()), site.0.1, s);
    truth(twin, &TOKENS, &[edit], &observable()) - truth(twin, &TOKENS, &[], &observable())
}

/// Returns dJ/da and d2J/da2 of the reference at an amplitude.
fn derivatives(twin: &Twin, site: &(Place, Vec<f32>), absolute: bool, a: f64) -> [f64; 2] {
    let unit = unit(twin, site, absolute);
    let at = |a: f64| unit.iter().map(|x| (a * x) as f32).collect();
    let place = (Site::level(site.0.0, &twin.sizes()), site.0.1);
    let source = Source { site: place.0, token: place.1, vector: at(1.0) };
    let amplitude = Dual::new(Dual::new(0.0, 1.0), Dual::new(1.0, 0.0));
    let trace = twin.run(&TOKENS, &[Edit::add(place.0, place.1, at(a))], &[(&[source], amplitude)]);
    let j = Logit { target: 4, against: Some(20), position: 4 }.read(&trace);
    [j.primal.tangent, j.tangent.tangent]
}

#[test]
fn responses_and_derivatives_are_those_of_the_reference() {
    let twin = Twin::small();
    let sites = sites(&twin);
    for absolute in [false, true] {
        let want: Vec<f64> =
            sites.iter().flat_map(|site| AMPLITUDES.map(|a| finite(&twin, site, absolute, f64::from(a)))).collect();
        let truths: Vec<[f64; 2]> = sites.iter().map(|site| derivatives(&twin, site, absolute, 0.0)).collect();
        for on in subjects() {
            let got = regime(&run(&twin, on, &TOKENS), &observable(), &sites, &options(absolute));
            let got = got.unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            close(&array(&got, "finite"), &want, 3e-6, "finite");
            let (first, second) = (array(&got, "first_order"), array(&got, "second"));
            for (n, [a, b]) in truths.iter().enumerate() {
                assert!((first[n] - a).abs() <= 2e-5 * a.abs().max(1e-2), "{n}: {} {a}", first[n]);
                assert!((second[n] - b).abs() <= 1e-4 * b.abs().max(1e-2), "{n}: {} {b}", second[n]);
            }
            // J does not depend on other tokens of the last level: nothing moves, and every amplitude is linear.
            assert_eq!([first[4], second[4]], [0.0; 2]);
            assert_eq!(array(&got, "radius")[4], f64::INFINITY);
            assert_eq!(array(&got, "error")[16..20], [0.0; 4]);
            errors(&got, &first);
        }
    }
}

/// Checks the definition of the error.
fn errors(got: &Labelled, first: &[f64]) {
    let (finite, error) = (array(got, "finite"), array(got, "error"));
    let noise: f64 = got.metadata["noise_floor"].parse().expect("a number");
    for (n, first) in first.iter().enumerate().filter(|(_, f)| **f != 0.0) {
        for (i, a) in AMPLITUDES.iter().enumerate() {
            let linear = f64::from(*a) * first;
            let want = (finite[4 * n + i] - linear).abs() / linear.abs();
            if want * linear.abs() < noise {
                // In f32, the response equals first order.
                assert!(error[4 * n + i].is_nan(), "{n} {a}");
                continue;
            }
            assert!((error[4 * n + i] - want).abs() < 1e-4 * want.max(0.01), "{n} {a}");
        }
    }
}

/// The error reaches 20 % at the radius and not below it, in f64 on a fine grid.
#[test]
fn radii_are_where_the_error_crosses() {
    let twin = Twin::small();
    let sites = sites(&twin);
    for absolute in [false, true] {
        for on in subjects() {
            let got = regime(&run(&twin, on, &TOKENS), &observable(), &sites, &options(absolute)).expect("computes");
            let mut seen = 0;
            for (site, radius) in sites.iter().zip(array(&got, "radius")).filter(|(_, r)| r.is_finite()) {
                let [first, _] = derivatives(&twin, site, absolute, 0.0);
                let error = |a: f64| (finite(&twin, site, absolute, a) - a * first).abs() / (a * first).abs();
                assert!(error(radius * 1.002) >= 0.2, "{:?}: {radius}", site.0);
                for i in 1..200 {
                    let a = radius * f64::from(i) / 200.0;
                    assert!(error(a) < 0.2, "{:?}: {a} of {radius}: {}", site.0, error(a));
                }
                seen += 1;
            }
            assert!(seen >= 4, "{seen}");
        }
    }
}

/// The error of the downstream field decreases with the amplitude, and is zero for a linear model.
#[test]
fn the_field_is_compared_too() {
    let (twin, linear) = (Twin::small(), Twin::linear(2));
    for on in subjects() {
        let of = |twin: &Twin| {
            let got = regime(&run(twin, on, &TOKENS), &observable(), &sites(twin)[..2], &options(false));
            array(&got.expect("computes"), "field_error")
        };
        let errors = of(&twin);
        for e in errors.chunks(AMPLITUDES.len()) {
            assert!(e[0] > 0.0 && e[0] < 0.2 * e[1] && e[3] > 0.5, "{e:?}");
        }
        let errors = of(&linear);
        // NaN denotes an error that is hidden by rounding.
        assert!(errors.iter().all(|e| e.is_nan() || *e < 2e-3), "{errors:?}");
    }
}

#[test]
fn invalid_sources_are_refused() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let refused = |sites: &[(Place, Vec<f32>)], options: &RegimeOptions| {
        regime(&run, &observable(), sites, options).expect_err("refused").to_string()
    };
    let v = sites(&twin)[0].1.clone();
    assert!(refused(&[((3, 0), v.clone())], &options(false)).contains("outside of the field"));
    assert!(refused(&[((1, 0), vec![0.0; 18])], &options(false)).contains("not all zero"));
    assert!(refused(&[((1, 0), vec![1.0; 3])], &options(false)).contains("18 numbers"));
    for a in [0.0, f32::NAN, f32::INFINITY] {
        let options = RegimeOptions { amplitudes: vec![a], ..options(false) };
        assert!(refused(&[((1, 0), v.clone())], &options).contains("invalid amplitude"));
    }
}

/// The secant takes derivatives at two amplitudes of the reference, with the nodes and weights of Gauss and Legendre.
#[test]
fn secants_are_those_of_the_reference() {
    let twin = Twin::small();
    let (sites, nodes) = (sites(&twin), [-1.0, 1.0].map(|sign| 0.5 + sign / 12f64.sqrt()));
    let secant = |site: &(Place, Vec<f32>), a: f64| -> f64 {
        nodes.iter().map(|x| 0.5 * a * derivatives(&twin, site, false, a * x)[0]).sum()
    };
    let want: Vec<f64> = sites.iter().flat_map(|site| AMPLITUDES.map(|a| secant(site, f64::from(a)))).collect();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let result = regime(&run, &observable(), &sites, &RegimeOptions { nodes: 2, ..options(false) })
            .unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&result, "secant"), &want, 5e-5, "secant");
        // Two nodes are exact to third order, so they end no earlier than first order, and most end later.
        let (first, second) = (array(&result, "radius"), array(&result, "secant_radius"));
        let later = first.iter().zip(&second).filter(|(a, b)| b > a).count();
        assert!(2 * later > first.len(), "{}: {first:?} {second:?}", on.name());
        assert!(result.array("secant_error").is_some() && result.array("secant_bar").is_some());
        let error = regime(&run, &observable(), &sites, &RegimeOptions { nodes: 17, ..options(false) });
        assert!(error.is_err_and(|e| e.to_string().contains("17 nodes of a secant: give at most 16")));
    }
}
