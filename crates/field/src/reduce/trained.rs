//! What the training prompts give: the projectors of all methods, and their errors.

use super::bases::Bases;
use super::measure::{Measured, error};
use super::projector::{Method, Projector};
use super::rows::{Rows, Spectra};
use super::snapshots::Snapshot;
use super::weights::Weights;
use crate::certificate::{dot, narrow, norm};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::stats::{Interval, choose};

/// Draws of methods that are random.
const DRAWS: u64 = 4;

/// Shares of the training prompts, of the errors over their number.
const PARTS: [usize; 4] = [8, 4, 2, 1];

/// Numbers of tokens; the last means all.
const COUNTS: [usize; 5] = [1, 2, 4, 8, usize::MAX];

/// Excess over the error of all directions that is small enough for an intrinsic dimension.
const CLOSE: f64 = 0.05;

/// Everything that the training prompts give.
pub(super) struct Trained {
    /// For one basis and for one by role, each method with its draws.
    methods: Vec<Vec<Bases>>,
    /// Balanced by role, from parts of the training prompts.
    parts: Vec<(usize, Bases)>,
    /// Of one basis, and of those by role.
    weights: [Weights; 2],
    /// Error of all directions on patches of training prompts.
    floor: f64,
}

impl Trained {
    /// Computes the projectors of all methods. `floor` is the error of all directions on patches of training prompts.
    pub(super) fn new(
        learned: &[Snapshot],
        (roles, d): (usize, usize),
        (ranks, seed): (&[usize], u64),
        floor: f64,
    ) -> Result<Self> {
        let most = ranks.last().copied().unwrap_or(0);
        let all: Vec<&Snapshot> = learned.iter().collect();
        let rows = Rows::of(&all, (roles, d), 0.0);
        let shuffled: Vec<Vec<Snapshot>> = (0..DRAWS).map(|draw| shuffled(learned, seed.wrapping_add(draw))).collect();
        let [one, by_role] = [false, true].map(|by_role| Weights::chosen(learned, (roles, d), ranks, by_role));
        let weights = [one?, by_role?];
        let bases =
            |method: Method, sets: &[Spectra], draw: u64| Bases::new(method, sets, d, (most, seed.wrapping_add(draw)));
        let mut methods = Vec::new();
        for by_role in [false, true] {
            let own = Rows::spectra_of(rows.clone(), by_role, d)?;
            let weighted = |snapshots: &[&Snapshot]| {
                let rows = Rows::of(snapshots, (roles, d), weights[usize::from(by_role)].power);
                Rows::spectra_of(rows, by_role, d)
            };
            for method in Method::ALL {
                methods.push(match method {
                    Method::Balanced => vec![bases(method, &weighted(&all)?, 0)?],
                    Method::Shuffled => shuffled
                        .iter()
                        .map(|draw| bases(method, &weighted(&draw.iter().collect::<Vec<_>>())?, 0))
                        .collect::<Result<Vec<_>>>()?,
                    Method::Random => (0..DRAWS).map(|draw| bases(method, &own, draw)).collect::<Result<Vec<_>>>()?,
                    _ => vec![bases(method, &own, 0)?],
                });
            }
        }
        let counts = PARTS.iter().map(|part| learned.len().div_ceil(*part));
        let part = |n: usize| {
            let sets = Rows::spectra_of(Rows::of(&all[..n], (roles, d), weights[1].power), true, d)?;
            Ok((n, bases(Method::Balanced, &sets, 0)?))
        };
        let parts = counts.map(part).collect::<Result<_>>()?;
        Ok(Self { methods, parts, weights, floor })
    }

    /// Returns the reduced sensitivities of a snapshot: of methods, bases, draws and ranks; of parts and ranks; of
    /// counts and ranks; and the sensitivities themselves.
    pub(super) fn cells(&self, snapshot: &Snapshot, ranks: &[usize], d: usize) -> Vec<Vec<f32>> {
        let bases = self.methods.iter().flatten().chain(self.parts.iter().map(|(_, bases)| bases));
        let mut cells: Vec<Vec<f32>> =
            bases.flat_map(|bases| ranks.iter().map(|&rank| bases.reduced(snapshot, Some(rank), d))).collect();
        let along = |token: usize| {
            let row = |rows: &[f32]| rows[token * d..(token + 1) * d].to_vec();
            dot(&row(&snapshot.chi), &row(&snapshot.moved)).abs()
        };
        let mut order: Vec<usize> = (0..snapshot.roles.len()).collect();
        order.sort_by(|&a, &b| along(b).total_cmp(&along(a)));
        for count in COUNTS {
            for &rank in ranks {
                let mut rest = self.by_role().reduced(snapshot, Some(rank), d);
                order.iter().skip(count).for_each(|&token| rest[token * d..(token + 1) * d].fill(0.0));
                cells.push(rest);
            }
        }
        cells.push(snapshot.chi.clone());
        cells
    }

    /// Returns the balanced bases by role.
    fn by_role(&self) -> &Bases {
        &self.methods[Method::ALL.len()][0]
    }

    /// Returns how much of the sensitivities the balanced bases drop with all directions, relative to their norm.
    pub(super) fn dropped(&self, snapshot: &Snapshot, d: usize) -> f64 {
        let whole = self.by_role().whole(snapshot, d);
        let lost: Vec<f32> = whole.iter().zip(&snapshot.chi).map(|(a, b)| a - b).collect();
        norm(&lost) / norm(&snapshot.chi).max(f64::MIN_POSITIVE)
    }

