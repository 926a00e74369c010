//! The choice of patches: an adjoint inverse problem.
//!
//! Given changes b of observables or of the field, the solver finds sources x at allowed sites with `A x = b`. A is the
//! first-order response: its rows are sensitivities and Green operators, and its transpose is reverse mode. The sources
//! of least energy are `x = A^T (A A^T)^-1 b`. Options limit the number of sites, bound the amplitudes, or add steps of
//! Newton's method. A forward pass of the model with the sources measures the change: `achieved` is not a prediction.

mod baseline;
mod goal;
mod newton;
mod problem;
mod proximal;
mod sparse;

use resolvent_model::{Edit, Linearization, Mode, Run, Site, Source};

use crate::certificate::{ADJOINT, Certificate, adjoint, dot, norm};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::linear_map::LinearMap;
use crate::place::{Place, shape};

pub use goal::Goal;
use goal::System;
use newton::{Newton, Shape};
use problem::Problem;

/// Selects which sources are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Sources of least energy over all allowed sites.
    LeastEnergy,
    /// Sources at up to this many sites, chosen one after another.
    Greedy(usize),
    /// Sources at up to this many sites, chosen by the group lasso.
    Lasso(usize),
}

/// Options of [`invert`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvertOptions {
    /// Which sources are searched for.
    pub method: Method,
    /// Largest length of a source, as a share of |h\[l, t\]|. The choice of sites and the steps respect it.
    pub limit: Option<f32>,
    /// Weight of the energy against the goal. With 0, the goal is met exactly if possible.
    pub damp: f64,
    /// Steps of Newton's method, each linearised at the run with the sources found so far. The baselines take as many
    /// steps.
    pub refine: usize,
    /// Seed of the random baseline.
    pub seed: u64,
}

impl Default for InvertOptions {
    fn default() -> Self {
        Self { method: Method::LeastEnergy, limit: None, damp: 0.0, refine: 0, seed: 0 }
    }
}

