//! Devices with small bindings: vocabularies in parts, logits in pieces, and a clear error if a weight does not fit.

use resolvent_engine::{Error as Engine, Options};
use resolvent_model::{Config, Error, Mode, Model, Observable, RandomWeights, tiny};
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Random, Subject, Twin, Worst, subjects, tolerance};

/// Returns a model with a vocabulary of 1201 by 30, 144 kB; all other tensors fit into 16 kB.
fn twin(tied: bool) -> Twin {
    let config = Config {
        n_layer: 2,
        n_embd: 30,
        n_head: 3,
        n_inner: Some(40),
        vocab_size: 1201,
        tie_word_embeddings: tied,
        ..tiny()
    };
    Twin::random(config, 2, 0.2)
}

fn results(twin: &Twin, on: &Subject, tokens: &[u32]) -> Result<Vec<Vec<f32>>, Error> {
    let model = twin.on(on);
    let run = model.run(tokens, &[])?;
    let j = Observable::logit_diff(1200, 0, tokens.len() - 1);
    let rows = [0, 133, 134, 240, 241, 600, 1200].map(|id| [model.embedding(id), model.unembedding(id)]);
    let rows: Result<Vec<Vec<f32>>, Error> = rows.into_iter().flatten().collect();
    Ok(vec![run.logits()?, run.logits_at(3)?, run.field()?, run.linearize(Mode::Exact).gradient(&j)?, rows?.concat()])
}

#[test]
fn a_vocabulary_in_parts_is_the_vocabulary() {
    let mut worst = Worst::new("vocabulary in parts");
    for tied in [true, false] {
        let twin = twin(tied);
        let mut tokens = Random::new(3).ids(9, 1201);
        // The ends of the table, and both sides of a split in f32 and in f16.
        tokens[..5].copy_from_slice(&[0, 1200, 134, 240, 241]);
        for (on, f16_weights) in subjects().into_iter().flat_map(|on| [(on, false), (on, true)]) {
            let options = Options { f16_weights, ..Options::default() };
            for limit in [16 << 10, 100 << 10] {
                let small = on.again(Options { max_binding: Some(limit), ..options.clone() });
                let of = |on: &Subject| results(&twin, on, &tokens).unwrap_or_else(|e| panic!("{limit}: {e}"));
                for (got, want) in of(&small).iter().zip(&of(&on.again(options.clone()))) {
                    let error = relative(&wide(got), &wide(want));
                    let case = format!("tied {tied}, {limit}, f16 {f16_weights}");
                    worst.within(case, on.name(), error, tolerance::BATCH);
                }
            }
        }
    }
}

#[test]
fn a_weight_that_cannot_be_bound_is_named() {
    for on in subjects() {
        let small = on.again(Options { max_binding: Some(4 << 10), ..Options::default() });
        let config = twin(true).config;
        let weights = RandomWeights::new(1);
        match Model::random(small.device(), config, weights).map(|_| ()) {
            Err(Error::Engine(Engine::TooLarge { label, bytes, limit })) => {
                assert_eq!((label.as_str(), bytes, limit), ("wpe.weight", 64 * 30 * 4, 4 << 10));
            }
            other => panic!("{}: {other:?}", on.name()),
        }
    }
}

/// By default a GPU is opened with WebGPU's default limits.
#[test]
fn default_limits_are_webgpus() {
    for on in resolvent_tests::gpus() {
        assert_eq!(on.device().info().max_binding, 128 << 20, "{}", on.name());
    }
}
