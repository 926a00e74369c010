//! The statements of a study: the claim of the theory, the measured figure, a verdict, and the same figure in the
//! nulls.

use crate::stats::Interval;

use super::figure::{Beside, Figure};
use super::null::Null;

/// Version of the definitions and rules of the statements. They are fixed before the results that they judge.
///
/// 1: the first. 2: figures are means over tasks; rules use the ends of intervals, which need eight prompts; pairs that
/// the model answers wrongly, places without a path to J, and transfers that are complete by construction do not count;
/// nulls. 3: a statement about circuits is added, and the others are unchanged. 4: patches without any possible effect,
/// and effects below the noise floor, count for no correlation; the figures beside a statement's are means over tasks
/// too. 5: a statement about flows is added, and the others are unchanged.
pub const RULES: u32 = 5;

/// The verdict on a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The figures satisfy the rule.
    Holds,
    /// The figures satisfy only the weaker condition of the rule.
    Partly,
    /// The figures satisfy neither condition.
    Fails,
    /// The study has too few prompts for an interval.
    Few,
    /// The study has no figures for the statement.
    Unknown,
}

impl Verdict {
    /// Returns the verdict in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Partly => "holds partly",
            Self::Fails => "fails",
            Self::Few => "too few prompts",
            Self::Unknown => "not measured",
        }
    }

    /// Returns the verdict for a figure by whether the rule and its weaker condition are satisfied.
    pub(super) fn of(figure: Interval, holds: bool, partly: bool) -> Self {
        match (holds, partly) {
            _ if figure.estimate.is_nan() => Self::Unknown,
            _ if figure.low.is_nan() => Self::Few,
            (true, _) => Self::Holds,
            (false, true) => Self::Partly,
            _ => Self::Fails,
        }
    }
}

/// Which values of a figure speak for its statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Better {
    /// Larger ones.
    Higher,
    /// Smaller ones.
    Lower,
    /// Those that are closer to a value.
    Near(f64),
}

impl Better {
    /// Returns whether a whole interval speaks more for the statement than another one; `None` if one of them is
    /// unknown.
    pub(super) fn beyond(self, figure: Interval, null: Interval) -> Option<bool> {
        if [figure.low, figure.high, null.low, null.high].into_iter().any(f64::is_nan) {
            return None;
        }
        Some(match self {
            Self::Higher => figure.low > null.high,
            Self::Lower => figure.high < null.low,
            Self::Near(value) => {
                let farthest = (figure.low - value).abs().max((figure.high - value).abs());
                let contained = null.low <= value && value <= null.high;
                !contained && farthest < (null.low - value).abs().min((null.high - value).abs())
            }
        })
    }
}

/// The figure of a statement in a null.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NullFigure {
    /// The null.
    pub null: Null,
    /// The figure.
    pub figure: Interval,
    /// The verdict that the null gets by the same rule.
    pub verdict: Verdict,
    /// Whether the whole interval of the studied model speaks more for the statement than that of the null. `None` if
    /// one of them has no interval.
    pub exceeded: Option<bool>,
}

/// One statement with its measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Short name.
    pub name: &'static str,
    /// The claim of the theory.
    pub claim: &'static str,
    /// Definition of the figure.
    pub measure: &'static str,
    /// The mean over tasks with its 95 % interval over prompts; NaN if it could not be measured.
    pub figure: Interval,
    /// Number of prompts of the interval.
    pub prompts: usize,
    /// The figure of each task. Empty if all tasks are measured together.
    pub by_task: Vec<(String, f64)>,
    /// Further figures that explain it.
    pub beside: Vec<Beside>,
    /// What else is known, in words; may be empty.
    pub remark: String,
    /// The rule of the verdict.
    pub rule: &'static str,
    /// Which values of the figure speak for the statement.
    pub better: Better,
    /// The verdict.
    pub verdict: Verdict,
    /// The same figure in the nulls; empty if none was run.
    pub nulls: Vec<NullFigure>,
}

impl Statement {
    /// Returns the figures beside that of the statement, and the remark, in words.
    pub fn detail(&self) -> String {
        let figures = self.beside.iter().map(|beside| format!("{} {}", beside.name, beside.figure));
        let remark = Some(self.remark.clone()).filter(|remark| !remark.is_empty());
        figures.chain(remark).collect::<Vec<_>>().join("; ")
    }

    /// Returns whether the figure lies beyond those of all nulls. `None` if no null was run, or one of them has no
    /// interval.
    pub fn beyond(&self) -> Option<bool> {
        let all: Option<Vec<bool>> = self.nulls.iter().map(|null| null.exceeded).collect();
        all.filter(|all| !all.is_empty()).map(|all| all.into_iter().all(|exceeded| exceeded))
    }

    /// Returns in words how the figure compares with the nulls; empty if none was run.
    pub fn beside_nulls(&self) -> String {
        let named = |wanted: Option<bool>| -> Vec<&str> {
            self.nulls.iter().filter(|null| null.exceeded == wanted).map(|null| null.null.words()).collect()
        };
        let (not, unknown) = (named(Some(false)), named(None));
        match (self.nulls.is_empty(), &not[..], &unknown[..]) {
            (true, ..) => String::new(),
            (_, [], []) => "beyond the nulls".to_owned(),
            (_, [], _) => format!("undecided beside {}", unknown.join(", ")),
            (_, [..], _) => format!("not beyond {}", not.join(", ")),
        }
    }
}

/// What a rule needs to make a statement, besides its figure.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) claim: &'static str,
    pub(super) measure: &'static str,
    pub(super) rule: &'static str,
    pub(super) better: Better,
}

impl Rule {
    /// Returns the statement of this rule: with its figure, those beside it, a remark, and whether the rule and its
    /// weaker condition are satisfied.
    pub(super) fn statement(
        self,
        figure: Figure,
        (beside, remark): (Vec<Beside>, String),
        [holds, partly]: [bool; 2],
    ) -> Statement {
        let Self { name, claim, measure, rule, better } = self;
        let Figure { interval: figure, prompts, by_task } = figure;
        let (verdict, nulls) = (Verdict::of(figure, holds, partly), Vec::new());
        Statement { name, claim, measure, figure, prompts, by_task, beside, remark, rule, better, verdict, nulls }
    }
}
