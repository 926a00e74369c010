//! Superposition: joint responses against the reference, and a linear model, for which responses add up.

use resolvent_field::superposition;
use resolvent_model::{Edit, Observable, Site};
use resolvent_tests::{Random, Twin, subjects};

use super::{array, close, run, truth};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

fn sources(twin: &Twin) -> Vec<Edit> {
    let mut random = Random::new(3);
    let d = twin.config.n_embd;
    let at = [Site::ResidPre(0), Site::MlpOut(0), Site::ResidMid(1), Site::ResidPre(1)];
    at.into_iter().enumerate().map(|(token, site)| Edit::add(site, token, random.normals(d))).collect()
}

const PAIRS: [(usize, usize); 4] = [(0, 1), (1, 3), (2, 2), (3, 0)];

#[test]
fn joint_responses_match_the_reference() {
    let twin = Twin::small();
    let (sources, j) = (sources(&twin), Observable::logit_diff(4, 20, 4));
    let value = truth(&twin, &TOKENS, &[], &j);
    let response = |edits: &[Edit]| truth(&twin, &TOKENS, edits, &j) - value;
    let single: Vec<f64> = sources.iter().map(|s| response(std::slice::from_ref(s))).collect();
    let joint: Vec<f64> = PAIRS.iter().map(|&(a, b)| response(&[sources[a].clone(), sources[b].clone()])).collect();
    let apart: Vec<f64> = PAIRS.iter().zip(&joint).map(|(&(a, b), j)| j - single[a] - single[b]).collect();
    for on in subjects() {
        let model = twin.on(on);
        let options = resolvent_model::RunOptions { sites: twin.sites(), ..Default::default() };
        let run = model.run_with(&TOKENS, &options).expect("runs");
        let got = superposition(&run, &j, &sources, &PAIRS).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&got, "single"), &single, 1e-5, "single");
        close(&array(&got, "joint"), &joint, 1e-5, "joint");
        // The interaction is a difference of differences of values that are a hundred times larger.
        close(&array(&got, "interaction"), &apart, 1e-4, "interaction");
        assert!(array(&got, "error").iter().any(|e| *e > 0.02), "this model is not linear");
        assert!(superposition(&run, &j, &sources, &[(0, 4)]).is_err());
    }
}

#[test]
fn responses_of_a_linear_model_add_up() {
    let twin = Twin::linear(3);
    let j = Observable::logit_diff(4, 20, 4);
    let sources: Vec<Edit> =
        sources(&twin).into_iter().map(|e| Edit { site: Site::ResidPre(e.token % 3), ..e }).collect();
    for on in subjects() {
        let got = superposition(&run(&twin, on, &TOKENS), &j, &sources, &PAIRS).expect("computes");
        let worst = array(&got, "error").into_iter().fold(0.0, f64::max);
        // The remaining error is rounding of J, which is a hundred times the smallest response.
        assert!(worst < 5e-4, "{}: {worst}", on.name());
        assert!(array(&got, "single").iter().all(|e| e.abs() > 1e-2), "and there are responses");
    }
}
