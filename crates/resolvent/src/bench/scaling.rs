//! How cost grows: times and operations of passes over the sizes that a user chooses, on models with random weights.

use std::time::Instant;

use resolvent_engine::{Device, Options, counted};
use resolvent_field::{Case, EdgeOptions, edges};
use resolvent_model::{
    Config, Edit, Mode, Model, Observable, RandomWeights, RunOptions, Site, gaussian, path_sites, tiny,
};
use serde_json::{Value, json};

use super::SCHEMA;
use super::passes::{self, repeated};
use crate::fault::Fault;
use crate::open::open;

/// The sizes of a measurement; one of them varies along a curve.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    blocks: usize,
    width: usize,
    tokens: usize,
    sources: usize,
    prompts: usize,
}

/// Sizes where they do not vary.
const BASE: Sizes = Sizes { blocks: 4, width: 256, tokens: 32, sources: 1, prompts: 1 };
/// Width of a head.
const HEAD: usize = 64;
const VOCABULARY: usize = 1024;
/// Numbers of sizes at the end of a curve from which its slopes are computed: smaller ones are mostly fixed cost.
const LAST: usize = 3;

/// The work of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Forward,
    Sensitivity,
    Sweep,
    Tangents,
    Prompts,
    Edges,
}

/// A curve before it is measured.
struct Plan {
    name: &'static str,
    axis: &'static str,
    work: Work,
    values: &'static [usize],
    /// The sizes for a value.
    at: fn(usize) -> Sizes,
}

const TOKENS: &[usize] = &[16, 32, 64, 128, 256, 512];

/// The curves, in the order of the figure.
const PLANS: [Plan; 8] = [
    Plan {
        name: "forward",
        axis: "tokens T",
        work: Work::Forward,
        values: TOKENS,
        at: |n| Sizes { tokens: n, ..BASE },
    },
    Plan {
        name: "forward and sensitivity",
        axis: "tokens T",
        work: Work::Sensitivity,
        values: TOKENS,
        at: |n| Sizes { tokens: n, ..BASE },
    },
    Plan {
        name: "exhaustive sweep",
        axis: "tokens T",
        work: Work::Sweep,
        values: &[8, 16, 32, 64, 128],
        at: |n| Sizes { tokens: n, ..BASE },
    },
    Plan {
        name: "forward",
        axis: "blocks L",
        work: Work::Forward,
        values: &[2, 4, 8, 16, 32],
        at: |n| Sizes { blocks: n, ..BASE },
    },
    Plan {
        name: "forward",
        axis: "width d",
        work: Work::Forward,
        values: &[64, 128, 256, 512, 1024],
        at: |n| Sizes { width: n, ..BASE },
    },
    Plan {
        name: "tangents",
        axis: "sources",
        work: Work::Tangents,
        values: &[1, 4, 16, 64, 256],
        at: |n| Sizes { sources: n, ..BASE },
    },
    Plan {
        name: "forward",
        axis: "prompts",
        work: Work::Prompts,
        values: &[1, 4, 16, 64, 256],
        at: |n| Sizes { prompts: n, tokens: 16, ..BASE },
    },
    Plan {
        name: "exact patches of all edges",
        axis: "edges",
        work: Work::Edges,
        values: &[1, 2, 3, 4, 6],
        at: |n| Sizes { blocks: n, tokens: 8, ..BASE },
    },
];

/// A measured size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalingPoint {
    /// The size along the curve's axis.
    pub size: usize,
    /// Median seconds.
    pub seconds: f64,
    /// Operations, by the cost bounds of the launches.
    pub flops: f64,
}

/// Times of one kind of work over one size.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingCurve {
    /// The work.
    pub name: &'static str,
    /// The size that varies.
    pub axis: &'static str,
    /// The measurements, smallest size first.
    pub points: Vec<ScalingPoint>,
}

impl ScalingCurve {
    /// Returns the slope of ln seconds over ln size at the last three sizes: the exponent of growth.
    pub fn slope(&self) -> f64 {
        self.slope_of(|point| point.seconds)
    }

    /// Returns the same slope of the operations.
    pub fn slope_of_operations(&self) -> f64 {
        self.slope_of(|point| point.flops)
    }

    fn slope_of(&self, of: fn(&ScalingPoint) -> f64) -> f64 {
        let last = &self.points[self.points.len().saturating_sub(LAST)..];
        let mean = |value: &dyn Fn(&ScalingPoint) -> f64| last.iter().map(value).sum::<f64>() / last.len() as f64;
        let (x, y) = (|point: &ScalingPoint| (point.size as f64).ln(), |point: &ScalingPoint| of(point).ln());
        let (mx, my) = (mean(&x), mean(&y));
        let product: f64 = last.iter().map(|point| (x(point) - mx) * (y(point) - my)).sum();
        product / last.iter().map(|point| (x(point) - mx).powi(2)).sum::<f64>()
    }
}

/// The curves of a device.
#[derive(Clone, Debug)]
pub struct Scaling {
    /// Name, backend and driver of the device.
    pub device: String,
    /// `gpu` or `host`.
    pub executor: &'static str,
    /// The curves.
    pub curves: Vec<ScalingCurve>,
}

