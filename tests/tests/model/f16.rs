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
        if name.contains(".c_") && name.ends_with(".weight") {
            out.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
        }
        Ok(())
    }
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

/// Weights whose lengths are not multiples of eight stay in f32, and a weight that overflows f16 is an error.
#[test]
fn weights_that_do_not_fit_f16_stay_or_are_refused() {
    struct Large;
    impl WeightSource for Large {
        fn read(&self, name: &str, _: Range<usize>, out: &mut [f32]) -> Result<()> {
            out.fill(if name == "h.1.mlp.c_fc.weight" { 1e5 } else { 0.0 });
            Ok(())
        }
    }
    for on in subjects() {
        let rounded = with_f16(on);
        let odd = Config { n_embd: 66, n_head: 3, ..shape() };
        let model = Model::random(rounded.device(), odd.clone(), RandomWeights::new(1)).expect("fits");
        assert_eq!(model.weight_rounding(), None);
        let text = match Model::from_source(rounded.device(), shape(), &Large, "large") {
            Ok(_) => panic!("{}: 1e5 overflows f16", rounded.name()),
            Err(error) => error.to_string(),
        };
        assert!(text.contains("`h.1.mlp.c_fc.weight` contains 100000, which overflows f16"), "{text}");
    }
}

/// With rounded inputs, the field changes by the error that the model reports, equally on all devices.
///
/// Derivatives are not rounded, so that the adjoint identity is satisfied to the accuracy of f32. Results name the
/// rounding.
#[test]
fn a_model_of_rounded_inputs() {
    let (tokens, weights) = ([3, 1, 4, 1, 5, 9, 2, 6], || RandomWeights::new(5));
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

/// A model without f16 weights does not round inputs, and reports no rounding.
#[test]
fn models_without_f16_weights_do_not_round_inputs() {
    let odd = Config { n_embd: 66, n_head: 3, ..shape() };
    for on in subjects() {
        let rounding = on.again(Options { f16_inputs: true, ..Options::default() });
        let model = |on: &Subject| Model::random(on.device(), odd.clone(), RandomWeights::new(1));
        let [model, full] = [&rounding, on].map(|on| model(on).expect("fits"));
        assert_eq!((model.input_rounding(), model.hash()), (None, full.hash()));
    }
}
