//! The rule of sources that are found.

use crate::stats;
use crate::study::samples::{Results, array, by_prompt, samples};
use crate::study::statement::{Better, Rule, Statement};

/// A mean posterior of random sources at their own place from which the place counts as identifiable.
const IDENTIFIABLE: f64 = 0.5;

/// The kinds of sources, as positions in the list of the step.
const LINEAR: f64 = 0.0;
const PATCH: f64 = 1.0;
const PERMUTED: f64 = 2.0;

/// One hidden source.
#[derive(Clone, Copy)]
struct Source {
    kind: f64,
    /// Places that are more probable than the right one.
    rank: f64,
    identifiable: bool,
    /// Levels and tokens between the right place and the most probable one.
    off: [f64; 2],
}

impl Source {
    /// Returns 1 if the right place is the most probable one.
    fn is_found(&self) -> f64 {
        f64::from(u8::from(self.rank == 0.0))
    }
}

pub(super) fn found(results: &Results<'_>) -> Statement {
    let sources = samples(results, |result| {
        let of = |name: &str| array(result, name);
        let distance = |place: &str, found: &str| -> Vec<f64> {
            of(place).into_iter().zip(of(found)).map(|(a, b)| (a - b).abs()).collect()
        };
        let (levels, tokens) = (distance("level", "found_level"), distance("token", "found_token"));
        let facts = of("kind").into_iter().zip(of("rank")).zip(of("identifiable")).zip(levels.into_iter().zip(tokens));
        let source = |(((kind, rank), identifiable), (levels, tokens)): (((f64, f64), f64), (f64, f64))| Source {
            kind,
            rank,
            identifiable: identifiable >= IDENTIFIABLE,
            off: [levels, tokens],
        };
        by_prompt(result, &facts.map(source).collect::<Vec<_>>())
    });
    // The mean of a number over the sources of a kind.
    let mean = |kind: f64, only: fn(&Source) -> bool, number: fn(&Source) -> f64| {
        sources.figure(8, move |draw| {
            let counted = draw.iter().flat_map(|prompt| prompt.iter()).filter(|s| s.kind == kind && only(s));
            stats::mean(&counted.map(number).collect::<Vec<f64>>())
        })
    };
    let any = |_: &Source| true;
    let (figure, control) = (mean(LINEAR, any, Source::is_found), mean(PERMUTED, any, Source::is_found));
    let (low, chance) = (figure.interval.low, control.interval.high);
    let beside = vec![
        mean(LINEAR, any, |s| f64::from(u8::from(s.identifiable))).named("share of identifiable places"),
        mean(LINEAR, |s| s.identifiable, Source::is_found).named("of sources there, found"),
        mean(LINEAR, any, |s| f64::from(u8::from(s.rank < 5.0))).named("among the first five places"),
        mean(LINEAR, any, |s| s.off[0]).named("mean error in levels"),
        mean(LINEAR, any, |s| s.off[1]).named("mean error in tokens"),
        mean(PATCH, any, Source::is_found).named("patches to the other prompt, found"),
        control.named("control: the observed numbers in another order"),
    ];
    Rule {
        name: "sources are found",
        claim: "The place of a source can be inferred from its effect.",
        measure: "share of random sources whose place is the most probable one, from 64 logits of the last token with 1 % noise",
        rule: "holds if the interval lies above 0.8 and that of the control below 0.1; partly if it lies above 0.5 and above that \
               of the control",
        better: Better::Higher,
    }
    .statement(figure, (beside, String::new()), [low > 0.8 && chance < 0.1, low > 0.5 && low > chance])
}
