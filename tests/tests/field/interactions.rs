//! Interactions: those of the reference for small sources, none in a linear model.

use resolvent_field::interactions;
use resolvent_model::{Edit, Observable, RunOptions, Site, Source};
use resolvent_tests::{Random, Twin, subjects};

use super::{array, close, run, truth};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

fn sources(twin: &Twin, size: f32) -> Vec<Source> {
    let mut random = Random::new(8);
    let at = [(Site::ResidPre(0), 1), (Site::MlpOut(0), 3), (Site::ResidMid(1), 3), (Site::ResidPre(1), 4)];
    let vector = |random: &mut Random| random.normals(twin.config.n_embd).iter().map(|x| size * x).collect();
    at.map(|(site, token)| Source { site, token, vector: vector(&mut random) }).into()
}

/// `(e(s1 + s2) - e(s1 - s2) - e(s2 - s1) + e(-s1 - s2)) / 4` of the reference in f64: the mixed second derivative, to fourth
/// order.
#[test]
fn products_are_mixed_derivatives_of_the_reference() {
    let (twin, j) = (Twin::small(), Observable::logit_diff(4, 20, 4));
    let sources = sources(&twin, 1e-3);
    let n = sources.len();
    let edit = |s: &Source, sign: f32| Edit::add(s.site, s.token, s.vector.iter().map(|x| sign * x).collect());
    let value = |a: &Source, sign_a: f32, b: &Source, sign_b: f32| {
        truth(&twin, &TOKENS, &[edit(a, sign_a), edit(b, sign_b)], &j)
    };
    let mixed = |a: &Source, b: &Source| {
        (value(a, 1.0, b, 1.0) - value(a, 1.0, b, -1.0) - value(a, -1.0, b, 1.0) + value(a, -1.0, b, -1.0)) / 4.0
    };
    let want: Vec<f64> = (0..n * n).map(|k| mixed(&sources[k / n], &sources[k % n])).collect();
    for on in subjects() {
        let options = RunOptions { sites: twin.sites(), ..Default::default() };
        let run = twin.on(on).run_with(&TOKENS, &options).expect("runs");
        let got = interactions(&run, &j, &sources).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&got, "interaction"), &want, 1e-3, on.name());
        assert!(interactions(&run, &j, &[]).is_err());
    }
}

/// Sources that count: the map from products is near the one from joint runs.
#[test]
fn the_map_is_that_of_joint_runs() {
    let (twin, j) = (Twin::small(), Observable::logit_diff(4, 20, 4));
    let options = RunOptions { sites: twin.sites(), ..Default::default() };
    for on in subjects() {
        let run = twin.on(on).run_with(&TOKENS, &options).expect("runs");
        let got = interactions(&run, &j, &sources(&twin, 0.03)).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&got, "interaction"), &array(&got, "interaction_actual"), 0.2, on.name());
    }
}

#[test]
fn nothing_interacts_in_a_linear_model() {
    let twin = Twin::linear(3);
    let mut random = Random::new(2);
    let j = Observable::Field { level: 3, token: 4, direction: random.normals(twin.config.n_embd) };
    let d = twin.config.n_embd;
    let mut at = |level, token| Source { site: Site::ResidPre(level), token, vector: random.normals(d) };
    let sources = [at(0, 1), at(1, 3), at(2, 4)];
    for on in subjects() {
        let got = interactions(&run(&twin, on, &TOKENS), &j, &sources).expect("holds");
        let single = array(&got, "single").into_iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for name in ["interaction", "interaction_actual"] {
            let most = array(&got, name).into_iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(most < 1e-3 * single, "{}: {name} {most} of {single}", on.name());
        }
    }
}
