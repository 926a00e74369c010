//! How often analyses wait for the device beside those of `waits.rs`: sweeps of places, spectra, reductions, averages,
//! and all that runs several prompts itself. Only two of them wait for each block.

use std::collections::BTreeMap;

use resolvent_engine::Device;
use resolvent_field::{
    AverageOptions, Basis, BasisContext, Case, CircuitOptions, FeatureOptions, FlowOptions, Frames, LensOptions,
    LocateOptions, Observed, Operator, PlacePairs, Probes, QuadraticOptions, ReduceOptions, RsvdOptions, ScaleOptions,
    Slice, Subspace, SubspaceOptions, average, circuit, composition, features, flow, growth, identities, interactions,
    lens, locate, path_patch, quadratic, reach, reconstruction, reduce, rsvd, scale, slice_all, subspace,
    superposition,
};
use resolvent_model::{
    Config, Edge, Edit, Mode, Model, Observable, PromptCase, RandomWeights, RunOptions, Site, Source, TokenPair,
    gaussian, outputs_of, path_sites, tiny,
};
use resolvent_tests::subjects;

use super::features::made;
use super::waits::waits;

const CLEAN: [u32; 6] = [3, 1, 4, 1, 5, 9];
const CORRUPTED: [u32; 6] = [3, 1, 7, 1, 5, 9];

/// The waits of an analysis: at most the first number, and the second for each block. `circuit`, `reduce`, `average`,
/// `reach` and `scale` analyse four pairs of prompts. `circuit` integrates edges over eight steps and measures one size
/// with a random circuit; `scale` runs five models, prompt by prompt. `identities` and
/// `growth` read block by block.
const MOST: [(&str, u64, u64); 20] = [
    ("lens", 5, 0),
    ("superposition", 6, 0),
    ("interactions", 8, 0),
    ("quadratic", 11, 0),
    ("reconstruction", 4, 0),
    ("flow", 10, 0),
    ("identities", 7, 1),
    ("growth", 3, 1),
    ("subspace", 11, 0),
    ("features", 10, 0),
    ("locate", 5, 0),
    ("spectrum", 16, 0),
    ("slice", 14, 0),
    ("composition", 3, 0),
    ("path patching", 3, 0),
    ("circuit", 120, 0),
    ("reduce", 50, 0),
    ("average", 8, 0),
    ("reach", 6, 0),
    ("scale", 133, 0),
];

fn model(device: &Device, layers: usize) -> Model {
    let config = Config { n_layer: layers, ..tiny() };
    Model::random(device, config, RandomWeights::new(7).with_std(0.1)).expect("opens")
}

/// Pairs of prompts that differ at one token.
fn cases(j: &Observable) -> Vec<PromptCase> {
    let case = |i: u32| PromptCase {
        name: i.to_string(),
        clean: CLEAN.iter().map(|t| t + i).collect(),
        corrupted: Some(CORRUPTED.iter().map(|t| t + i).collect()),
        observable: Some(j.clone()),
        roles: BTreeMap::new(),
        edits: Vec::new(),
    };
    (0..4).map(case).collect()
}

