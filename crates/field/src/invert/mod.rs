//! The choice of patches: an adjoint inverse problem.
//!
//! Given changes b of observables or of the field, the solver finds sources x at allowed sites with `A x = b`. A is the
//! first-order response: its rows are sensitivities and Green operators, and its transpose is reverse mode. The sources
//! of least energy are `x = A^T (A A^T)^-1 b`. Options limit the number of sites, bound the amplitudes, or add steps of
//! Newton's method. A forward pass of the model with the sources measures the change: `achieved` is not a prediction.

mod achieved;
mod baseline;
mod goal;
mod newton;
mod problem;
mod proximal;
mod sparse;

use resolvent_model::{Linearization, Mode, ProbedRun, Run, Site, Source, along_of, captures};

use crate::certificate::{ADJOINT, Certificate, adjoint_all, dot, norm};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::linear_map::LinearMap;
use crate::place::{Place, shape};
use crate::prompts::Outcomes;
use crate::sensitivity::chi_all;

use achieved::{Tried, achieved};
pub use goal::Goal;
use goal::{System, observables};
use newton::{Newton, Shape};
use problem::Problem;

/// Selects which sources are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    invert_all(&[InvertCase { run, goals, sites }], options)?.remove(0)
}

/// A run, goals, and the places where sources may act.
#[derive(Clone, Copy)]
pub struct InvertCase<'a> {
    /// The run.
    pub run: &'a Run,
    /// The wanted changes.
    pub goals: &'a [Goal],
    /// Places where sources may act.
    pub sites: &'a [Place],
}

/// Finds sources in several runs of one model, and returns a result for each, or why it has none. See [`invert`].
///
/// Runs of one batch share the passes that sensitivities, achieved changes and checks take. Steps of Newton's method,
/// and solutions for goals of the field, take passes of one run.
///
/// # Errors
/// An observable that does not fit its run, or a device error.
pub fn invert_all(cases: &[InvertCase<'_>], options: &InvertOptions) -> Outcomes {
    let Some(levels) = cases.first().map(|case| case.run.levels()) else { return Ok(Vec::new()) };
    let observed = cases.iter().flat_map(|case| observables(case.goals).map(|observable| (case.run, observable)));
    let mut chi = chi_all(&observed.collect::<Vec<_>>())?.into_iter();
    let fields = captures(&cases.iter().map(|case| (case.run, &levels[..])).collect::<Vec<_>>())?;
    let linear: Vec<Linearization<'_>> = cases.iter().map(|case| case.run.linearize(Mode::Exact)).collect();
    let mut solved = Vec::with_capacity(cases.len());
    for ((case, linear), field) in cases.iter().zip(&linear).zip(fields) {
        let chi: Vec<Vec<f32>> = chi.by_ref().take(observables(case.goals).count()).collect();
        solved.push(Solved::new(*case, linear, (&field.concat(), &chi), options));
    }
    let open: Vec<&Solved<'_>> = solved.iter().flatten().collect();
    let tried = open.iter().map(|solved| solved.tried()).collect::<Vec<_>>();
    let (achieved, forward) = (achieved(&tried)?, forward(&open)?);
    let adjoints = adjoint_all(Mode::Exact, &open.iter().map(|solved| solved.case.run).collect::<Vec<_>>(), 1)?;
    let mut rest = achieved.into_iter().zip(forward.into_iter().zip(adjoints));
    let outcome = |solved: Result<Solved<'_>>| {
        let solved = solved?;
        // There is one for each case that has a solution.
        let Some((achieved, (forward, adjoint))) = rest.next() else { return solved.result(&[], options) };
        solved.result(&achieved, options)?.certify(forward)?.certify(adjoint)
    };
    Ok(solved.into_iter().map(outcome).collect())
}

/// Sources that were found, and the baselines.
struct Solved<'a> {
    case: InvertCase<'a>,
    system: System<'a>,
    /// |h| at each site.
    sizes: Vec<f64>,
    x: Vec<f32>,
    baselines: Vec<baseline::Baseline>,
}

impl<'a> Solved<'a> {
    /// Solves a case, whose run has the field `h [L+1, T, d]` and the sensitivities `chi` of its observables.
    fn new(
        case: InvertCase<'a>,
        linear: &'a Linearization<'a>,
        (h, chi): (&[f32], &[Vec<f32>]),
        options: &InvertOptions,
    ) -> Result<Self> {
        let InvertCase { run, goals, sites } = case;
        let (_, tokens, d) = shape(run);
        let mut system = System::new(linear, (goals, chi), sites)?;
        if !matches!(options.method, Method::LeastEnergy) {
            system = system.with_rows()?;
        }
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
        let mut baselines = baseline::all(&system, (sparse::sites(&x, d).len(), options.seed))?;
        for baseline in &mut baselines {
            let start = std::mem::take(&mut baseline.x);
            baseline.x = newton.steps(start, &baseline.shape, None, options.refine)?;
        }
        Ok(Self { case, system, sizes, x, baselines })
    }