    /// Adds the arrays.
    pub(super) fn labelled(
        &self,
        result: Labelled,
        (measured, ranks, d): (&[Measured], &[usize], usize),
        (longest, seed): (usize, u64),
    ) -> Labelled {
        let (n, mut at, mut errors) = (ranks.len(), 0, Vec::new());
        let mut squares = vec![Vec::new(); measured.len()];
        for draws in &self.methods {
            for rank in 0..n {
                // The draws of a rank lie n cells apart, so their mean is that of their errors.
                let each = (0..draws.len()).map(|draw| error(measured, at + draw * n + rank, seed));
                errors.push(mean(&each.collect::<Vec<_>>()));
                for (squares, one) in squares.iter_mut().zip(measured) {
                    let each: f64 = (0..draws.len()).map(|draw| one.square[at + draw * n + rank]).sum();
                    squares.push((each / draws.len() as f64) as f32);
                }
            }
            at += draws.len() * n;
        }
        let table = |from: usize, rows: usize| -> Vec<f32> {
            (from..from + rows * n).map(|cell| error(measured, cell, seed).estimate as f32).collect()
        };
        let learning = table(at, self.parts.len());
        at += self.parts.len() * n;
        let by_tokens = table(at, COUNTS.len());
        at += COUNTS.len() * n;
        let floor = error(measured, at, seed).estimate;
        let both = [&self.methods[0][0], self.by_role()];
        let close = |basis: usize| {
            let from = basis * Method::ALL.len() * n;
            let found = (0..n).find(|rank| errors[from + rank].estimate <= floor + CLOSE);
            found.map_or(f32::NAN, |rank| ranks[rank] as f32)
        };
        let sets: Vec<&Projector> = both.iter().flat_map(|bases| &bases.projectors).collect();
        let most = ranks.last().copied().unwrap_or(0);
        let directions = |of: fn(&Projector) -> &Vec<Vec<f64>>| -> Vec<f32> {
            sets.iter().flat_map(|set| of(set).iter().take(most).flat_map(|v| narrow(v))).collect()
        };
        let folds: Vec<f64> = self.weights.iter().flat_map(|weights| weights.errors.iter().copied()).collect();
        let expected: Vec<f64> = folds.iter().map(|error| error.hypot(self.floor)).collect();
        let end = |of: fn(&Interval) -> f64| errors.iter().map(|e| of(e) as f32).collect::<Vec<f32>>();
        let axes = [("basis", 2), ("method", Method::ALL.len()), ("rank", n)];
        let wide = [("set", sets.len()), ("direction", most), ("d", d)];
        result
            .with("ranks", &axes[2..], ranks.iter().map(|&k| k as f32).collect())
            .with("error", &axes, end(|e| e.estimate))
            .with("error_low", &axes, end(|e| e.low))
            .with("error_high", &axes, end(|e| e.high))
            .with("squared_error", &[("prompt", measured.len()), axes[0], axes[1], axes[2]], squares.concat())
            .with(
                "squared_effect",
                &[("prompt", measured.len())],
                measured.iter().map(|one| one.actual as f32).collect(),
            )
            .with("floor", &[("value", 1)], vec![floor as f32])
            .with(
                "said",
                &[axes[0], axes[2]],
                both.iter().flat_map(|b| ranks.iter().map(|&k| b.said(k) as f32)).collect(),
            )
            .with("cross_validated", &[axes[0], axes[2]], narrow(&folds))
            .with("expected", &[axes[0], axes[2]], narrow(&expected))
            .with("power", &axes[..1], self.weights.iter().map(|weights| weights.power as f32).collect())
            .with("dimension", &axes[..1], vec![close(0), close(1)])
            .with("learning", &[("part", self.parts.len()), axes[2]], learning)
            .with(
                "learning_prompts",
                &[("part", self.parts.len())],
                self.parts.iter().map(|(n, _)| *n as f32).collect(),
            )
            .with("by_tokens", &[("count", COUNTS.len()), axes[2]], by_tokens)
            .with("counts", &[("count", COUNTS.len())], COUNTS.iter().map(|&count| count.min(longest) as f32).collect())
            .with("spectrum", &[wide[0], wide[2]], sets.iter().flat_map(|set| narrow(&set.values)).collect())
            .with("read", &wide, directions(|p| &p.read))
            .with("write", &wide, directions(|p| &p.write))
            .note("methods", Method::ALL.map(Method::name).join(","))
            .note("bases", "one,by_role")
    }
}

/// Returns the snapshots with displacements between prompts that do not belong together: from the corrupted prompt of
/// each to the clean prompt of the next one in a random order, aligned at the last token.
fn shuffled(learned: &[Snapshot], seed: u64) -> Vec<Snapshot> {
    let mut order: Vec<usize> = (0..learned.len()).collect();
    choose(&mut order, learned.len(), &mut { seed });
    let take = |(n, &at): (usize, &usize)| {
        let (own, other) = (&learned[at], &learned[order[(n + 1) % order.len()]]);
        let [theirs, ours] = [&other.fields[0], &own.fields[1]];
        let same = theirs.len().min(ours.len());
        let (start, from) = (ours.len() - same, theirs.len() - same);
        let mut moved = vec![0.0; start];
        moved.extend(theirs[from..].iter().zip(&ours[start..]).map(|(a, b)| a - b));
        let (chi, roles) = (own.chi.clone(), own.roles.clone());
        Snapshot { moved, chi, fields: [Vec::new(), Vec::new()], probes: Vec::new(), roles, difference: own.difference }
    };
    order.iter().enumerate().map(take).collect()
}

/// Returns the mean of several intervals.
fn mean(all: &[Interval]) -> Interval {
    let of = |end: fn(&Interval) -> f64| all.iter().map(end).sum::<f64>() / all.len() as f64;
    Interval { estimate: of(|i| i.estimate), low: of(|i| i.low), high: of(|i| i.high) }
}
