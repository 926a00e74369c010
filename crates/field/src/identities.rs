//! Identities that hold exactly because of symmetries of the model, as checks of its derivatives.
//!
//! | identity | from | formula |
//! |---|---|---|
//! | `shift` | layer norm subtracts the mean | `<chi[l,t], 1> = 0` |
//! | `constant` | the same | `G 1 = 1` at the token of the source, 0 at others |
//! | `keys` | softmax ignores a shift of all scores | `sum_t dJ/dk[t] = 0`, for each key head |
//! | `gauge` | scores are products of queries and keys | `sum_t q (x) dJ/dq = sum_t dJ/dk (x) k`, for each key head |
//! | `final_scale` | the final norm ignores the size of its input | `<h[L,t], chi[L,t]> = c <h[L,t], chi'[L,t]>` |
//! | `qk_scale` | so do norms of queries and keys | `<q, dJ/dq> = c <rot_q, dJ/drot_q>`, and for keys |
//! | `branch_scale` | so do norms before attention and MLP | `<h, g> = c <y, dJ/dy>`, g through one branch alone |
//! | `output_scale` | so do norms behind attention and MLP | `<z, dJ/dz> = c <y, dJ/dy>`, and for neurons |
//!
//! Here c = eps / (m + eps), with m the mean square (or variance) of the norm's input, is what the epsilon of a norm
//! leaves, and chi' is the sensitivity with the norm's scale frozen. Keys and queries are those after the rotary
//! embedding.

mod branches;
mod heads;
mod stream;

use std::fmt;

use resolvent_model::{Mode, Model, Observable, Quantity, Run, Site};

use crate::certificate::Certificate;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::noise;
use crate::place::shape;

/// Number of times the rounding of one term that a sum of its terms may be off. Terms err independently by the relative
/// accuracy of a product, `2 u (1 + sqrt(n_inner / 6))`, so a sum errs by less than that of the sum of their sizes. The
/// figures of right derivatives are below a quarter of it.
const DEVIATIONS: f64 = 4.0;

/// An identity; see [`identities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// Sensitivities are orthogonal to a constant vector.
    Shift,
    /// A constant vector propagates as itself.
    Constant,
    /// The derivatives by all keys of a head add up to zero.
    Keys,
    /// Queries and keys may be transformed against each other.
    Gauge,
    /// The size of the last level has no effect.
    FinalScale,
    /// The size of queries and keys before their norm has no effect.
    QkScale,
    /// The size of what attention and MLP read has no effect through them.
    BranchScale,
    /// The size of what attention and MLP compute before the norm behind them has no effect.
    OutputScale,
}

impl Identity {
    /// All identities, in the order in which they are checked.
    pub const ALL: [Self; 8] = [
        Self::Shift,
        Self::Constant,
        Self::Keys,
        Self::Gauge,
        Self::FinalScale,
        Self::QkScale,
        Self::BranchScale,
        Self::OutputScale,
    ];

