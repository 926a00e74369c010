//! The forward pass: field and logits of a run.

use resolvent_model::{Edit, EditedRun, Observable, Run, Site, captures, logits_of, values_of};

use crate::certificate::{Certificate, same};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::place::shape;

/// Returns the field and the logits of a run: arrays `field [L+1, T, d]` and `logits [T, V]`, or `[1, V]` of the last
/// position if `last_only` is set.
///
/// Certificate: the last token's row is computed once more on its own, over the keys and values of the other tokens.
/// Its largest logit is the same as in the pass over the whole prompt.
///
/// # Errors
/// A device error, or a check that fails.
pub fn forward(run: &Run, last_only: bool) -> Result<Labelled> {
    Ok(forward_all(&[run], last_only)?.remove(0))
}

/// Returns the fields and the logits of several runs of one model, and a result for each; see [`forward`]. Runs of one
/// batch share passes.
///
/// # Errors
/// As [`forward`], for any of the runs.
pub fn forward_all(runs: &[&Run], last_only: bool) -> Result<Vec<Labelled>> {
    let Some(first) = runs.first() else { return Ok(Vec::new()) };
    let (levels, sizes) = (first.levels(), first.model().sizes());
    let rows = |run: &'_ Run| if last_only { run.tokens().len() - 1 } else { 0 }..run.tokens().len();
    let positions: Vec<(&Run, usize)> = runs.iter().flat_map(|run| rows(run).map(move |t| (*run, t))).collect();
    let logits = logits_of(&positions)?;
    let captured = captures(&runs.iter().map(|run| (*run, &levels[..])).collect::<Vec<_>>())?;
    let fields: Vec<Vec<f32>> = captured.into_iter().map(|levels| levels.concat()).collect();
    let (vocab, d) = (sizes.vocab, sizes.d);
    let (mut logits, mut read) = (logits.chunks(vocab), Vec::with_capacity(runs.len()));
    for (run, field) in runs.iter().zip(fields) {
        let tokens = run.tokens().len();
        let of_run: Vec<f32> = logits.by_ref().take(rows(run).len()).flatten().copied().collect();
        let last = &of_run[of_run.len() - vocab..];
        let best = last.iter().enumerate().fold(0, |best, (i, x)| if *x > last[best] { i } else { best });
        let again = Edit::put(Site::ResidPre(0), tokens - 1, field[(tokens - 1) * d..tokens * d].to_vec());
        let observable = Observable::logit(best as u32, tokens - 1);
        read.push(Read { run, direct: f64::from(last[best]), again: [again], observable, field, logits: of_run });
    }
    let again = read.iter().map(|Read { run, again, observable, .. }| EditedRun { run, edits: again, observable });
    let again = values_of(&again.collect::<Vec<_>>())?;
    read.into_iter().zip(again).map(|(read, again)| read.result(again)).collect()
}

/// The field and the logits of a run, and its last token's row to compute again.
struct Read<'a> {
    run: &'a Run,
    field: Vec<f32>,
    logits: Vec<f32>,
    /// The largest logit of the last position.
    direct: f64,
    again: [Edit; 1],
    observable: Observable,
}

impl Read<'_> {
    /// Returns the result. `again` is the largest logit, computed from the last row alone.
    fn result(self, again: f64) -> Result<Labelled> {
        let Self { run, field, logits, direct, .. } = self;
        let ((levels, tokens, d), vocab) = (shape(run), run.model().sizes().vocab);
        let value = (again - direct).abs() / direct.abs().max(1.0);
        Labelled::new("run", run)
            .with("field", &[("level", levels), ("token", tokens), ("d", d)], field)
            .with("logits", &[("token", logits.len() / vocab), ("vocab", vocab)], logits)
            .certify(Certificate::new("last_row_alone", value, same(run.model())))
    }
}