    /// Returns the sources that were found, and those of the baselines.
    fn tried(&self) -> Tried<'_> {
        let InvertCase { run, goals, sites } = self.case;
        Tried {
            run,
            goals,
            sites,
            x: std::iter::once(&self.x).chain(self.baselines.iter().map(|b| &b.x)).map(|x| &x[..]).collect(),
        }
    }

    /// Returns the result without checks. `achieved` are the changes by the sources that were found, and by those of
    /// each baseline.
    fn result(&self, achieved: &[Vec<f32>], options: &InvertOptions) -> Result<Labelled> {
        let Self { case: InvertCase { run, goals, sites }, system, sizes, x, baselines } = self;
        let (d, rows) = (system.width(), system.rows());
        let predicted = system.apply(std::slice::from_ref(x))?.remove(0);
        let miss = |got: &[f32]| {
            let rest: Vec<f32> = system.target.iter().zip(got).map(|(b, a)| b - a).collect();
            norm(&rest) / norm(&system.target)
        };
        let (found, others) = achieved.split_first().map_or((&[][..], &[][..]), |(found, others)| (&found[..], others));
        let (missed_first_order, missed) = (miss(&predicted), miss(found));
        let active = sparse::sites(x, d);
        let mut result = Labelled::new("invert", run)
            .with("sites", &[("site", active.len()), ("place", 2)], places(sites, &active))
            .with("sources", &[("site", active.len()), ("d", d)], at(x, &active, d))
            .with("relative", &[("site", active.len())], relative(x, &active, sizes, d))
            .with("target", &[("goal", rows)], system.target.clone())
            .with("predicted", &[("goal", rows)], predicted)
            .with("achieved", &[("goal", rows)], found.to_vec())
            .with("energy", &[("value", 1)], vec![norm(x).powi(2) as f32]);
        let of_baselines: Vec<Vec<f32>> = baselines.iter().map(|baseline| baseline.x.clone()).collect();
        let energies = of_baselines.iter().map(|y| norm(y).powi(2) as f32).collect();
        let names: Vec<&str> = baselines.iter().map(|b| b.name).collect();
        let axes = [("baseline", baselines.len()), ("goal", rows)];
        result = result
            .with("baseline_energy", &axes[..1], energies)
            .with("baseline_predicted", &axes, predictions(system, &of_baselines)?)
            .with("baseline_achieved", &axes, others.concat())
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
        Ok(result)
    }
}

/// Returns the first-order changes of each set of sources.
fn predictions(system: &System<'_>, sets: &[Vec<f32>]) -> Result<Vec<f32>> {
    let each = sets.iter().map(|x| Ok(system.apply(std::slice::from_ref(x))?.remove(0)));
    Ok(each.collect::<Result<Vec<Vec<f32>>>>()?.concat())
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

/// Checks the predicted change of each observable: by forward mode through the blocks, and by the sensitivities. Runs
/// of one batch share passes.
fn forward(solved: &[&Solved<'_>]) -> Result<Vec<Certificate>> {
    let sources = |Solved { case: InvertCase { run, sites, .. }, x, .. }: &&Solved<'_>| -> Vec<Source> {
        let sizes = run.model().sizes();
        let each = sites.iter().zip(x.chunks(sizes.d));
        let source = |(&(level, token), s): (&Place, &[f32])| Source {
            site: Site::level(level, sizes),
            token,
            vector: s.to_vec(),
        };
        each.map(source).collect()
    };
    let sources: Vec<Vec<Source>> = solved.iter().map(sources).collect();
    let probed = solved.iter().zip(&sources).flat_map(|(solved, sources)| {
        let run = solved.case.run;
        observables(solved.case.goals).map(move |observable| ProbedRun { run, sources, observable })
    });
    let mut along = along_of(&probed.collect::<Vec<_>>())?.into_iter();
    let mut check = |Solved { system, x, .. }: &&Solved<'_>| {
        let mut worst = 0.0;
        for (chi, along) in system.sensitivities().iter().zip(along.by_ref()) {
            let apart = (along.first - dot(chi, x)).abs() / (norm(chi) * norm(x)).max(f64::MIN_POSITIVE);
            worst = crate::certificate::worse(worst, apart);
        }
        Certificate::new("forward_reverse", worst, ADJOINT)
    };
    Ok(solved.iter().map(&mut check).collect())
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
