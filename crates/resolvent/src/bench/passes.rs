//! Times of whole analyses, as a user calls them.

use resolvent_engine::counted;
use resolvent_field::{Basis, BasisContext, PlacePairs, Slice};
use resolvent_model::{Edit, Mode, Model, Observable, Site, Source, gaussian};
use web_time::Instant;

use super::BenchOptions;
use crate::fault::Fault;

/// A timed analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// A forward pass, and two logits of the last token.
    Forward,
    /// A forward pass, and the sensitivities of a logit difference at all levels.
    Sensitivity,
    /// Two forward passes, and J after each h\[l, t\] below the last level is patched from one run into the other.
    Sweep,
    /// Responses of the field to 32 sources at level 0, over an existing run.
    Tangents,
    /// Both orders of the same responses.
    Jets,
    /// Eight Hessian-vector products over an existing run.
    Products,
    /// The sliced Green operator of all causal pairs, with eight random directions on either side.
    Slices,
}

/// Sources of [`Pass::Tangents`] and [`Pass::Jets`].
const SOURCES: usize = 32;
/// Directions of [`Pass::Products`] and [`Pass::Slices`].
const DIRECTIONS: usize = 8;

impl Pass {
    /// Returns its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward, two logits",
            Self::Sensitivity => "forward and sensitivity",
            Self::Sweep => "exhaustive patch sweep",
            Self::Tangents => "32 tangents",
            Self::Jets => "32 jets",
            Self::Products => "8 Hessian-vector products",
            Self::Slices => "all-site slices, k = 8",
        }
    }
}

/// The time of a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassTime {
    /// The pass.
    pub pass: Pass,
    /// Median seconds.
    pub seconds: f64,
    /// Least seconds.
    pub low: f64,
    /// Most seconds.
    pub high: f64,
    /// Number of timed runs.
    pub repeats: usize,
    /// Operations, by the cost bounds of its launches.
    pub flops: f64,
}

/// Returns the passes of a bench.
pub(super) fn kinds(quick: bool) -> Vec<Pass> {
    let mut all = vec![Pass::Forward, Pass::Sensitivity, Pass::Tangents, Pass::Jets, Pass::Products, Pass::Sweep];
    if !quick {
        all.push(Pass::Slices);
    }
    all
}

/// Times a pass repeatedly, for about ten seconds, or one second if `quick`.
///
/// One untimed run precedes, because drivers may compile during the first run.
pub(super) fn time(pass: Pass, model: &Model, options: &BenchOptions) -> Result<PassTime, Fault> {
    let (first, work) = counted(|| once(pass, model, options.tokens));
    first?;
    let budget = if options.quick { (1.0, 5) } else { (10.0, 25) };
    let seconds = repeated(budget, &mut || once(pass, model, options.tokens))?;
    Ok(PassTime {
        pass,
        seconds: seconds[seconds.len() / 2],
        low: seconds[0],
        high: seconds[seconds.len() - 1],
        repeats: seconds.len(),
        flops: work.flops,
    })
}

/// Repeats work until it has taken `budget` seconds, or `most` times. Returns the seconds of each run, in ascending
/// order.
pub(super) fn repeated(
    (budget, most): (f64, usize),
    once: &mut dyn FnMut() -> Result<f64, Fault>,
) -> Result<Vec<f64>, Fault> {
    let mut seconds = Vec::new();
    while seconds.is_empty() || (seconds.len() < most && seconds.iter().sum::<f64>() < budget) {
        seconds.push(once()?);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

pub(super) fn prompt(model: &Model, count: usize, seed: u32) -> Vec<u32> {
    let vocab = model.sizes().vocab as u32;
    (0..count as u32).map(|i| (i * 7919 + seed * 104_729) % vocab).collect()
}

/// Returns `many` sources at level 0, at one token after another.
pub(super) fn sources(model: &Model, count: usize, many: usize) -> Vec<[Source; 1]> {
    let vector = |k: usize| gaussian(k as u64, model.sizes().d);
    let at = |k: usize| Source { site: Site::ResidPre(0), token: k % count, vector: vector(k) };
    (0..many).map(|k| [at(k)]).collect()
}

/// Runs a pass once and returns its seconds. Its inputs are prepared before the clock starts.
pub(super) fn once(pass: Pass, model: &Model, count: usize) -> Result<f64, Fault> {
    let (tokens, other) = (prompt(model, count, 1), prompt(model, count, 2));
    let sizes = model.sizes();
    let (d, j) = (sizes.d, Observable::logit_diff(1, 2, count - 1));
    let run = || model.run(&tokens, &[]);
    let timed = |work: &mut dyn FnMut() -> Result<(), Fault>| -> Result<f64, Fault> {
        let start = Instant::now();
        work()?;
        model.device().wait()?;
        Ok(start.elapsed().as_secs_f64())
    };
    match pass {
        Pass::Forward => timed(&mut || {
            run()?.value(&j)?;
            Ok(())
        }),
        Pass::Sensitivity => timed(&mut || {
            run()?.linearize(Mode::Exact).gradient(&j)?;
            Ok(())
        }),
        Pass::Sweep => timed(&mut || {
            let (clean, corrupted) = (run()?, model.run(&other, &[])?);
            let field = clean.field()?;
            let places = (0..sizes.layers).flat_map(|level| (0..count).map(move |t| (level, t)));
            let put = |(level, t): (usize, usize)| {
                let value = field[(level * count + t) * d..][..d].to_vec();
                [Edit::put(Site::ResidPre(level), t, value)]
            };
            corrupted.values_under(&places.map(put).collect::<Vec<_>>(), &j)?;
            Ok(())
        }),
        Pass::Tangents | Pass::Jets => {
            let (run, sources) = (run()?, sources(model, count, SOURCES));
            model.device().wait()?;
            timed(&mut || {
                let linear = run.linearize(Mode::Exact);
                match pass {
                    Pass::Tangents => linear.jvp(&sources).map(drop)?,
                    _ => linear.jet(&sources).map(drop)?,
                }
                Ok(())
            })
        }
        Pass::Products => {
            let (run, sources) = (run()?, sources(model, count, DIRECTIONS));
            model.device().wait()?;
            timed(&mut || {
                run.linearize(Mode::Exact).hvp(&sources, &j)?;
                Ok(())
            })
        }
        Pass::Slices => {
            let run = run()?;
            model.device().wait()?;
            timed(&mut || {
                let linear = run.linearize(Mode::Exact);
                let pairs = PlacePairs::new(&run, None, None)?;
                let basis = Basis::Random(0);
                let context = BasisContext { rank: Some(DIRECTIONS), ..BasisContext::default() };
                let slice = Slice::new(&linear, pairs, [&basis, &basis], [context, context])?;
                slice.compute(&mut |_, _| {})?;
                Ok(())
            })
        }
    }
}
