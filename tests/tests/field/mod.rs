mod attribution;
mod average;
mod bases;
mod circuit;
mod circuit_edited;
mod compare;
mod conditioning;
mod controls;
mod edges;
mod edges_between;
mod edges_by_token;
mod edges_edited;
mod edges_into;
mod features;
mod features_of_prompts;
mod finite_field;
mod flow;
mod growth;
mod identities;
mod interactions;
mod invert;
mod lens;
mod locate;
mod locate_several;
mod noise;
mod operator;
mod overflow;
mod paths;
mod predictors;
mod prompts;
mod quadratic;
mod reach;
mod reduce;
mod regime;
mod scale;
mod site_kinds;
mod slice;
mod slice_secants;
mod spectrum;
mod subspace;
mod superposition;
mod together;
mod transfer;
mod waits;
mod waits_beside;

use resolvent_field::Labelled;
use resolvent_model::{Edit, Observable, Run};
use resolvent_tests::truth::wide;
use resolvent_tests::{Subject, Twin, observed};

/// Runs a twin's model on one executor.
fn run(twin: &Twin, on: &Subject, tokens: &[u32]) -> Run {
    twin.on(on).run(tokens, &[]).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
}

/// Returns J of the reference under edits.
fn truth(twin: &Twin, tokens: &[u32], edits: &[Edit], j: &Observable) -> f64 {
    observed::read(j, &twin.primal(tokens, edits))
}

/// Returns an array of a result in f64.
fn array(result: &Labelled, name: &str) -> Vec<f64> {
    wide(&result.array(name).unwrap_or_else(|| panic!("no array `{name}`")).data)
}

/// Checks that two arrays differ by at most `within` times the largest magnitude.
fn close(got: &[f64], want: &[f64], within: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().chain(got).fold(0.0f64, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= within * size, "{what} {i}: {g} instead of {w}, of {size}");
    }
}
