//! Models whose weights are stored in f16, and models whose inputs of products are rounded to f16.

use std::ops::Range;

use half::f16;
use resolvent_engine::Options;
use resolvent_field::{adjoint, norm, sensitivity};
use resolvent_model::{Config, Mode, Model, Observable, RandomWeights, Result, Run, WeightSource, tiny};
use resolvent_tests::{Labelled, Subject, Worst, subjects, tolerance};

fn with_f16(on: &Subject) -> Subject {
    on.again(Options { f16_weights: true, ..Options::default() })
}

/// Random weights, rounded to f16 where the model would round them.
struct Rounded(RandomWeights);

impl WeightSource for Rounded {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0.read(name, rows, out)?;
        if is_f16(name) {
            round(out);
        }
        Ok(())
    }
}

/// Returns whether a model with f16 weights, of widths in multiples of eight, stores this tensor in f16.
fn is_f16(name: &str) -> bool {
    let is_matrix = name.contains(".c_") && name.ends_with(".weight");
    is_matrix || ["wte.weight", "lm_head.weight"].contains(&name)
}

fn round(elements: &mut [f32]) {
    elements.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
}

fn shape() -> Config {
    Config { n_embd: 64, n_head: 4, n_layer: 2, ..tiny() }
}

/// Field and sensitivity match those of a model with rounded weights, and results contain the rounding error.
#[test]
fn f16_weights_match_rounded_weights() {
    let mut worst = Worst::new("model with f16 weights");
    let (tokens, weights) = ([3, 1, 4, 1, 5, 9, 2, 6], || RandomWeights::new(5));
    let j = Observable::logit_diff(3, 4, 7);
    for on in subjects() {
        let rounded = with_f16(on);
        let model = Model::random(rounded.device(), shape(), weights()).expect("fits");
        let rounding = model.weight_rounding().expect("rounded");
        // A step of 2^-10 relative to the leading bit, uniform below it: 2^-11 / sqrt(3) over a mean of 1 to 2.
        assert!((1.3e-4..2.9e-4).contains(&rounding), "{rounding}");
        let full = Model::random(on.device(), shape(), weights()).expect("fits");
        assert_eq!(full.weight_rounding(), None);
        assert_eq!(model.hash(), format!("{}-f16", full.hash()), "other weights, another model");
        let twin = Model::from_source(on.device(), shape(), &Rounded(weights()), "rounded").expect("fits");
        let [got, want] = [&model, &twin].map(|m| m.run(&tokens, &[]).expect("runs"));
        let truth = |values: Vec<f32>| Labelled::reference(values.into_iter().map(f64::from).collect());
        let field = |run: &Run| run.field().expect("reads");
        worst.check(0, &rounded.label(&field(&got)), &truth(field(&want)), tolerance::BATCH);
        let slope = |run: &Run| sensitivity(run, &j).expect("certified").arrays[0].data.clone();
        worst.check(1, &rounded.label(&slope(&got)), &truth(slope(&want)), tolerance::BATCH);
        let metadata = sensitivity(&got, &j).expect("certified").metadata;
        assert!(metadata["weights"].starts_with("f16, relative rounding error"), "{metadata:?}");
    }
}

/// The embedded models are stored in f16, so that nothing is rounded.
#[test]
fn an_f16_checkpoint_is_not_rounded() {
    for on in subjects() {
        let model = Model::named(with_f16(on).device(), "atlas-nano").expect("embedded");
        assert_eq!(model.weight_rounding(), Some(0.0));
        let full = Model::named(on.device(), "atlas-nano").expect("embedded");
        assert_eq!(model.hash(), full.hash());
    }
}

/// A shape whose matrices stay in f32, and whose vocabulary is stored in f16.
fn even() -> Config {
    Config { n_embd: 66, n_head: 3, ..shape() }
}

/// A shape of which nothing is stored in f16.
fn odd() -> Config {
    Config { n_embd: 33, n_head: 3, ..shape() }
}

/// With weights that f16 represents exactly, nothing is rounded and logits are those of the model in f32: those of all
/// entries, those of single entries, and their cotangents. The vocabulary may lie in one part or in several.
#[test]
fn representable_weights_give_the_logits_of_f32() {
    struct Representable(RandomWeights);
    impl WeightSource for Representable {
        fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
            self.0.read(name, rows, out)?;
            round(out);
            Ok(())
        }
    }
    let mut worst = Worst::new("model of representable weights");
    // The ends of the table, and both sides of a split.
    let tokens = [0, 1202, 601, 602, 5, 9, 2, 48];
    let last = tokens.len() - 1;
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let limit = Some(80 << 10);
    for (shape, tied, max_binding) in
        [(shape(), true, limit), (shape(), false, None), (even(), true, None), (even(), false, limit)]
    {
        let config = Config { tie_word_embeddings: tied, vocab_size: 1203, ..shape };
        for on in subjects() {
            let packed = on.again(Options { f16_weights: true, max_binding, ..Options::default() });
            let open = |on: &Subject| {
                let source = Representable(RandomWeights::new(7));
                Model::from_source(on.device(), config.clone(), &source, "representable").expect("fits")
            };
            let (model, full) = (open(&packed), open(on));
            assert_eq!((model.weight_rounding(), full.weight_rounding()), (Some(0.0), None));
            assert_eq!(model.hash(), full.hash());
            for id in [0, 601, 602, 1202] {
                let rows =
                    [&model, &full].map(|m| [m.embedding(id), m.unembedding(id)].map(|row| row.expect("a token")));
                assert_eq!(rows[0], rows[1], "{}: token {id}", packed.name());
            }
            let results = |model: &Model| -> Result<[Vec<f32>; 4]> {
                let run = model.run(&tokens, &[])?;
                let linear = run.linearize(Mode::Exact);
                let [few, all] = [Observable::logit_diff(1202, 7, last), Observable::log_prob(3, last)];
                Ok([run.logits()?, run.field()?, linear.gradient(&few)?, linear.gradient(&all)?])
            };
            let [got, want] = [&model, &full].map(|m| results(m).unwrap_or_else(|e| panic!("{}: {e}", packed.name())));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let want = Labelled::reference(wide(want));
                worst.check(i, &packed.label(got), &want, tolerance::BATCH);
            }
        }
    }
}

