//! Direct attribution: the parts against edits of the reference, and their sums.

use std::collections::BTreeMap;

use resolvent_field::{AttributeOptions, attribute, attribute_of_prompts};
use resolvent_model::{Edit, Model, Observable, PromptCase, RunOptions, Site, Source, Writer, gaussian};
use resolvent_tests::truth::{inner, wide};
use resolvent_tests::{Golden, Subject, Twin, observed, subjects};

use super::{array, close, truth};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];
const ALL: AttributeOptions = AttributeOptions { neurons: true, patterns: true, listed: 8, controls: 0 };

fn attributed(model: &Model, tokens: &[u32], j: &Observable) -> resolvent_field::Labelled {
    let options = RunOptions { sites: ALL.sites(model.sizes()), ..RunOptions::default() };
    let run = model.run_with(tokens, &options).expect("runs");
    attribute(&run, j, ALL).unwrap_or_else(|e| panic!("{}: {e}", model.name()))
}

/// With the scale of the final norm frozen, the direct contribution of an MLP is what J loses if the last level loses
/// its output. In the reference, J is read twice: with and without, both divided by the scale of the whole.
#[test]
fn contributions_are_differences_of_a_frozen_head() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    let at = twin.primal(&TOKENS, &[]);
    let d = twin.config.n_embd;
    let last = &twin.capture(&at, Site::ResidPost(1))[4 * d..];
    // J at the last level h is g(h) / std(h) + constant with a linear g. So g(w) = (J(w) - J(0)) std(w), for any w.
    let std = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / d as f64;
        (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64 + 1e-5).sqrt()
    };
    let read = |w: &[f64]| {
        let put = Edit::put(Site::ResidPost(1), 4, w.iter().map(|&x| x as f32).collect());
        truth(&twin, &TOKENS, &[put], &j)
    };
    let zero = read(&vec![0.0; d]);
    let direct = |w: &[f64]| (read(w) - zero) * std(w) / std(last);
    let wrote = |site: Site| twin.capture(&at, site)[4 * d..].to_vec();
    let want = [Site::MlpOut(0), Site::MlpOut(1), Site::ResidPre(0)].map(|site| direct(&wrote(site)));
    // The mean square over outputs of the length of the second MLP's in random directions.
    let size = inner(&wrote(Site::MlpOut(1)), &wrote(Site::MlpOut(1))).sqrt();
    let squares = (0..400).map(|seed| {
        let random = wide(&gaussian(seed, d));
        let scale = size / inner(&random, &random).sqrt();
        direct(&random.iter().map(|x| scale * x).collect::<Vec<f64>>()).powi(2)
    });
    let random = (squares.sum::<f64>() / 400.0).sqrt();
    for on in subjects() {
        let model = twin.on(on);
        let got = attributed(&model, &TOKENS, &j);
        let control = array(&got, "random_direct")[Writer::Mlp(1).index(model.sizes()) * 5 + 4];
        assert!((control / random - 1.0).abs() < 0.12, "{}: {control} beside {random}", on.name());
        let of = |writer: Writer| array(&got, "direct")[writer.index(model.sizes()) * 5 + 4];
        let got_direct = [Writer::Mlp(0), Writer::Mlp(1), Writer::Embedding].map(of);
        close(&got_direct, &want, 2e-5, on.name());
        close(&array(&got, "constant"), &[zero], 2e-5, "the constant");
        assert_eq!(array(&got, "direct").iter().filter(|x| **x != 0.0).count(), Writer::all(model.sizes()).len());
    }
}

