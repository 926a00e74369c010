//! Numbers beyond f32: results that do not depend on them are computed, and all others are errors.

use std::ops::Range;

use resolvent_field::{RegimeOptions, forward, green, patch, regime, sensitivity};
use resolvent_model::{Edit, Model, Observable, RandomWeights, Result, Run, Site, WeightSource, tiny};
use resolvent_tests::{Subject, subjects};

const TOKENS: [u32; 4] = [3, 1, 4, 1];

/// Random weights. Those whose names contain the given text are multiplied by a factor.
struct Scaled(RandomWeights, &'static str, f32);

impl WeightSource for Scaled {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0.read(name, rows, out)?;
        if name.contains(self.1) {
            out.iter_mut().for_each(|x| *x *= self.2);
        }
        Ok(())
    }
}

fn model(on: &Subject, name: &'static str, factor: f32) -> Model {
    let weights = Scaled(RandomWeights::new(7).with_std(0.15), name, factor);
    Model::from_source(on.device(), tiny(), &weights, "scaled").unwrap_or_else(|e| panic!("{}: {e}", on.name()))
}

fn run(model: &Model) -> Run {
    model.run(&TOKENS, &[]).expect("runs")
}

/// With embeddings of 1e19 the variance of a row is beyond f32. The logits are 1e9 times those of embeddings of 1e10,
/// because the unembedding is as much larger, and blocks add next to nothing to either stream.
#[test]
fn a_norm_of_large_numbers_is_right() {
    for on in subjects() {
        let of = |factor| run(&model(on, "wte", factor)).logits().expect("finite");
        let (moderate, large) = (of(1e10), of(1e19));
        let size = moderate.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (a, b) in moderate.iter().zip(&large) {
            assert!((f64::from(*b) / 1e9 - f64::from(*a)).abs() < 2e-4 * f64::from(size), "{}: {a} {b}", on.name());
        }
    }
}

/// Analyses of a model with embeddings of 1e19 return finite numbers.
#[test]
fn analyses_of_large_numbers_end() {
    let j = Observable::logit_diff(2, 6, 3);
    for on in subjects() {
        let model = model(on, "wte", 1e19);
        let (clean, corrupted) = (run(&model), model.run(&[3, 1, 4, 9], &[]).expect("runs"));
        let result = patch(&clean, &corrupted, &j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let effect = &result.array("effect").expect("an array").data;
        let values = ["clean_value", "corrupted_value"].map(|name| result.array(name).expect("a value").data[0]);
        let whole = values[0] - values[1];
        assert!((effect[3 * 4 + 3] / whole - 1.0).abs() < 1e-4, "{}: {effect:?}", on.name());
        sensitivity(&clean, &j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
    }
}

/// A run that exceeds f32 is an error in every analysis, and the error names the block and the token.
#[test]
fn what_is_beyond_f32_is_named() {
    let j = Observable::logit_diff(2, 6, 3);
    for on in subjects() {
        let broken = run(&model(on, "h.1.mlp", 1e30));
        let sites = [((0, 1), vec![0.5; 32])];
        let errors = [
            forward(&broken, false).err().map(|e| e.to_string()),
            sensitivity(&broken, &j).err().map(|e| e.to_string()),
            patch(&broken, &broken, &j).err().map(|e| e.to_string()),
            green(&broken, 1, 1, &[0.5; 32]).err().map(|e| e.to_string()),
            regime(&broken, &j, &sites, &RegimeOptions::default()).err().map(|e| e.to_string()),
            broken.field().err().map(|e| e.to_string()),
            broken.logits().err().map(|e| e.to_string()),
            broken.value(&j).err().map(|e| e.to_string()),
        ];
        for (i, error) in errors.into_iter().enumerate() {
            let line = error.unwrap_or_else(|| panic!("{}: {i} is no error", on.name()));
            assert!(line.contains("block 1 leaves the range of f32 at token 0"), "{i}: {line}");
            assert!(!line.contains('\n') && !line.contains("the edit is"), "{i}: {line}");
        }
        let field = broken.field().expect_err("broken").to_string();
        assert!(field.starts_with("the field is "), "{field}");
        assert!(field.contains("at blocks.2.hook_resid_pre, token 0"), "{field}");
    }
}

/// In a batch of edited runs, the error names the edit of the run that exceeds f32.
#[test]
fn an_edit_beyond_f32_is_named() {
    let j = Observable::projection(3, 3, vec![3e38; 32]);
    for on in subjects() {
        let sound = run(&model(on, "wte", 1.0));
        let edits = [1.0f32, 1e30].map(|x| [Edit::put(Site::ResidPost(2), 3, vec![x; 32])]);
        // J is computed in f64, so that both of its values are finite.
        assert!(sound.values_under(&edits, &j).is_ok());
        let edit = [[Edit::add(Site::ResidMid(1), 2, (0..32).map(|i| if i < 16 { 3e38 } else { -3e38 }).collect())]];
        // The base run has this edit, so that the edited run adds it twice: 6e38 exceeds f32.
        let twice = model(on, "wte", 1.0).run(&TOKENS, &[edit[0][0].clone()]).expect("runs");
        let line = twice.values_under(&edit, &Observable::logit(2, 3)).expect_err("twice 3e38").to_string();
        assert!(line.starts_with("J is ") && line.contains("at an edit of blocks.1.hook_resid_mid, token 2"), "{line}");
    }
}