/// Finds sources at `sites` that cause the changes that `goals` name.
///
/// Arrays of the sources: `sites [N, 2]`, `sources [N, d]`, `relative [N]` = |s| / |h\[l, t\]| and `energy [1]` = sum
/// of |s|^2. Arrays of the changes: `target [M]`, `predicted [M]` (first order) and `achieved [M]` (by a forward pass).
/// M counts one element for each observable and d for each place of the field.
///
/// Arrays of the baselines that the metadata name: `baseline_energy [B]`, `baseline_predicted [B, M]` and
/// `baseline_achieved [B, M]`. Each baseline is scaled to the same predicted change.
///
/// After steps of Newton's method, `predicted` is the first-order change for the final sources at the unedited run. The
/// baselines take as many steps; those of `uniform` and `random` change their common factor only. The metadata have the
/// distances of `predicted` and `achieved` from the goal, relative to its length (`missed_first_order`, `missed`).
///
/// Certificates: the adjoint and forward mode predict the same change of each observable; the adjoint identity.
///
/// # Errors
/// Goals or sites that do not fit, goals that no allowed site can reach, a device error, or a check that fails.
pub fn invert(run: &Run, goals: &[Goal], sites: &[Place], options: &InvertOptions) -> Result<Labelled> {
    let (_, tokens, d) = shape(run);
    let linear = run.linearize(Mode::Exact);
    let system = System::new(&linear, goals, sites)?;
    let h = run.field()?;
    let sizes: Vec<f64> = sites.iter().map(|&(l, t)| norm(&h[(l * tokens + t) * d..][..d])).collect();
    if system.gain(&system.target)?.iter().all(|p| *p == 0.0) {
        return Err(Error::Input(
            "no allowed site reaches the goal: a source acts only at later levels and tokens; choose earlier sites"
                .to_owned(),
        ));
    }
    let bounds: Option<Vec<f64>> =
        options.limit.map(|limit| sizes.iter().map(|size| f64::from(limit) * size).collect());
    let problem = Problem { system: &system, bounds: bounds.as_deref(), damp: options.damp };
    let newton = Newton { run, goals, sites, target: &system.target };
    let mut x = solve(&problem, options.method)?;
    let shape = Shape::Sites(sparse::sites(&x, d));
    x = newton.steps(x, &shape, bounds.as_deref(), options.refine)?;

    let predicted = system.apply(std::slice::from_ref(&x))?.remove(0);
    let achieved = achieved(run, goals, sites, &x)?;
    let miss = |got: &[f32]| {
        let rest: Vec<f32> = system.target.iter().zip(got).map(|(b, a)| b - a).collect();
        norm(&rest) / norm(&system.target)
    };
    let (missed_first_order, missed) = (miss(&predicted), miss(&achieved));
    let active = sparse::sites(&x, d);
    let energy = norm(&x).powi(2);
    let mut baselines = baseline::all(&system, (active.len(), options.seed))?;
    for baseline in &mut baselines {
        let start = std::mem::take(&mut baseline.x);
        baseline.x = newton.steps(start, &baseline.shape, None, options.refine)?;
    }
    let mut result = Labelled::new("invert", run)
        .with("sites", &[("site", active.len()), ("place", 2)], places(sites, &active))
        .with("sources", &[("site", active.len()), ("d", d)], at(&x, &active, d))
        .with("relative", &[("site", active.len())], relative(&x, &active, &sizes, d))
        .with("target", &[("goal", system.rows())], system.target.clone())
        .with("predicted", &[("goal", system.rows())], predicted.clone())
        .with("achieved", &[("goal", system.rows())], achieved)
        .with("energy", &[("value", 1)], vec![energy as f32]);
    let mut tables = [Vec::new(), Vec::new(), Vec::new()];
    for baseline::Baseline { x: y, .. } in &baselines {
        tables[0].push(norm(y).powi(2) as f32);
        tables[1].extend(system.apply(std::slice::from_ref(y))?.remove(0));
        tables[2].extend(self::achieved(run, goals, sites, y)?);
    }
    let [energies, predictions, achievements] = tables;
    let names: Vec<&str> = baselines.iter().map(|b| b.name).collect();
    let axes = [("baseline", baselines.len()), ("goal", system.rows())];
    result = result
        .with("baseline_energy", &axes[..1], energies)
        .with("baseline_predicted", &axes, predictions)
        .with("baseline_achieved", &axes, achievements)
        .note("baselines", names.join(","))
        .note("goals", goals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        .note("method", format!("{:?}", options.method))
        .note("refine", options.refine.to_string())
        .note("missed_first_order", format!("{missed_first_order:.2e}"))
        .note("missed", format!("{missed:.2e}"))
        .note("seed", options.seed.to_string());
    if let Some(limit) = options.limit {
        result = result.note("limit", limit.to_string());
    }
    result.certify(forward(&linear, goals, sites, &x)?)?.certify(adjoint(&linear, 1)?)
}

/// Returns the sources over all sites, before any step of Newton's method.
fn solve(problem: &Problem<'_>, method: Method) -> Result<Vec<f32>> {
    let all: Vec<usize> = (0..problem.system.sites().len()).collect();
    let solution = match method {
        Method::LeastEnergy => problem.solve_and_turn(&all)?,
        Method::Greedy(0) | Method::Lasso(0) => {
            return Err(Error::Input("sources need at least one site; see --sparse".to_owned()));
        }
        Method::Greedy(count) => sparse::greedy(problem, count.min(all.len()))?,
        Method::Lasso(count) => sparse::lasso(problem, count)?,
    };
    Ok(problem.spread(&solution))
}

/// Returns the sources at `sites` that are not zero, as edits.
fn edits(run: &Run, sites: &[Place], x: &[f32]) -> Vec<Edit> {
    let sizes = run.model().sizes();
    let each = sites.iter().zip(x.chunks(sizes.d)).filter(|(_, s)| norm(s) > 0.0);
    each.map(|(&(level, token), s)| Edit::add(Site::level(level, sizes), token, s.to_vec())).collect()
}

/// Returns the changes that the sources cause in a forward pass of the model.
fn achieved(run: &Run, goals: &[Goal], sites: &[Place], x: &[f32]) -> Result<Vec<f32>> {
    let (_, tokens, d) = shape(run);
    let edits = edits(run, sites, x);
    let (mut changes, mut field) = (Vec::new(), Vec::new());
    for goal in goals {
        match goal {
            Goal::Observable { observable, .. } => {
                let after = run.values_under(&[&edits], observable)?[0];
                changes.push((after - run.value(observable)?) as f32);
            }
            Goal::Field { place: (level, token), .. } => {
                let before = &run.field()?[(level * tokens + token) * d..][..d];
                let mut change = vec![0.0; d];
                run.fields_under(&[&edits], &[Site::level(*level, run.model().sizes())], &mut |chunk| {
                    let row = chunk.row(*token, d);
                    for (change, (after, before)) in change.iter_mut().zip(row.into_iter().flatten().zip(before)) {
                        *change = after - before;
                    }
                })?;
                field.extend(change);
            }
        }
    }
    changes.extend(field);
    Ok(changes)
}

/// Checks the predicted change of each observable: by forward mode through the blocks, and by the sensitivities.
fn forward(linear: &Linearization<'_>, goals: &[Goal], sites: &[Place], x: &[f32]) -> Result<Certificate> {
    let run = linear.run();
    let (_, tokens, d) = shape(run);
    let sizes = run.model().sizes();
    let sources: Vec<Source> = sites
        .iter()
        .zip(x.chunks(d))
        .map(|(&(level, token), s)| Source { site: Site::level(level, sizes), token, vector: s.to_vec() })
        .collect();
    let mut worst = 0.0;
    for goal in goals {
        let Goal::Observable { observable, .. } = goal else { continue };
        let chi = linear.gradient(observable)?;
        let forward = linear.along(&[&sources[..]], observable)?[0].first;
        let at = sites.iter().flat_map(|&(l, t)| &chi[(l * tokens + t) * d..][..d]);
        let chi: Vec<f32> = at.copied().collect();
        let apart = (forward - dot(&chi, x)).abs() / (norm(&chi) * norm(x)).max(f64::MIN_POSITIVE);
        worst = crate::certificate::worse(worst, apart);
    }
    Ok(Certificate::new("forward_reverse", worst, ADJOINT))
}

fn places(sites: &[Place], active: &[usize]) -> Vec<f32> {
    active.iter().flat_map(|&i| [sites[i].0 as f32, sites[i].1 as f32]).collect()
}

fn at(x: &[f32], active: &[usize], d: usize) -> Vec<f32> {
    active.iter().flat_map(|&i| x[i * d..(i + 1) * d].to_vec()).collect()
}

fn relative(x: &[f32], active: &[usize], sizes: &[f64], d: usize) -> Vec<f32> {
    active.iter().map(|&i| (norm(&x[i * d..(i + 1) * d]) / sizes[i]) as f32).collect()
}