/// Outputs of other prompts at the same norms, in place of an output: directly through the frozen head, and through all
/// paths.
#[test]
fn outputs_of_other_prompts_are_a_control() {
    let twin = Twin::small();
    let prompts: [&[u32]; 3] = [&TOKENS, &[7, 1, 15, 20, 2], &[11, 14, 8, 9, 21]];
    let (at, d) = (Site::MlpOut(1), twin.config.n_embd);
    let written = prompts.map(|tokens| twin.capture(&twin.primal(tokens, &[]), at)[4 * d..].to_vec());
    let matched = |other: &[f64]| -> Vec<f32> {
        let share = (inner(&written[0], &written[0]) / inner(other, other)).sqrt();
        other.iter().map(|x| (share * x) as f32).collect()
    };
    let j = Observable::logit_diff(4, 20, 4);
    let tangent = |source: Source| observed::read(&j, &twin.tangent(&TOKENS, &[], &[source])).tangent;
    let squares =
        written[1..].iter().map(|other| tangent(Source { site: at, token: 4, vector: matched(other) }).powi(2));
    let first_order = (squares.sum::<f64>() / 2.0).sqrt();
    for on in subjects() {
        let model = twin.on(on);
        let case = |tokens: &&[u32]| PromptCase {
            name: format!("{tokens:?}"),
            clean: tokens.to_vec(),
            corrupted: None,
            observable: Some(j.clone()),
            roles: BTreeMap::new(),
            edits: Vec::new(),
        };
        let cases: Vec<PromptCase> = prompts.iter().map(case).collect();
        let options = AttributeOptions { controls: 2, ..AttributeOptions::default() };
        let found = attribute_of_prompts(&model, (&cases, &cases), options, &mut |_, _| {}).expect("computes");
        let index = Writer::Mlp(1).index(model.sizes()) * 5 + 4;
        close(&array(&found.results[0], "other_prompts_first_order")[index..=index], &[first_order], 5e-5, on.name());
        // The last MLP reaches the head alone, so that the two contributions differ by the frozen scale only.
        let alone = attributed(&model, &TOKENS, &j);
        let of = |name: &str| array(&found.results[0], name);
        assert!(
            of("other_prompts_direct")[index] > 0.0 && of("other_prompts_direct")[index] != of("random_direct")[index]
        );
        assert_eq!(of("direct"), array(&alone, "direct"), "controls change nothing else");
        let few = attribute_of_prompts(&model, (&cases[..1], &cases[..2]), options, &mut |_, _| {}).expect("a list");
        assert!(few.left_out[0].reason.contains("two other prompts of 5 tokens or more"), "{:?}", few.left_out);
    }
}

/// Through all paths, the neurons of a block are the derivative along their values, and each listed one is that along
/// itself alone, in the reference.
#[test]
fn neurons_through_all_paths_are_derivatives_along_their_values() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    let along = |sources: &[Source]| observed::read(&j, &twin.tangent(&TOKENS, &[], sources)).tangent;
    for on in subjects() {
        let model = twin.on(on);
        let (got, width) = (attributed(&model, &TOKENS, &j), model.sizes().inner);
        let options = RunOptions { sites: ALL.sites(model.sizes()), ..RunOptions::default() };
        let run = model.run_with(&TOKENS, &options).expect("runs");
        let row = |block: usize, token: usize, only: Option<usize>| {
            let values = run.capture(Site::MlpPost(block)).expect("is prepared");
            let row = values[token * width..][..width].iter().enumerate();
            let alone = |(n, x): (usize, &f32)| if only.is_none_or(|only| only == n) { *x } else { 0.0 };
            Source { site: Site::MlpPost(block), token, vector: row.map(alone).collect() }
        };
        let sums = array(&got, "neurons_first_order");
        for block in 0..2 {
            let sources: Vec<Source> = (0..5).map(|token| row(block, token, None)).collect();
            let sum: f64 = sums[block * width..][..width].iter().sum();
            close(&[sum], &[along(&sources)], 5e-5, on.name());
        }
        let (places, effects) = (array(&got, "neuron_places"), array(&got, "neuron_effects"));
        assert_eq!((places.len(), effects.len()), (24, 8));
        assert!(effects.windows(2).all(|pair| pair[0].abs() >= pair[1].abs()), "{effects:?}");
        for (place, effect) in places.chunks(3).zip(&effects) {
            let [block, token, neuron] = [place[0], place[1], place[2]].map(|x| x as usize);
            close(&[*effect], &[along(&[row(block, token, Some(neuron))])], 5e-5, "a listed neuron");
        }
    }
}

