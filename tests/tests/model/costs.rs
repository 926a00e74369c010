//! What ten passes cost: launches, operations and bytes, compared with committed figures. Times differ from machine to
//! machine; these do not, so a pass that became more expensive is seen.

use std::fmt::Write;

use resolvent_engine::Device;
use resolvent_field::{AttributeOptions, Case, EdgeOptions, attribute, edges};
use resolvent_model::{
    Edit, Mode, Model, Observable, RandomWeights, Run, RunOptions, Site, Source, gaussian, path_sites, tiny,
};

use super::launches::profiled;

const TOKENS: usize = 16;
/// The committed figures. After an intended change, this test prints the lines that replace them.
const COMMITTED: &str = include_str!("costs.txt");

/// Runs `work`, and returns a line with the name, the number of launches, operations in millions, and bytes in
/// thousands.
fn line(device: &Device, name: &str, work: &dyn Fn()) -> String {
    device.take_profile().expect("reads");
    work();
    let samples = device.take_profile().expect("reads");
    let total = |of: fn(&resolvent_engine::Sample) -> f64| samples.iter().map(of).sum::<f64>();
    let (flops, bytes) = (total(|sample| sample.work.flops) / 1e6, total(|sample| sample.work.bytes) / 1e3);
    format!("{name:<24} {:>5} {flops:>12.3} {bytes:>12.3}\n", samples.len())
}

fn measured(device: &Device) -> String {
    let config = resolvent_model::Config { n_layer: 3, n_embd: 64, n_head: 4, n_inner: None, vocab_size: 97, ..tiny() };
    let model = Model::random(device, config, RandomWeights::new(7).with_std(0.1)).expect("opens");
    let prompt = |seed: u32| -> Vec<u32> { (0..TOKENS as u32).map(|i| (i * 7919 + seed * 104_729) % 97).collect() };
    let prepared = RunOptions { sites: path_sites(model.sizes()), ..RunOptions::default() };
    let [clean, corrupted] = [prompt(1), prompt(2)].map(|tokens| model.run_with(&tokens, &prepared).expect("runs"));
    let (d, j) = (model.sizes().d, Observable::logit_diff(1, 2, TOKENS - 1));
    let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
    let sources: Vec<[Source; 1]> = (0..32)
        .map(|k| [Source { site: Site::ResidPre(0), token: k % TOKENS, vector: gaussian(k as u64, d) }])
        .collect();
    let field = clean.field().expect("reads");
    let places = (0..model.sizes().layers).flat_map(|level| (0..TOKENS).map(move |t| (level, t)));
    let puts: Vec<[Edit; 1]> = places
        .map(|(level, t)| [Edit::put(Site::ResidPre(level), t, field[(level * TOKENS + t) * d..][..d].to_vec())])
        .collect();
    let heads: Vec<[Edit; 1]> =
        (0..12).map(|n| [Edit::put(Site::Z(n / 4, n % 4), TOKENS - 1 - n, gaussian(n as u64, d / 4))]).collect();
    let linear = || Run::linearize(&corrupted, Mode::Exact);
    let passes: [(&str, &dyn Fn()); 10] = [
        ("forward, two logits", &|| {
            assert!(model.run(&prompt(1), &[]).expect("runs").value(&j).expect("reads").is_finite());
        }),
        ("gradient", &|| drop(linear().gradient(&j).expect("computes"))),
        ("32 tangents", &|| drop(linear().jvp(&sources).expect("computes"))),
        ("32 jets", &|| drop(linear().jet(&sources).expect("computes"))),
        ("8 Hessian products", &|| drop(linear().hvp(&sources[..8], &j).expect("computes"))),
        ("exhaustive sweep", &|| drop(corrupted.values_under(&puts, &j).expect("computes"))),
        ("sweep over heads", &|| drop(corrupted.values_under(&heads, &j).expect("computes"))),
        ("eight prompts", &|| {
            let prompts: Vec<Vec<u32>> = (1..9).map(|n| prompt(n)[..TOKENS - n as usize].to_vec()).collect();
            drop(model.run_all(&prompts, &RunOptions::default()).expect("runs"));
        }),
        ("attribute", &|| drop(attribute(&corrupted, &j, AttributeOptions::default()).expect("computes"))),
        ("all edges, first order", &|| drop(edges(&case, &EdgeOptions::default()).expect("computes"))),
    ];
    passes.iter().fold(String::new(), |mut text, (name, work)| {
        let _infallible = write!(text, "{}", line(device, name, work));
        text
    })
}

#[test]
fn passes_cost_what_they_did() {
    for device in profiled() {
        let found = measured(&device);
        assert_eq!(found, COMMITTED, "{}: tests/tests/model/costs.txt has other figures:\n{found}", device.info());
    }
}
