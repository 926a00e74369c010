//! How much tokens weigh in balanced bases, and the errors to expect of them: both from training prompts alone.

use super::bases::Bases;
use super::projector::Method;
use super::rows::Rows;
use super::snapshots::Snapshot;
use crate::certificate::dot;
use crate::error::Result;

/// Powers of a token's `|<chi, x>|` that may be its weight. With 0, all tokens weigh alike.
const POWERS: [f64; 3] = [0.0, 0.5, 1.0];

/// Parts into which the training prompts are split, so that each is measured with bases of the others.
const FOLDS: usize = 4;

/// The weights of tokens of one basis for all tokens, or of those by role.
pub(super) struct Weights {
    /// The power of `|<chi, x>|`.
    pub(super) power: f64,
    /// Relative errors on training prompts that the bases have not seen, by rank: of the first-order effect `<chi, x>`
    /// of each token's displacement. NaN for fewer prompts than [`FOLDS`].
    pub(super) errors: Vec<f64>,
}

impl Weights {
    /// Chooses the power whose bases have the smallest geometric mean of the errors, over ranks up to half the number
    /// of prompts: few prompts leave further directions open. For fewer prompts than [`FOLDS`] it is 0.
    pub(super) fn chosen(
        learned: &[Snapshot],
        (roles, d): (usize, usize),
        ranks: &[usize],
        by_role: bool,
    ) -> Result<Self> {
        if learned.len() < FOLDS {
            return Ok(Self { power: POWERS[0], errors: vec![f64::NAN; ranks.len()] });
        }
        let compared = ranks.iter().filter(|rank| 2 * **rank <= learned.len()).count().max(1);
        let size = |one: &Self| one.errors.iter().take(compared).map(|x| x.max(f64::MIN_POSITIVE).ln()).sum::<f64>();
        let mut best: Option<Self> = None;
        for power in POWERS {
            let errors = cross_validated(learned, (roles, d), (ranks, by_role), power)?;
            let one = Self { power, errors };
            // A sum that is NaN is not smaller, so a task without any effect keeps equal weights.
            if best.as_ref().is_none_or(|best| size(&one) < size(best)) {
                best = Some(one);
            }
        }
        Ok(best.unwrap_or(Self { power: POWERS[0], errors: vec![f64::NAN; ranks.len()] }))
    }
}

/// Returns the errors of one power; see [`Weights::errors`].
fn cross_validated(
    learned: &[Snapshot],
    (roles, d): (usize, usize),
    (ranks, by_role): (&[usize], bool),
    power: f64,
) -> Result<Vec<f64>> {
    let mut errors = vec![[0.0f64; 2]; ranks.len()];
    let most = ranks.last().copied().unwrap_or(0);
    for fold in 0..FOLDS {
        let part = |own: bool| learned.iter().enumerate().filter(move |(n, _)| (n % FOLDS == fold) == own);
        let others: Vec<&Snapshot> = part(false).map(|(_, snapshot)| snapshot).collect();
        let sets = Rows::spectra_of(Rows::of(&others, (roles, d), power), by_role, d)?;
        let bases = Bases::new(Method::Balanced, &sets, d, (most, 0))?;
        for (_, snapshot) in part(true) {
            for (errors, &rank) in errors.iter_mut().zip(ranks) {
                let reduced = bases.reduced(snapshot, Some(rank), d);
                let tokens = snapshot.moved.chunks(d).zip(snapshot.chi.chunks(d)).zip(reduced.chunks(d));
                for ((moved, chi), reduced) in tokens {
                    let effect = dot(moved, chi);
                    errors[0] += (dot(moved, reduced) - effect).powi(2);
                    errors[1] += effect.powi(2);
                }
            }
        }
    }
    Ok(errors.iter().map(|[square, effect]| (square / effect).sqrt()).collect())
}
