//! Patches and sensitivities at every kind of site, of models with and without gates and rotary embedding: kinds that
//! determine each other have the same patches, and derivatives are those of forward mode.

use resolvent_field::{Labelled, SiteKind, dot, patch_at, sensitivity_at};
use resolvent_model::{Mode, Model, Run, RunOptions, Source, gaussian};
use resolvent_tests::{Golden, Subject, subjects};

use super::array;

/// Opens a golden model, and runs prompts with the sites of these kinds.
fn runs(golden: &Golden, on: &Subject, kinds: &[SiteKind], prompts: &[&[u32]]) -> Vec<Run> {
    let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
    let sites = kinds.iter().flat_map(|kind| kind.sites(model.sizes())).collect();
    let options = RunOptions { sites, ..RunOptions::default() };
    model.run_all(prompts, &options).expect("runs")
}

/// The golden models with these names.
fn goldens(names: &[&str]) -> Vec<Golden> {
    let found: Vec<Golden> =
        Golden::families().into_iter().filter(|golden| names.iter().any(|name| golden.name.ends_with(name))).collect();
    assert_eq!(found.len(), names.len(), "{names:?}");
    found
}

fn close(got: &[f64], want: &[f64], name: &str) {
    let size = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    assert!(size > 1e-4, "{name}: the test itself has no effects");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 2e-5 * size.max(1.0), "{name}: {got} instead of {want}");
    }
}

/// A query is patched before or after its rotation alike. The rows of the neurons determine what the MLP adds, and the
/// normalized row determines both.
#[test]
fn kinds_that_determine_each_other_have_the_same_patches() {
    use SiteKind::{Ln2Normalized, MlpOut, MlpPost, Q, RotQ};
    for golden in goldens(&["llama", "qwen2"]) {
        for on in subjects() {
            let kinds = [Q, RotQ, MlpOut, MlpPost, Ln2Normalized];
            let both = runs(&golden, on, &kinds, &[&golden.tokens, &golden.corrupted]);
            let got = patch_at(&both[0], &both[1], &golden.observable(), &kinds).expect("patches");
            let name = |kind: SiteKind| format!("{} on {}, {kind}", golden.name, on.name());
            let of = |kind: SiteKind, array_of: usize| array(&got, kind.arrays()[array_of]);
            for which in 0..2 {
                close(&of(RotQ, which), &of(Q, which), &name(RotQ));
                close(&of(MlpPost, which), &of(MlpOut, which), &name(MlpPost));
            }
            // The activation lies between the two, so first order differs.
            close(&of(Ln2Normalized, 0), &of(MlpOut, 0), &name(Ln2Normalized));
            assert!(got.certificates.iter().any(|check| check.name == "alone"), "{:?}", got.certificates);
        }
    }
}

/// Every kind that the model has: `<dJ/dy, v>` is the derivative along v by forward mode, at each site of the first
/// block, and the norm is that of the row.
#[test]
fn sensitivities_of_every_kind_are_those_of_forward_mode() {
    let [llama, gpt2] = [goldens(&["llama"]).remove(0), Golden::all().remove(0)];
    let rotary = [SiteKind::RotQ, SiteKind::RotK, SiteKind::MlpPreLinear];
    for (golden, without) in
        [(&llama, &[SiteKind::Pattern][..]), (&gpt2, &[&rotary[..], &[SiteKind::Pattern]].concat())]
    {
        let kinds: Vec<SiteKind> = SiteKind::ALL.into_iter().filter(|kind| !without.contains(kind)).collect();
        for on in subjects() {
            let run = runs(golden, on, &kinds, &[&golden.tokens]).remove(0);
            let j = golden.observable();
            let got: Labelled = sensitivity_at(&[(&run, &j)], &kinds).expect("computes").remove(0);
            assert!(got.certificates.iter().any(|check| check.name == "forward_reverse"), "{:?}", got.certificates);
            let token = j.position();
            for kind in kinds.iter().filter(|kind| **kind != SiteKind::Resid) {
                let (chi, norm) = (array(&got, &format!("sensitivity.{kind}")), array(&got, &format!("norm.{kind}")));
                let width = chi.len() / norm.len();
                let source = Source { site: kind.sites(run.model().sizes())[0], token, vector: gaussian(5, width) };
                let row: Vec<f32> = chi[token * width..][..width].iter().map(|x| *x as f32).collect();
                let first = run.linearize(Mode::Exact).along(&[[source.clone()]], &j).expect("fits")[0].first;
                let name = format!("{} on {}, {kind}", golden.name, on.name());
                let size = norm[token] * (width as f64).sqrt();
                assert!(size > 1e-7, "{name}: the test itself has no derivative");
                assert!((dot(&row, &source.vector) - first).abs() < 5e-5 * size, "{name}: {first}");
                assert!((dot(&row, &row).sqrt() - norm[token]).abs() < 1e-5 * norm[token], "{name}");
            }
        }
    }
}

#[test]
fn kinds_without_sites_are_named() {
    let golden = Golden::all().remove(0);
    let on = subjects()[0];
    let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
    let run = model.run(&golden.tokens, &[]).expect("runs");
    let refused = |kind: SiteKind| {
        sensitivity_at(&[(&run, &golden.observable())], &[kind]).expect_err("has no such site").to_string()
    };
    assert!(refused(SiteKind::Pattern).contains("take z"), "{}", refused(SiteKind::Pattern));
    assert!(refused(SiteKind::RotQ).contains("rotary"), "{}", refused(SiteKind::RotQ));
    assert!(refused(SiteKind::MlpPreLinear).contains("gate"), "{}", refused(SiteKind::MlpPreLinear));
}
