//! Models whose weights are kept as 16-bit floats, and whose inputs of products are rounded to them.

use std::ops::Range;

use half::f16;
use resolvent_engine::Options;
use resolvent_field::{adjoint, norm, sensitivity};
use resolvent_model::{Config, Mode, Model, Observable, RandomWeights, Result, Run, WeightSource, tiny};
use resolvent_tests::{Labelled, Subject, Worst, subjects, tolerance};

fn halved(on: &Subject) -> Subject {
    on.again(Options { f16_weights: true, ..Options::default() })
}

/// Random weights of matrices, rounded to halves where the model would round them.
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

/// Field and sensitivity are those of a model that was given the rounded weights; and what rounding cost is said.
#[test]
fn a_model_of_halves_is_that_of_the_rounded_weights() {
    let mut worst = Worst::new("model of halves");
    let (tokens, weights) = ([3, 1, 4, 1, 5, 9, 2, 6], || RandomWeights::new(&shape(), 5));
    let j = Observable::logit_diff(3, 4, 7);
    for on in subjects() {
        let half = halved(on);
        let model = Model::random(half.device(), shape(), weights()).expect("fits");
        let rounding = model.weight_rounding().expect("rounded");
        // A step of 2^-10 relative to the leading bit, uniform below it: 2^-11 / sqrt(3) over a mean of 1 to 2.
        assert!((1.3e-4..2.9e-4).contains(&rounding), "{rounding}");
        let plain = Model::random(on.device(), shape(), weights()).expect("fits");
        assert_eq!(plain.weight_rounding(), None);
        assert_eq!(model.hash(), format!("{}-f16", plain.hash()), "other numbers, another model");
        let twin = Model::from_source(on.device(), shape(), &Rounded(weights()), "rounded").expect("fits");
        let [got, want] = [&model, &twin].map(|m| m.run(&tokens, &[]).expect("runs"));
        let truth = |values: Vec<f32>| Labelled::reference(values.into_iter().map(f64::from).collect());
        let field = |run: &Run| run.field().expect("reads");
        worst.check(0, &half.label(&field(&got)), &truth(field(&want)), tolerance::BATCH);
        let slope = |run: &Run| sensitivity(run, &j).expect("certified").arrays[0].data.clone();
        worst.check(1, &half.label(&slope(&got)), &truth(slope(&want)), tolerance::BATCH);
        let metadata = sensitivity(&got, &j).expect("certified").metadata;
        assert!(metadata["weights"].starts_with("f16, relative rounding error"), "{metadata:?}");
    }
}

/// The embedded models were stored in halves: nothing is rounded.
#[test]
fn a_checkpoint_of_halves_loses_nothing() {
    for on in subjects() {
        let model = Model::named(halved(on).device(), "atlas-nano").expect("embedded");
        assert_eq!(model.weight_rounding(), Some(0.0));
        let plain = Model::named(on.device(), "atlas-nano").expect("embedded");
        assert_eq!(model.hash(), plain.hash());
    }
}

/// Lengths that are no multiples of eight stay as they are, and a weight that 16 bits cannot hold is an error.
#[test]
fn what_cannot_be_halved_is_left_or_refused() {
    struct Large;
    impl WeightSource for Large {
        fn read(&self, name: &str, _: Range<usize>, out: &mut [f32]) -> Result<()> {
            out.fill(if name == "h.1.mlp.c_fc.weight" { 1e5 } else { 0.0 });
            Ok(())
        }
    }
    for on in subjects() {
        let half = halved(on);
        let odd = Config { n_embd: 66, n_head: 3, ..shape() };
        let model = Model::random(half.device(), odd.clone(), RandomWeights::new(&odd, 1)).expect("fits");
        assert_eq!(model.weight_rounding(), None);
        let text = match Model::from_source(half.device(), shape(), &Large, "large") {
            Ok(_) => panic!("{}: 1e5 is no half", half.name()),
            Err(error) => error.to_string(),
        };
        assert!(text.contains("`h.1.mlp.c_fc.weight` contains 100000, which overflows f16"), "{text}");
    }
}

/// Where inputs are rounded, the field moves as far as the model says, and on all devices to the same place; what is linear stays
/// linear to the accuracy of f32, since derivatives round nothing; and results tell.
#[test]
fn a_model_of_rounded_inputs() {
    let (tokens, weights) = ([3, 1, 4, 1, 5, 9, 2, 6], || RandomWeights::new(&shape(), 5));
    let (mut agree, mut fields) = (Worst::new("model of rounded inputs"), Vec::new());
    for on in subjects() {
        let rounding = on.again(Options { f16_inputs: true, ..Options::default() });
        let model = Model::random(rounding.device(), shape(), weights()).expect("fits");
        let half = Model::random(halved(on).device(), shape(), weights()).expect("fits");
        assert_eq!(half.input_rounding(), None);
        assert_eq!(model.weight_rounding(), half.weight_rounding(), "one asks for the other");
        assert_eq!(model.hash(), format!("{}-f16-inputs", half.hash()), "other numbers, another model");
        let [got, plain] = [&model, &half].map(|m| m.run(&tokens, &[]).expect("runs"));
        let fields_of = [&got, &plain].map(|run| run.field().expect("reads"));
        let said = model.input_rounding().expect("rounded");
        let seen = far(&fields_of[0], &fields_of[1]);
        assert!(said > 3e-5 && (0.3..3.0).contains(&(seen / said)), "{seen:e}, said {said:e}");
        let linear = got.linearize(Mode::Exact);
        assert!(adjoint(&linear, 1).expect("runs").value < 1e-6);
        let result = sensitivity(&got, &Observable::logit_diff(3, 4, 7)).expect("certified");
        assert!(result.metadata["inputs"].starts_with("f16, relative error of a field"), "{result:?}");
        let plain = sensitivity(&plain, &Observable::logit_diff(3, 4, 7)).expect("certified");
        assert_eq!(plain.metadata["inputs"], "f32");
        fields.push(rounding.label(&fields_of[0]));
    }
    let truth = Labelled::reference(fields[0].values().to_vec());
    for field in &fields {
        agree.check(0, field, &truth, tolerance::ROUNDED);
    }
}

fn far(a: &[f32], b: &[f32]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(b)
}

/// A model without a weight that halves can hold in eights rounds nothing, and says so.
#[test]
fn what_cannot_be_halved_takes_inputs_as_they_are() {
    let odd = Config { n_embd: 66, n_head: 3, ..shape() };
    for on in subjects() {
        let rounding = on.again(Options { f16_inputs: true, ..Options::default() });
        let model = |on: &Subject| Model::random(on.device(), odd.clone(), RandomWeights::new(&odd, 1));
        let [model, plain] = [&rounding, on].map(|on| model(on).expect("fits"));
        assert_eq!((model.input_rounding(), model.hash()), (None, plain.hash()));
    }
}