/// The contributions of every family add up to J, where J is a weighted sum of uncapped logits; those of the neurons
/// and biases of each MLP to its own. The certificates check it; here the sums are taken again from the arrays.
#[test]
fn contributions_of_every_family_add_up() {
    for golden in Golden::all().into_iter().chain(Golden::forms()) {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let j = golden.observable();
            let got = attributed(&model, &golden.tokens, &j);
            let direct = array(&got, "direct");
            let sum: f64 = direct.iter().chain(&array(&got, "direct_biases")).sum::<f64>() + array(&got, "constant")[0];
            let (value, size) = (array(&got, "value")[0], inner(&direct, &direct).sqrt().max(1e-3));
            let exact = got.metadata["exact"] == "yes";
            assert_eq!(exact, !golden.name.contains("gemma2"), "{}: only its logits are capped", golden.name);
            assert!(!exact || (sum - value).abs() < 1e-4 * size, "{} {}: {sum} {value}", golden.name, on.name());
            let sizes = *model.sizes();
            let tokens = golden.tokens.len();
            for l in 0..sizes.layers {
                let neurons: f64 = array(&got, "neurons")[l * sizes.inner..][..sizes.inner].iter().sum();
                let at = Writer::Mlp(l).index(&sizes) * tokens;
                let whole: f64 = direct[at..at + tokens].iter().sum();
                let sum = neurons + array(&got, "mlp_biases")[l];
                assert!((sum - whole).abs() < 1e-4 * size, "{} {l}: {sum} {whole}", golden.name);
            }
            assert!(got.array("pattern").is_some());
        }
    }
}

/// What is no weighted sum of logits has contributions to first order only, and says so.
/// Edits of the stream are parts of their own: the sum over all parts stays J, in every family.
#[test]
fn edits_of_the_stream_are_parts() {
    for golden in Golden::all().into_iter().chain(Golden::forms()) {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let (last, d) = (golden.observable().position(), model.sizes().d);
            let layers = model.sizes().layers;
            let edits = vec![
                Edit::add(Site::ResidPost(layers - 1), last, vec![0.25; d]),
                Edit::ablate(Site::AttnOut(0), 1),
                Edit::scale(Site::MlpOut(0), last, 0.5),
                Edit::put(Site::ResidPre(0), 0, vec![0.5; d]),
            ];
            let options = RunOptions { sites: ALL.sites(model.sizes()), edits };
            let run = model.run_with(&golden.tokens, &options).expect("runs");
            let got = attribute(&run, &golden.observable(), ALL);
            let got = got.unwrap_or_else(|e| panic!("{} on {}: {e}", golden.name, on.name()));
            let parts = array(&got, "direct_edits");
            let of = |l: usize, t: usize| parts[l * golden.tokens.len() + t];
            assert!(of(layers - 1, last) != 0.0, "{}: {parts:?}", golden.name);
            let sum: f64 = ["direct", "direct_biases", "direct_edits"]
                .map(|name| array(&got, name).iter().sum::<f64>())
                .iter()
                .sum();
            let exact = got.metadata["exact"] == "yes";
            let (value, constant) = (array(&got, "value")[0], array(&got, "constant")[0]);
            assert!(!exact || (sum + constant - value).abs() < 1e-3 * value.abs().max(1.0), "{}", golden.name);
        }
    }
}

#[test]
fn other_observables_are_attributed_to_first_order() {
    let twin = Twin::small();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let got = attributed(&twin.on(&on), &TOKENS, &Observable::log_prob(4, 4));
    assert!(got.metadata["exact"].starts_with("they are to first order"));
    assert!(got.certificates.iter().all(|c| c.name != "adds_up") && got.certificates.iter().any(|c| c.name == "parts"));
    let model = twin.on(&on);
    let fused = model.run(&TOKENS, &[]).expect("runs");
    assert!(attribute(&fused, &Observable::logit(4, 4), ALL).is_err());
    // Of a level below the last there are no contributions at the logits.
    let below = Observable::logit(4, 4) + Observable::projection(1, 2, vec![1.0; model.sizes().d]);
    let options = RunOptions { sites: ALL.sites(model.sizes()), ..RunOptions::default() };
    let run = model.run_with(&TOKENS, &options).expect("runs");
    let error = attribute(&run, &below, ALL).expect_err("it reads level 1").to_string();
    assert!(error.contains("at the last level only"), "{error}");
}