/// A matrix whose lengths are not multiples of eight stays in f32, and so does a vocabulary of odd width.
#[test]
fn weights_that_do_not_fit_f16_stay() {
    for on in subjects() {
        let rounded = with_f16(on);
        let open = |config, on: &Subject| Model::random(on.device(), config, RandomWeights::new(1)).expect("fits");
        assert_eq!(open(odd(), &rounded).weight_rounding(), None);
        let (model, full) = (open(even(), &rounded), open(even(), on));
        let mut row = full.embedding(5).expect("a token");
        round(&mut row);
        assert_eq!(model.embedding(5).expect("a token"), row);
        assert!(model.weight_rounding().is_some_and(|e| e > 1e-4), "{:?}", model.weight_rounding());
    }
}

/// A weight that overflows f16 is an error, in matrices and in the vocabulary.
#[test]
fn weights_that_overflow_f16_are_refused() {
    struct Large(&'static str);
    impl WeightSource for Large {
        fn read(&self, name: &str, _: Range<usize>, out: &mut [f32]) -> Result<()> {
            out.fill(if name == self.0 { 1e5 } else { 0.0 });
            Ok(())
        }
    }
    for on in subjects() {
        let rounded = with_f16(on);
        for name in ["h.1.mlp.c_fc.weight", "wte.weight"] {
            let text = match Model::from_source(rounded.device(), shape(), &Large(name), "large") {
                Ok(_) => panic!("{}: 1e5 overflows f16", rounded.name()),
                Err(error) => error.to_string(),
            };
            assert!(text.contains(&format!("`{name}` contains 100000, which overflows f16")), "{text}");
        }
    }
}

/// With rounded inputs, the field changes by the error that the model reports, equally on all devices.
///
/// Derivatives are not rounded, so that the adjoint identity is satisfied to the accuracy of f32. Results name the
/// rounding.
#[test]
fn a_model_of_rounded_inputs() {
    // Of the seeds 1 to 12, 2 to 5 give an input so close to a midpoint of two f16 values that executors round it
    // apart.
    let (tokens, weights) = ([3, 1, 4, 1, 5, 9, 2, 6], || RandomWeights::new(6));
    let (mut agree, mut fields) = (Worst::new("model of rounded inputs"), Vec::new());
    for on in subjects() {
        let rounding = on.again(Options { f16_inputs: true, ..Options::default() });
        let model = Model::random(rounding.device(), shape(), weights()).expect("fits");
        let full_inputs = Model::random(with_f16(on).device(), shape(), weights()).expect("fits");
        assert_eq!(full_inputs.input_rounding(), None);
        assert_eq!(model.weight_rounding(), full_inputs.weight_rounding(), "f16 inputs imply f16 weights");
        assert_eq!(model.hash(), format!("{}-f16-inputs", full_inputs.hash()), "other inputs, another model");
        let [got, full] = [&model, &full_inputs].map(|m| m.run(&tokens, &[]).expect("runs"));
        let fields_of = [&got, &full].map(|run| run.field().expect("reads"));
        let reported = model.input_rounding().expect("rounded");
        let measured = distance(&fields_of[0], &fields_of[1]);
        let ratio = measured / reported;
        assert!(reported > 3e-5 && (0.3..3.0).contains(&ratio), "{measured:e}, reported {reported:e}");
        let linear = got.linearize(Mode::Exact);
        assert!(adjoint(&linear, 1).expect("runs").value < 1e-6);
        let result = sensitivity(&got, &Observable::logit_diff(3, 4, 7)).expect("certified");
        assert!(result.metadata["inputs"].starts_with("f16, relative error of a field"), "{result:?}");
        let full = sensitivity(&full, &Observable::logit_diff(3, 4, 7)).expect("certified");
        assert_eq!(full.metadata["inputs"], "f32");
        fields.push(rounding.label(&fields_of[0]));
    }
    let truth = Labelled::reference(fields[0].values().to_vec());
    for field in &fields {
        agree.check(0, field, &truth, tolerance::ROUNDED);
    }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(b)
}

/// A model without f16 matrices does not round inputs, and reports no rounding of them.
#[test]
fn models_without_f16_matrices_do_not_round_inputs() {
    for on in subjects() {
        let rounding = on.again(Options { f16_inputs: true, ..Options::default() });
        for (config, end) in [(odd(), ""), (even(), "-f16")] {
            let model = |on: &Subject| Model::random(on.device(), config.clone(), RandomWeights::new(1));
            let [model, full] = [&rounding, on].map(|on| model(on).expect("fits"));
            assert_eq!((model.input_rounding(), model.hash()), (None, &*format!("{}{end}", full.hash())));
        }
    }
}