impl Scaling {
    /// Returns the JSON that is stored in files; the page on growth describes it.
    pub fn to_json(&self) -> Value {
        let curve = |curve: &ScalingCurve| {
            let point = |p: &ScalingPoint| json!({ "size": p.size, "seconds": p.seconds, "gflop": p.flops / 1e9 });
            json!({
                "name": curve.name, "axis": curve.axis, "slope": curve.slope(),
                "slope_of_operations": curve.slope_of_operations(),
                "points": curve.points.iter().map(point).collect::<Vec<_>>(),
            })
        };
        json!({
            "schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "device": self.device, "executor": self.executor,
            "curves": self.curves.iter().map(curve).collect::<Vec<_>>(),
        })
    }
}

/// Measures how the cost of passes grows. If `quick`, the two largest sizes of each curve are left out. `report`
/// receives the name of each step.
///
/// # Errors
/// The device does not open, a model does not fit, or the device fails.
pub fn scaling(options: &Options, quick: bool, report: &mut dyn FnMut(&str)) -> Result<Scaling, Fault> {
    let device = open(options)?;
    let info = device.info();
    let mut curves = Vec::with_capacity(PLANS.len());
    for plan in &PLANS {
        let values = if quick { &plan.values[..plan.values.len() - 2] } else { plan.values };
        let mut points = Vec::with_capacity(values.len());
        for &value in values {
            report(&format!("{} over {}: {value}", plan.name, plan.axis));
            points.push(point(&device, plan, value, quick)?);
        }
        curves.push(ScalingCurve { name: plan.name, axis: plan.axis, points });
    }
    Ok(Scaling {
        device: format!("{}, {}, {}", info.name, info.backend, info.driver),
        executor: if info.is_host() { "host" } else { "gpu" },
        curves,
    })
}

/// Measures one size: the median of up to eleven runs, for about a second.
fn point(device: &Device, plan: &Plan, value: usize, quick: bool) -> Result<ScalingPoint, Fault> {
    let sizes = (plan.at)(value);
    let config = Config {
        n_layer: sizes.blocks,
        n_embd: sizes.width,
        n_head: (sizes.width / HEAD).max(1),
        n_inner: None,
        vocab_size: VOCABULARY,
        n_positions: sizes.tokens.max(tiny().n_positions),
        ..tiny()
    };
    let model = Model::random(device, config, RandomWeights::new(1).with_std(0.02))?;
    // One untimed run precedes, because drivers may compile during the first run.
    let (first, work) = counted(|| once(plan.work, &model, sizes));
    let size = if plan.work == Work::Edges { first?.1 } else { value };
    let budget = if quick { (0.1, 3) } else { (1.0, 11) };
    let seconds = repeated(budget, &mut || Ok(once(plan.work, &model, sizes)?.0))?;
    Ok(ScalingPoint { size, seconds: seconds[seconds.len() / 2], flops: work.flops })
}

/// Runs the work once. Returns its seconds, and the number of edges where it has some.
fn once(work: Work, model: &Model, sizes: Sizes) -> Result<(f64, usize), Fault> {
    let prompt = |seed: usize| passes::prompt(model, sizes.tokens, seed as u32);
    let (tokens, j) = (prompt(1), Observable::logit_diff(1, 2, sizes.tokens - 1));
    let prompts: Vec<Vec<u32>> = (0..sizes.prompts).map(prompt).collect();
    let prepared = RunOptions { sites: path_sites(model.sizes()), ..RunOptions::default() };
    // Inputs that exist before the clock starts.
    let base = match work {
        Work::Tangents | Work::Sweep => vec![model.run(&tokens, &[])?],
        Work::Edges => vec![model.run_with(&tokens, &prepared)?, model.run_with(&prompt(2), &prepared)?],
        Work::Forward | Work::Sensitivity | Work::Prompts => Vec::new(),
    };
    let sources = passes::sources(model, sizes.tokens, sizes.sources);
    let places = (0..sizes.blocks).flat_map(|level| (0..sizes.tokens).map(move |token| (level, token)));
    let puts: Vec<[Edit; 1]> = places
        .map(|(level, token)| [Edit::put(Site::ResidPre(level), token, gaussian(level as u64, model.sizes().d))])
        .collect();
    model.device().wait()?;
    let (start, mut found) = (Instant::now(), 0);
    match work {
        Work::Forward => drop(model.run(&tokens, &[])?.value(&j)?),
        Work::Sensitivity => drop(model.run(&tokens, &[])?.linearize(Mode::Exact).gradient(&j)?),
        Work::Sweep => drop(base[0].values_under(&puts, &j)?),
        Work::Tangents => drop(base[0].linearize(Mode::Exact).jvp(&sources)?),
        Work::Prompts => drop(model.run_all(&prompts, &RunOptions::default())?),
        Work::Edges => {
            let case = Case { clean: &base[0], corrupted: &base[1], observable: &j };
            let result = edges(&case, &EdgeOptions { exact: true, ..EdgeOptions::default() })?;
            found = result.array("exact").map_or(0, |array| array.data.len());
        }
    }
    model.device().wait()?;
    Ok((start.elapsed().as_secs_f64(), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_the_exponent_of_the_last_sizes() {
        let point = |size: usize| {
            let n = size as f64;
            ScalingPoint { size, seconds: if size < 8 { 1.0 } else { 3e-3 * n.powf(1.5) }, flops: 2.0 * n * n }
        };
        let curve = ScalingCurve { name: "n", axis: "x", points: [1, 2, 8, 16, 64].map(point).to_vec() };
        assert!((curve.slope() - 1.5).abs() < 1e-12 && (curve.slope_of_operations() - 2.0).abs() < 1e-12);
    }
}
