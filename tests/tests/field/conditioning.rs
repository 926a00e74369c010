//! Saturated attention: derivatives that cancel, with bounds that know it.

use std::ops::Range;

use resolvent_field::{ADJOINT, Labelled, Place, RegimeOptions, adjoint, regime};
use resolvent_model::{Mode, Model, Observable, RandomWeights, Result, Run, WeightSource, tiny};
use resolvent_tests::{Random, Subject, subjects};

use super::array;

const TOKENS: [u32; 6] = [3, 1, 4, 1, 5, 9];

/// Random weights with queries and keys so large that attention takes one token.
struct Saturated(RandomWeights, f32);

impl WeightSource for Saturated {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0.read(name, rows.clone(), out)?;
        let width = 3 * tiny().n_embd;
        if name.contains("c_attn.weight") {
            for (i, x) in out.iter_mut().enumerate() {
                *x *= if i % width < 2 * tiny().n_embd { self.1 } else { 1.0 };
            }
        }
        Ok(())
    }
}

fn run(on: &Subject, seed: u64, factor: f32) -> Run {
    let weights = Saturated(RandomWeights::new(&tiny(), seed).with_std(0.25), factor);
    let model = Model::from_source(on.device(), tiny(), &weights, "saturated").expect("opens");
    model.run(&TOKENS, &[]).expect("runs")
}

fn along_all(run: &Run) -> (Vec<(Place, Vec<f32>)>, Observable) {
    let mut random = Random::new(11);
    let places = (0..3).flat_map(|l| (0..TOKENS.len()).map(move |t| (l, t)));
    (
        places.map(|place| (place, random.normals(run.model().config().n_embd))).collect(),
        Observable::logit_diff(2, 6, 5),
    )
}

#[test]
fn probe_figures() {
    for on in subjects() {
        for factor in [1.0, 4.0, 8.0, 16.0, 32.0, 64.0] {
            for seed in 0..6 {
                let run = run(on, seed, factor);
                let (sites, j) = along_all(&run);
                let a = adjoint(&run.linearize(Mode::Exact), 1).expect("runs");
                let r =
                    regime(&run, &j, &sites, &RegimeOptions { amplitudes: vec![0.1], ..Default::default() });
                let text = match r {
                    Ok(r) => format!("{:?} failed: {:?}", r.certificates, r.metadata.get("failed")),
                    Err(e) => e.to_string(),
                };
                println!("{} {factor} {seed} {a:?} | {text}", on.name());
            }
        }
    }
}
