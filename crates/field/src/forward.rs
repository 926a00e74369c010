//! The forward pass: field and logits of a run.

use resolvent_model::{Edit, Observable, Run, Site};

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
    let (levels, tokens, d) = shape(run);
    let vocab = run.model().config().vocab_size;
    let field = run.field()?;
    let logits = if last_only { run.logits_at(tokens - 1)? } else { run.logits()? };
    let rows = logits.len() / vocab;
    let last = &logits[(rows - 1) * vocab..];
    let best = last.iter().enumerate().fold(0, |best, (i, x)| if *x > last[best] { i } else { best });
    let again = Edit::put(Site::ResidPre(0), tokens - 1, field[(tokens - 1) * d..tokens * d].to_vec());
    let again = run.values_under(&[[again]], &Observable::logit(best as u32, tokens - 1))?[0];
    let direct = f64::from(last[best]);
    let value = (again - direct).abs() / direct.abs().max(1.0);
    Labelled::new("run", run)
        .with("field", &[("level", levels), ("token", tokens), ("d", d)], field)
        .with("logits", &[("token", rows), ("vocab", vocab)], logits)
        .certify(Certificate::new("last_row_alone", value, same(run.model())))
}