/// Counts the waits of each analysis on a model of so many blocks.
fn counts(device: &Device, layers: usize) -> Vec<(&'static str, u64)> {
    let j = Observable::logit_diff(2, 6, 5);
    let (model, cases) = (model(device, layers), cases(&j));
    let quiet = || |_: u64, _: u64| {};
    let sizes = *model.sizes();
    let clean = model.run(&CLEAN, &[]).expect("runs");
    let paths = RunOptions { sites: path_sites(&sizes), ..RunOptions::default() };
    let of_paths = model.run_all(&[CLEAN, CORRUPTED], &paths).expect("runs");
    let senders = outputs_of(&[&of_paths[0]]).expect("computes").remove(0);
    let edges = Edge::all(model.architecture());
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let dictionary = made(scratch.path(), ["blocks.0.hook_mlp_out"; 2], [sizes.d; 2]);
    let with = RunOptions { sites: vec![Site::MlpOut(0)], ..RunOptions::default() };
    let observed = model.run_all(&[CLEAN, CORRUPTED], &with).expect("runs");
    let linear = clean.linearize(Mode::Exact);
    let source = |level: usize| Source { site: Site::level(level, &sizes), token: 2, vector: gaussian(1, sizes.d) };
    let added = |level: usize| Edit::add(Site::level(level, &sizes), 2, gaussian(1, sizes.d));
    let pairs: Vec<TokenPair> = cases
        .iter()
        .map(|case| TokenPair {
            clean: case.clean.clone(),
            corrupted: case.corrupted.clone().unwrap_or_default(),
            observable: j.clone(),
        })
        .collect();
    let observables = [j.clone()];
    let context = BasisContext { observables: &observables, ..BasisContext::default() };
    let last = Observed::levels(&clean, &[sizes.layers]).expect("a level");
    let response = gaussian(3, last.count());
    let count = |name: &'static str, work: &mut dyn FnMut()| (name, waits(device, work));
    vec![
        count("lens", &mut || drop(lens(&clean, Some(&j), LensOptions::default()).expect("computes"))),
        count("superposition", &mut || {
            drop(superposition(&clean, &j, &[added(0), added(1)], &[(0, 1)]).expect("computes"));
        }),
        count("interactions", &mut || drop(interactions(&clean, &j, &[source(0), source(1)]).expect("computes"))),
        count("quadratic", &mut || {
            let frames = Frames::everywhere(1, gaussian(2, sizes.d));
            drop(quadratic(&clean, &j, ((0, 2), &frames), None, &QuadraticOptions::default()).expect("computes"));
        }),
        count("reconstruction", &mut || drop(reconstruction(&clean, Mode::Exact).expect("computes"))),
        count("flow", &mut || drop(flow(&clean, &j, &[source(0)], FlowOptions::default()).expect("computes"))),
        count("identities", &mut || drop(identities(&clean, &j).expect("computes"))),
        count("growth", &mut || drop(growth(&clean, &[5]).expect("computes"))),
        count("subspace", &mut || {
            let case = Case { clean: &observed[0], corrupted: &observed[1], observable: &j };
            let at = (Site::MlpOut(0), 2);
            drop(subspace(&case, at, &Subspace::Random(1), SubspaceOptions::default()).expect("computes"));
        }),
        count("features", &mut || {
            let options = FeatureOptions { top: 3, exact: true, controls: 0 };
            drop(features(&observed[1], Some(&observed[0]), &dictionary, &j, options).expect("computes"));
        }),
        count("locate", &mut || drop(locate(&last, &response, &LocateOptions::default()).expect("computes"))),
        count("spectrum", &mut || {
            let operator = Operator::new(&linear, &[(0, 2)], &[(sizes.layers, 5)]).expect("in the field");
            drop(rsvd(&operator, &RsvdOptions { rank: 2, ..RsvdOptions::default() }).expect("computes"));
        }),
        count("slice", &mut || {
            let places = PlacePairs::new(&clean, None, None).expect("there are pairs");
            let slice = Slice::new(&linear, places, [&Basis::Sensitivity; 2], [context; 2]).expect("a slice");
            drop(slice_all(&[slice]).expect("computes").remove(0).expect("computes"));
        }),
        count("composition", &mut || composition(&linear, [0, 1, sizes.layers], 0).map(drop).expect("computes")),
        count("path patching", &mut || {
            path_patch(&of_paths[1], &senders, &edges[..1], &j).map(drop).expect("patches");
        }),
        count("circuit", &mut || {
            let options = CircuitOptions { shares: vec![0.1], random: 1, ..CircuitOptions::default() };
            drop(circuit(&model, &cases, &options, &mut quiet()).expect("computes"));
        }),
        count("reduce", &mut || {
            let options = ReduceOptions { ranks: vec![2], ..ReduceOptions::default() };
            drop(reduce(&model, &cases, &options, &mut quiet()).expect("computes"));
        }),
        count("average", &mut || {
            let options = AverageOptions { skip_first: 1, skip_last: 1 };
            drop(average(&model, &cases, options, &mut quiet()).expect("computes"));
        }),
        count("reach", &mut || drop(reach(&model, &cases, Probes::Hutchinson(2, 0), &mut quiet()).expect("computes"))),
        count("scale", &mut || {
            let options = ScaleOptions { train: 2, tokens: vec![2, 6], seed: 0 };
            drop(scale(&model, &model, &pairs, &options).expect("computes"));
        }),
    ]
}

/// No analysis waits more often than stated, for each block and beside them.
#[test]
fn waits_are_those_stated() {
    for on in subjects() {
        // Of its own: other tests share the subjects' devices, and their waits are counted too.
        let own = on.again(resolvent_engine::Options::default());
        for layers in [2, 12] {
            let found = counts(own.device(), layers);
            assert_eq!(found.len(), MOST.len());
            for ((name, found), (stated, most, each)) in found.into_iter().zip(MOST) {
                assert_eq!(name, stated);
                let most = most + each * layers as u64;
                let of = format!("{}, {layers} blocks: {name}", on.name());
                assert!(found <= most, "{of} waits {found} times, {most} are stated");
            }
        }
    }
}
