//! The averaged operator: the Green operator to the last level, averaged over prompts and positions.
//!
//! ```text
//! J[l] = mean over prompts of  1 / |V|  sum over t, t' in V of  G(L, t'; l, t)
//! ```
//!
//! V are the positions of a prompt without its first and its last ones. Pairs with t' < t are zero. This is the
//! Jacobian lens of TransformerLens 4. One backward pass for each component of h\[L\], with a unit cotangent at every
//! position of V, gives a row of J\[l\] at all levels.

mod file;
mod moments;
mod one;
mod options;
mod torch;

use std::ops::Range;

use resolvent_model::{Model, PromptCase, Run, RunOptions};

use crate::certificate::{Certificate, merge};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::slice::OnProgress;
use crate::study::left_out::{self, LeftOut, ends, may_pass};

use moments::Moments;
use one::{check, operator, positions};

pub use file::AveragedOperator;
pub use options::AverageOptions;

/// Averages the Green operators to the last level over the positions of each clean prompt, and over prompts.
///
/// Arrays: `operator [L+1, d, d]`, whose rows are components of h\[L\]; `gain [L+1]`, `|J| / sqrt(d)` with the
/// Frobenius norm, the root mean square gain over all directions; `from_identity [L+1]`, `|J - 1| / sqrt(d)`;
/// `positions [P]`, how many positions of each prompt are averaged. With two prompts or more: `standard_error [L+1, d,
/// d]`, of each element over prompts; `spread [L+1]`, the standard deviation over prompts in the Frobenius norm over
/// `|J|`; and `error [L+1]`, `spread / sqrt(P)`.
///
/// A prompt without positions is left out, as are prompts that fail. Level L is the identity.
///
/// Certificate: for each prompt, forward mode gives the same response to a random direction at one level. The levels
/// alternate over prompts (`tangents`).
///
/// # Errors
/// A device error, no prompt that can be averaged, or a check that fails.
pub fn average(
    model: &Model,
    cases: &[PromptCase],
    options: AverageOptions,
    progress: OnProgress<'_>,
) -> Result<Labelled> {
    let (levels, d) = (model.sizes().layers + 1, model.sizes().d);
    let (mut found, mut left_out) = (Found::new(levels, d), Vec::new());
    let mut long = Vec::with_capacity(cases.len());
    for case in cases {
        match positions(case.clean.len(), options) {
            Ok(range) => long.push((case, range)),
            Err(error) => left_out.push(LeftOut::from_error(&case.name, &error)),
        }
    }
    let mut done = left_out.len();
    for part in model.passes(&long, |(case, _)| case.clean.len()) {
        let prompts: Vec<&[u32]> = part.iter().map(|(case, _)| &case.clean[..]).collect();
        for ((case, range), run) in part.iter().zip(runs(model, &prompts)?) {
            match run.and_then(|run| found.add(&run, range.clone())) {
                Ok(()) => {}
                Err(error) if ends(&error) || may_pass(&error) => return Err(error),
                Err(error) => left_out.push(LeftOut::from_error(&case.name, &error)),
            }
            done += 1;
            progress(done as u64, cases.len() as u64);
        }
    }
    match (found.about.take(), left_out.first()) {
        (Some(about), _) => Ok(left_out::write(found.labelled(about, options)?, &left_out)),
        (None, Some(first)) => Err(Error::Input(format!("no prompt can be averaged; {first}"))),
        (None, None) => Err(Error::Input("there are no prompts".to_owned())),
    }
}

/// Runs prompts in one batch or, if that fails, one by one.
fn runs(model: &Model, prompts: &[&[u32]]) -> Result<Vec<Result<Run>>> {
    let options = RunOptions::default();
    match model.run_all(prompts, &options).map_err(Error::from) {
        Ok(runs) => Ok(runs.into_iter().map(Ok).collect()),
        Err(error) if ends(&error) || may_pass(&error) => Err(error),
        Err(_) => Ok(prompts.iter().map(|tokens| Ok(model.run_with(tokens, &options)?)).collect()),
    }
}

/// What the prompts so far have given.
struct Found {
    moments: Moments,
    positions: Vec<f32>,
    certificates: Vec<Certificate>,
    /// Hash of all tokens.
    tokens: blake3::Hasher,
    /// The result of the first prompt, for its provenance.
    about: Option<Labelled>,
}

impl Found {
    fn new(levels: usize, d: usize) -> Self {
        Self {
            moments: Moments::new(levels, d),
            positions: Vec::new(),
            certificates: Vec::new(),
            tokens: blake3::Hasher::new(),
            about: None,
        }
    }

    /// Adds a prompt, if its check passes.
    fn add(&mut self, run: &Run, range: Range<usize>) -> Result<()> {
        let of_prompt = operator(run, range.clone())?;
        let below = run.model().sizes().layers;
        let checked = check(run, range.clone(), self.positions.len() % below.max(1), &of_prompt)?;
        let about = Labelled::new("average", run).certify(checked.clone())?.metadata_alone();
        merge(&mut self.certificates, &[checked]);
        self.moments.add(&of_prompt);
        self.positions.push(range.len() as f32);
        for id in run.tokens() {
            self.tokens.update(&id.to_le_bytes());
        }
        self.tokens.update(&u32::MAX.to_le_bytes());
        self.about.get_or_insert(about);
        Ok(())
    }

    fn labelled(self, mut about: Labelled, options: AverageOptions) -> Result<Labelled> {
        about.metadata.remove("tokens");
        let (count, sum) = (self.positions.len(), self.positions.iter().sum::<f32>());
        let result = self.moments.labelled(about).with("positions", &[("prompt", count)], self.positions);
        let result = result
            .note("prompts", count.to_string())
            .note("positions", sum.to_string())
            .note("prompts_hash", self.tokens.finalize().to_hex().to_string())
            .note("skip_first", options.skip_first.to_string())
            .note("skip_last", options.skip_last.to_string());
        self.certificates.into_iter().try_fold(result, Labelled::certify)
    }
}
