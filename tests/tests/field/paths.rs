//! Chosen paths: each alone as among all edges, and all together as the patch of what they add up to.

use resolvent_field::{Case, EdgeOptions, edges, edges_from_to, paths, paths_of_prompts};
use resolvent_model::{Edge, Edit, Model, Observable, Reader, Site, Writer};
use resolvent_tests::{Golden, Subject, Twin, subjects};

use super::edges::{CLEAN, CORRUPTED, both, moved, patched};
use super::edges_by_token::two_lengths;
use super::{array, close, truth};

fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// Effects of single paths are those of the sweep over all edges. Paths into one reader, together, are one
/// displacement.
#[test]
fn paths_match_the_reference() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4) - Observable::log_prob(7, 2);
    let base = truth(&twin, &CORRUPTED, &[], &j);
    for on in subjects() {
        let model = twin.on(on);
        let [clean, corrupted] = both(&model, [&CLEAN, &CORRUPTED]);
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let whole = edges(&case, &EdgeOptions { exact: true, ..EdgeOptions::default() }).expect("computes");
        let all = Edge::all(model.architecture());
        for (from, to) in [("a0.h0,a0.h1,m0", "a1.h1<v>"), ("input,m0", "m1"), ("a0.h0,a1.h1", "logits")] {
            let chosen = edges_from_to(model.architecture(), &names(from), &names(to)).expect("edges");
            let got = paths(&case, &chosen).unwrap_or_else(|e| panic!("{from} {to} {}: {e}", on.name()));
            for name in ["first_order", "random", "exact"] {
                let of_all = array(&whole, name);
                let want: Vec<f64> =
                    all.iter().zip(of_all).filter(|(edge, _)| chosen.contains(edge)).map(|(_, x)| x).collect();
                close(&array(&got, name), &want, 1e-5, &format!("{name} {}", on.name()));
            }
            let mut sum = vec![vec![0.0f32; twin.config.n_embd]; CLEAN.len()];
            for edge in &chosen {
                for (sum, row) in sum.iter_mut().zip(moved(&twin, edge.writer)) {
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
            }
            let want = patched(&twin, chosen[0].reader, sum, &j) - base;
            close(&array(&got, "together"), &[want], 1e-4, &format!("{from} {to} {}", on.name()));
        }
    }
}

/// All paths from a node are its patch, in families with shared keys and values, norms after attention and parallel
/// blocks too. Every exact result has this as a check.
#[test]
fn all_paths_from_a_node_are_its_patch() {
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    for golden in Golden::families() {
        let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
        let j = golden.observable();
        let [clean, corrupted] = both(&model, [&golden.tokens, &golden.corrupted]);
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let receivers: Vec<String> = Reader::all(model.sizes()).iter().map(Reader::to_string).collect();
        let of_mlp = edges_from_to(model.architecture(), &names("m0"), &receivers).expect("edges");
        let got = paths(&case, &of_mlp).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        let values = clean.capture(Site::MlpOut(0)).expect("captured");
        let rows = values.chunks(model.sizes().d).enumerate();
        let patch: Vec<Edit> = rows.map(|(t, row)| Edit::put(Site::MlpOut(0), t, row.to_vec())).collect();
        let effect = corrupted.values_under(&[patch], &j).expect("patches")[0] - corrupted.value(&j).expect("reads");
        close(&array(&got, "together"), &[effect], 1e-4, golden.name);
        let whole = edges(&case, &EdgeOptions { exact: true, ..EdgeOptions::default() });
        let whole = whole.unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        assert!(whole.certificates.iter().any(|one| one.name == "of_writer"), "{}", golden.name);
    }
}

#[test]
fn paths_of_many_prompts() {
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = Twin::small().on(&on);
    let cases = two_lengths();
    let chosen: Vec<Edge> = ["input->m0", "m0->logits"].map(|name| name.parse().expect("an edge")).into();
    let found = paths_of_prompts(&model, &cases, &chosen, &mut |_, _| {}).expect("computes");
    assert_eq!(found.results.len(), 2);
    let [long, short] = [0, 1].map(|n| array(&found.results[n], "together")[0]);
    let stacked = found.stack().expect("stacks");
    assert!((array(&stacked, "together.mean")[0] - f64::midpoint(long, short)).abs() < 1e-6 && long != short);
    let late = [Edge { writer: Writer::Mlp(1), reader: Reader::Mlp(0) }];
    assert!(paths_of_prompts(&model, &cases, &late, &mut |_, _| {}).is_err());
    assert!(paths_of_prompts(&model, &cases, &[], &mut |_, _| {}).and_then(|found| found.stack()).is_err());
}
