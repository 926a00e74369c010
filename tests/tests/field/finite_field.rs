//! Finite responses of the field: those of the reference, and what derivatives on the way make of them.

use resolvent_field::{GreenOptions, Labelled, green_with};
use resolvent_model::{Edit, Model, Run, Site};
use resolvent_tests::{Golden, Random, Twin, subjects};

use super::{array, close, run};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

fn response(run: &Run, vector: &[f32], nodes: usize) -> Labelled {
    let options = GreenOptions { nodes, ..GreenOptions::default() };
    green_with(run, (1, 2), vector, options).unwrap_or_else(|e| panic!("{nodes} nodes: {e}"))
}

/// The finite response is that of the reference in f64. With more nodes the secant comes closer; first order does not.
#[test]
fn secants_become_the_finite_response_of_the_reference() {
    let twin = Twin::small();
    let vector: Vec<f32> = Random::new(4).normals(twin.config.n_embd).iter().map(|x| 0.5 * x).collect();
    let edit = Edit::add(Site::ResidPre(1), 2, vector.clone());
    let (with, without) = (twin.primal(&TOKENS, &[edit]).field, twin.primal(&TOKENS, &[]).field);
    let want: Vec<f64> = with.iter().zip(&without).map(|(a, b)| a - b).collect();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let [few, many] = [1, 12].map(|nodes| response(&run, &vector, nodes));
        close(&array(&many, "finite"), &want, 2e-5, on.name());
        close(&array(&many, "secant"), &want, 1e-3, on.name());
        let [first, one, twelve] = [(&many, "first_error"), (&few, "secant_error"), (&many, "secant_error")]
            .map(|(result, name)| *array(result, name).last().expect("a level"));
        // Rounding may hide the error of twelve nodes.
        assert!(first > 0.02 && one < first && twelve.max(0.0) <= 0.1 * one, "{}: {first} {one} {twelve}", on.name());
        let errors = array(&many, "first_error");
        assert!(
            errors[0].is_nan() && errors[1].is_nan(),
            "no response below, and the source itself is exact: {errors:?}"
        );
        assert!(array(&response(&run, &vector, 4), "secant_bar").last().is_some_and(|bar| *bar > 0.0));
    }
}

#[test]
fn every_family_has_finite_responses() {
    for golden in Golden::all().into_iter().chain(Golden::forms()) {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let run = model.run(&golden.tokens, &[]).expect("runs");
            let vector = Random::new(4).scaled(model.sizes().d, 0.1);
            let got = response(&run, &vector, 8);
            let [first, secant] =
                ["first_error", "secant_error"].map(|name| *array(&got, name).last().expect("a level"));
            assert!(
                first.is_nan() || secant.max(0.0) <= first.clamp(0.0, 0.01),
                "{} on {}: {first} {secant}",
                golden.name,
                on.name()
            );
        }
    }
}

#[test]
fn too_many_nodes_are_refused() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let options = GreenOptions { nodes: 17, ..GreenOptions::default() };
    let vector = vec![1.0; twin.config.n_embd];
    assert!(green_with(&run, (1, 2), &vector, options).expect_err("too many").to_string().contains("give at most 16"));
}
