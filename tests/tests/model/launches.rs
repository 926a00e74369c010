//! Dispatches of a block, and submissions of a pass: each costs tens of microseconds on a real driver.

use std::collections::BTreeMap;

use resolvent_engine::{Choice, Device, Options, Sample};
use resolvent_model::{Config, Mode, Model, RandomWeights, Seed, Site, Source, gaussian, tiny};
use resolvent_tests::gpus;

/// Dispatches of a block in a forward pass, in order.
const FORWARD: [&str; 7] = [
    "ln_1:layer_norm.primal",
    "attn.qkv:matmul.primal",
    "attn:attention.primal",
    "attn.proj:matmul.primal_add",
    "ln_2:layer_norm.primal",
    "mlp:matmul.primal_gelu",
    "mlp:matmul.primal_add",
];

/// Dispatches of a block in a tangent pass, in order.
const TANGENT: [&str; 7] = [
    "ln_1:layer_norm.jvp",
    "attn.qkv:matmul.jvp",
    "attn:attention.jvp",
    "attn.proj:matmul.jvp_add",
    "ln_2:layer_norm.jvp",
    "mlp:matmul.jvp_gelu",
    "mlp:matmul.jvp_add",
];

/// Opens every device that can time launches, with a profile.
pub(super) fn profiled() -> Vec<Device> {
    let names = gpus().iter().map(|gpu| Choice::Name(gpu.device().info().name.clone()));
    let open = |choice| Device::open(&Options { profile: true, ..Options::new(choice) }).expect("opens");
    let all: Vec<Device> = names.chain([Choice::Host]).map(open).collect();
    all.into_iter().filter(|device| device.info().timestamps).collect()
}

/// Groups launches by block, without the block's name, and collects the splices of the whole pass.
///
/// Splices depend on joins and edits of sequences, and not on blocks.
fn by_block(samples: &[Sample]) -> (BTreeMap<String, Vec<&str>>, Vec<&str>) {
    let (mut blocks, mut splices) = (BTreeMap::<String, Vec<&str>>::new(), Vec::new());
    for sample in samples {
        if sample.kernel.starts_with("splice.") {
            splices.push(sample.label.as_str());
        } else if let Some(rest) = sample.label.strip_prefix("blocks.") {
            let (block, launch) = rest.split_once('.').expect("a block's launch has a part");
            blocks.entry(block.to_owned()).or_default().push(launch);
        }
    }
    (blocks, splices)
}

#[test]
fn a_block_is_seven_dispatches_and_a_pass_one_submission() {
    let config = Config { n_layer: 3, ..tiny() };
    let (tokens, sources) = ([3, 1, 4, 1, 5, 9], 4);
    for device in profiled() {
        let model = Model::random(&device, config.clone(), RandomWeights::new(5)).expect("fits");
        let info = device.info().clone();
        device.take_profile().expect("nothing failed");

        let before = device.segments();
        let run = model.run(&tokens, &[]).unwrap_or_else(|e| panic!("{info}: {e}"));
        assert_eq!(device.segments() - before, 1, "{info}: embedding, blocks and final norm are one submission");
        let samples = device.take_profile().expect("timed");
        let (blocks, splices) = by_block(&samples);
        assert_eq!(blocks.len(), config.n_layer, "{info}");
        for (block, launches) in &blocks {
            assert_eq!(launches, &FORWARD, "{info}: block {block}");
        }
        // Embedding and final norm.
        assert_eq!(samples.len() - config.n_layer * FORWARD.len(), 2, "{info}");
        assert!(splices.is_empty(), "{info}: nothing joins or is edited: {splices:?}");

        let source = |k: usize| {
            let vector = gaussian(k as u64, config.n_embd);
            [Source { site: Site::ResidPre(0), token: k % tokens.len(), vector }]
        };
        let all: Vec<_> = (0..sources).map(source).collect();
        let before = device.segments();
        run.linearize(Mode::Exact).jvp(&all).unwrap_or_else(|e| panic!("{info}: {e}"));
        assert_eq!(device.segments() - before, 1, "{info}: {sources} tangents are one submission");
        let samples = device.take_profile().expect("timed");
        let (blocks, splices) = by_block(&samples);
        assert_eq!(blocks.len(), config.n_layer, "{info}");
        for (block, launches) in &blocks {
            assert_eq!(launches, &TANGENT, "{info}: block {block}");
        }
        // All sources join at h[0], in one launch.
        assert_eq!(splices.len(), 1, "{info}: {splices:?}");
        assert_eq!(samples.len(), config.n_layer * TANGENT.len() + splices.len(), "{info}");
    }
}

/// Cotangents of last-token logits need only one row of each sequence above the final block's attention. If a sequence
/// has a seed at an earlier token too, all rows are needed.
#[test]
fn cotangents_need_only_the_last_rows_above_the_final_attention() {
    let config = Config { n_layer: 2, ..tiny() };
    let tokens = [3, 1, 4, 1, 5, 9];
    let seed = |position| Seed::Logit { position, id: 3, weight: 1.0 };
    let (alone, both) = ([vec![seed(5)], vec![seed(2)]], [vec![seed(5), seed(2)], vec![seed(2)]]);
    for device in profiled() {
        let model = Model::random(&device, config.clone(), RandomWeights::new(5)).expect("fits");
        let run = model.run(&tokens, &[]).expect("runs");
        let rows_of = |cotangents: &[Vec<Seed>]| {
            device.take_profile().expect("nothing failed");
            run.linearize(Mode::Exact).vjp(cotangents).expect("runs");
            let samples = device.take_profile().expect("timed");
            let rows = |label: &str| {
                let found = samples.iter().filter(|s| s.label == label);
                // `[rows=9, ...`
                let rows = found.map(|s| s.shape.split(['=', ',']).nth(1).map(str::to_owned));
                rows.map(|rows| rows.expect("rows come first")).collect::<Vec<_>>()
            };
            let [mlp, proj] = ["mlp:matmul.vjp_gelu", "attn.proj:matmul.vjp"]
                .map(|part| [0, 1].map(|block| rows(&format!("blocks.{block}.{part}"))));
            (mlp, proj)
        };
        // The two cotangents reach six and three tokens.
        let (all, ends) = (vec!["9".to_owned()], vec!["2".to_owned()]);
        let [narrow, wide] = [[all.clone(), ends], [all.clone(), all]];
        assert_eq!(rows_of(&alone), (narrow.clone(), narrow), "{}", device.info());
        assert_eq!(rows_of(&both), (wide.clone(), wide), "{}", device.info());
    }
}