    /// Returns the name of its certificate.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shift => "shift",
            Self::Constant => "constant",
            Self::Keys => "keys",
            Self::Gauge => "gauge",
            Self::FinalScale => "final_scale",
            Self::QkScale => "qk_scale",
            Self::BranchScale => "branch_scale",
            Self::OutputScale => "output_scale",
        }
    }

    /// Returns the formula, in ASCII.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Shift => "<chi[l,t], 1> = 0",
            Self::Constant => "G 1 = 1",
            Self::Keys => "sum_t dJ/dk[t] = 0",
            Self::Gauge => "sum_t q (x) dJ/dq = sum_t dJ/dk (x) k",
            Self::FinalScale => "<h[L,t], chi[L,t]> = c <h[L,t], chi'[L,t]>",
            Self::QkScale => "<q, dJ/dq> = c <rot_q, dJ/drot_q>",
            Self::BranchScale => "<h, chi - dJ/dmid> = c <qkv, dJ/dqkv>",
            Self::OutputScale => "<z, dJ/dz> = c <attn_out, dJ/dattn_out>",
        }
    }

    /// Returns why the identity does not hold for an observable of a run; `None` if it holds. It depends on features of
    /// the model only, not on its weights.
    pub fn fails_because(self, run: &Run, observable: &Observable) -> Option<&'static str> {
        let model = run.model().architecture();
        let last = model.sizes().layers;
        let rotates = (0..last).all(|l| model.attention_rotates(l));
        let projects = |only: Option<usize>| {
            let at = |level: usize| only.is_none_or(|only| only == level);
            observable.terms().iter().any(|term| matches!(term.quantity, Quantity::Project { level, .. } if at(level)))
        };
        let added = run.edits().iter().all(|edit| matches!(edit.change, resolvent_model::Change::Add(_)));
        match self {
            Self::Shift | Self::Constant if !model.subtracts_means() => {
                Some("the norms of the model do not subtract the mean")
            }
            Self::Shift | Self::Constant if !model.reads_normed() => {
                Some("a branch of the model reads the stream without a norm")
            }
            Self::Shift | Self::Constant if !added => Some("the run has edits that are no additions"),
            Self::Shift if projects(None) => Some("the observable projects the field, which a shift changes"),
            Self::Keys if run.edits().iter().any(|edit| matches!(edit.site, Site::AttnScores(..))) => {
                Some("the run has edits of attention scores")
            }
            Self::Keys if model.score_cap().is_some() => Some("a soft-cap of the scores follows their shift"),
            Self::Keys | Self::Gauge if model.norms_queries() && !rotates => {
                Some("queries and keys after their norm have no site without a rotary embedding")
            }
            Self::FinalScale if projects(Some(last)) => {
                Some("the observable projects the last level, past the final norm")
            }
            Self::QkScale if !model.norms_queries() => Some("queries and keys have no norm"),
            Self::BranchScale if !model.reads_normed() => Some("a branch of the model reads the stream without a norm"),
            Self::BranchScale if !model.reads_by_rms() => {
                Some("it needs RMS norms before attention, and then before a gated MLP")
            }
            Self::BranchScale if !run.edits().is_empty() => Some("the run has edits"),
            Self::OutputScale if !model.norms_outputs() => Some("no norm follows attention and MLP"),
            Self::OutputScale
                if run.edits().iter().any(|edit| matches!(edit.site, Site::AttnOut(_) | Site::MlpOut(_))) =>
            {
                Some("the run has edits of the outputs behind norms")
            }
            Self::QkScale if !rotates => {
                Some("queries and keys after their norm have no site without a rotary embedding")
            }
            _ => None,
        }
    }

    /// Computes the identity's check in a mode, whether or not it holds: a check of one that does not hold fails.
    ///
    /// # Errors
    /// An observable that does not fit, sites that the model lacks, or a device error.
    pub fn check(self, run: &Run, observable: &Observable, mode: Mode) -> Result<Certificate> {
        let figure = match self {
            Self::Shift => stream::shift(run, observable, mode)?,
            Self::Constant => stream::constant(run, mode)?,
            Self::FinalScale => stream::final_scale(run, observable, mode)?,
            Self::Keys => heads::keys(&heads::Heads::read(run, observable, mode)?),
            Self::Gauge => heads::gauge(&heads::Heads::read(run, observable, mode)?),
            Self::QkScale => heads::qk_scale(&heads::Normed::read(run, observable, mode)?),
            Self::BranchScale => branches::branch_scale(run, observable, mode)?,
            Self::OutputScale => branches::output_scale(run, observable, mode)?,
        };
        Ok(self.certificate(run.model(), figure))
    }

    fn certificate(self, model: &Model, figure: f64) -> Certificate {
        Certificate::new(self.name(), figure, DEVIATIONS * noise::unit(model.sizes()))
    }
}

/// Writes the name.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Checks the identities that hold for an observable of a run.
///
/// Arrays: `figures [I]`, the figure of each [`Identity::ALL`] relative to the size of its terms, or -1 if it does not
/// hold. The metadata have their names (`identities`), and why others do not hold (`left_out.NAME`).
///
/// Certificates: one for each identity that holds.
///
/// # Errors
/// An observable that does not fit, a device error, or a check that fails.
pub fn identities(run: &Run, observable: &Observable) -> Result<Labelled> {
    let holds = |identity: &Identity| identity.fails_because(run, observable).is_none();
    let mut checks = Vec::with_capacity(Identity::ALL.len());
    // Keys and gauge read the same derivatives.
    let heads = match [Identity::Keys, Identity::Gauge].iter().any(holds) {
        true => Some(heads::Heads::read(run, observable, Mode::Exact)?),
        false => None,
    };
    for identity in Identity::ALL {
        checks.push(match (identity, &heads) {
            _ if !holds(&identity) => None,
            (Identity::Keys, Some(heads)) => Some(identity.certificate(run.model(), heads::keys(heads))),
            (Identity::Gauge, Some(heads)) => Some(identity.certificate(run.model(), heads::gauge(heads))),
            _ => Some(identity.check(run, observable, Mode::Exact)?),
        });
    }
    let figures = checks.iter().map(|check| check.as_ref().map_or(-1.0, |check| check.value as f32));
    let mut result = Labelled::new("identities", run)
        .note("observable", observable.to_string())
        .note("identities", Identity::ALL.map(Identity::name).join(","))
        .with("figures", &[("identity", Identity::ALL.len())], figures.collect());
    for (identity, check) in Identity::ALL.into_iter().zip(checks) {
        result = match check {
            Some(check) => result.certify(check)?,
            None => result
                .note(&format!("left_out.{identity}"), identity.fails_because(run, observable).unwrap_or_default()),
        };
    }
    Ok(result)
}

/// Checks [`Identity::Shift`] of a sensitivity field `[L+1, T, d]` that is already computed; `None` if it does not
/// hold.
pub(crate) fn shift(run: &Run, observable: &Observable, chi: &[f32]) -> Option<Certificate> {
    let (_, tokens, d) = shape(run);
    let holds = Identity::Shift.fails_because(run, observable).is_none();
    holds.then(|| Identity::Shift.certificate(run.model(), stream::shift_of(chi.chunks(tokens * d), d)))
}

/// Returns the derivatives of the observable by sites, `[T, width]` each, and the values of the sites in the run.
fn read(run: &Run, observable: &Observable, mode: Mode, sites: &[Site]) -> Result<[Vec<Vec<f32>>; 2]> {
    Ok([run.captures(sites)?, crate::derivatives::derivatives(run, observable, mode, sites)?])
}
