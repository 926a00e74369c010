//! Saturated attention: derivatives cancel, and the bounds of certificates account for this.

use std::ops::Range;

use resolvent_field::{ADJOINT, Certificate, RegimeOptions, adjoint, regime};
use resolvent_model::{Mode, Model, Observable, RandomWeights, Result, WeightSource, tiny};
use resolvent_tests::{Random, subjects};

const TOKENS: [u32; 6] = [3, 1, 4, 1, 5, 9];

/// Random weights whose queries and keys are multiplied by a factor, so that attention reads one token only.
struct Saturated(RandomWeights, f32);

impl WeightSource for Saturated {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0.read(name, rows, out)?;
        let width = 3 * tiny().n_embd;
        if name.contains("c_attn.weight") {
            for (i, x) in out.iter_mut().enumerate() {
                *x *= if i % width < 2 * tiny().n_embd { self.1 } else { 1.0 };
            }
        }
        Ok(())
    }
}

/// In increasingly saturated models every certificate passes. Some figures exceed the constant bound, which does not
/// account for the cancellation.
#[test]
fn saturated_models_pass() {
    for on in subjects() {
        let mut beyond: Vec<Certificate> = Vec::new();
        for (factor, seed) in [4.0, 16.0, 64.0].into_iter().flat_map(|f| (0..6).map(move |s| (f, s))) {
            let weights = Saturated(RandomWeights::new(seed).with_std(0.25), factor);
            let model = Model::from_source(on.device(), tiny(), &weights, "saturated").expect("opens");
            let run = model.run(&TOKENS, &[]).expect("runs");
            let found = adjoint(&run.linearize(Mode::Exact), 1).expect("runs");
            assert!(found.passes(), "{}: {factor} {seed}: {found}", on.name());
            let mut random = Random::new(100 + seed);
            let places = (0..3).flat_map(|l| (0..TOKENS.len()).map(move |t| (l, t)));
            let sites: Vec<_> = places.map(|place| (place, random.normals(tiny().n_embd))).collect();
            let (j, options) = (Observable::logit_diff(2, 6, 5), RegimeOptions::default());
            let result = regime(&run, &j, &sites, &options);
            let result = result.unwrap_or_else(|e| panic!("{}: {factor} {seed}: {e}", on.name()));
            println!(
                "| saturated | {} | {factor} {seed} | {found} | {:?} |",
                on.name(),
                result.certificates.iter().map(ToString::to_string).collect::<Vec<_>>()
            );
            assert!(!result.metadata.contains_key("failed"), "{}: {:?}", on.name(), result.metadata["failed"]);
            beyond.extend(
                result
                    .certificates
                    .into_iter()
                    .chain([found])
                    .filter(|c| c.name != "small_amplitude" && c.value > ADJOINT),
            );
        }
        assert!(!beyond.is_empty(), "{}: no figure is beyond the constant bound", on.name());
        assert!(beyond.iter().all(|c| c.bound <= 1e-2), "{beyond:?}");
    }
}
