//! Interactions of pairs of sources: the part of their joint response that the sum of their own responses lacks.
//!
//! With `e(s) = J(h + s) - J(h)`, the interaction `e(s1 + s2) - e(s1) - e(s2)` is `s1^T H s2` to second order. N
//! Hessian-vector products give all N^2 of these terms; N (N + 1) / 2 joint runs give the actual interactions.
//!
//! Two patches can be joined in two ways; see [`Joint`].

mod patches;
mod places;
mod put;

use std::fmt;
use std::str::FromStr;

use resolvent_model::{Edit, Mode, Observable, ProbedRun, Run, Site, Source, hvp_of};

use crate::certificate::{Certificate, dot, narrow, norm, symmetry, worse};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;
use crate::stats::Pairs;
use crate::superposition::{Superposed, superposition_all};

pub use places::{Interacting, PatchPlace};

/// How two patches are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// Both clean values are put in place. At its own place, the second patch overwrites what the first one does. So
    /// patches along one path interact already to first order.
    Put,
    /// Both displacements `y_clean - y_corrupted` are added. The place of the second patch then has its displacement on
    /// top of what the first patch does there.
    Add,
}

impl Joint {
    /// Returns the name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Add => "add",
        }
    }
}

impl fmt::Display for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Joint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Put, Self::Add]
            .into_iter()
            .find(|joint| joint.name() == text)
            .ok_or_else(|| Error::Input(format!("invalid way to join patches `{text}`: expected put or add")))
    }
}

/// Tolerance of `|<s1, H s2> - <s2, H s1>|` over `|s1| |H s2|`: the same number from two products.
pub(crate) const SAME_PAIR: f64 = 2e-5;

/// Computes the interactions of all pairs of `sources`, which are added at their places.
///
/// Arrays: `interaction [N, N]` = s_i^T H s_j, `interaction_actual [N, N]` from joint runs, and `single [N]` = e(s_i).
/// On the diagonal a source is paired with itself: `e(2 s) - 2 e(s)`. The metadata list the sites as `SITE@TOKEN`,
/// separated by blanks.
///
/// Certificates: the two triangles of the map agree, the Hessian is symmetric along random directions, and joint runs
/// agree with the same runs alone.
///
/// # Errors
/// No sources, a source that does not fit, a device error, or a check that fails.
pub fn interactions(run: &Run, observable: &Observable, sources: &[Source]) -> Result<Labelled> {
    interactions_all(&[InteractionCase { run, observable, sources }])?.remove(0)
}

/// Sources of one of several runs, all pairs of which interact.
#[derive(Clone, Copy)]
pub struct InteractionCase<'a> {
    /// The run.
    pub run: &'a Run,
    /// The observable.
    pub observable: &'a Observable,
    /// The sources, one or more.
    pub sources: &'a [Source],
}

/// Computes the interactions of each case as [`interactions`] does, and returns a result for each, or why it has none.
/// Runs of one batch share passes: the Hessian-vector products of all sources, and all joint runs.
///
/// # Errors
/// A case without sources, a source or an observable that does not fit its run, or a device error.
pub fn interactions_all(cases: &[InteractionCase<'_>]) -> Result<Vec<Result<Labelled>>> {
    if cases.iter().any(|case| case.sources.is_empty()) {
        return Err(Error::Input("interactions need one source or more".to_owned()));
    }
    let found = products(cases)?;
    let edit = |s: &Source| Edit::add(s.site, s.token, s.vector.clone());
    let edits: Vec<Vec<Edit>> = cases.iter().map(|case| case.sources.iter().map(edit).collect()).collect();
    let compared = found.iter().map(|(map, _)| {
        let agreed = |actual: &[f32], floor: f64| Pairs::above(&narrow(map), actual, floor);
        (&map[..], agreed)
    });
    let compared: Vec<_> = compared.collect();
    let joints = cases.iter().zip(&edits).zip(&compared).map(|((case, edits), (map, agreed))| Joined {
        run: case.run,
        observable: case.observable,
        edits,
        map,
        agreed,
    });
    let results = joined(&joints.collect::<Vec<_>>())?;
    let checked = |((result, (_, triangles)), case): ((Result<Labelled>, _), &InteractionCase<'_>)| {
        let check = symmetry(&case.run.linearize(Mode::Exact), case.observable, 1)?;
        result?.certify(triangles)?.certify(check)
    };
    Ok(results.into_iter().zip(found).zip(cases).map(checked).collect())
}

/// Returns `s_i^T H s_j` of all pairs of each case, and the check that both triangles of the map agree.
fn products(cases: &[InteractionCase<'_>]) -> Result<Vec<(Vec<f64>, Certificate)>> {
    let mut sites: Vec<Site> = cases.iter().flat_map(|case| case.sources.iter().map(|s| s.site)).collect();
    sites.sort_unstable();
    sites.dedup();
    let probed = cases.iter().flat_map(|case| {
        let InteractionCase { run, observable, sources } = *case;
        sources.iter().map(move |source| ProbedRun { run, sources: std::slice::from_ref(source), observable })
    });
    // The case of each product, and its number there.
    let places = cases.iter().enumerate().flat_map(|(c, case)| (0..case.sources.len()).map(move |j| (c, j)));
    let (probed, places): (Vec<_>, Vec<_>) = probed.zip(places).unzip();
    let empty = |case: &InteractionCase<'_>| vec![[0.0f64; 2]; case.sources.len() * case.sources.len()];
    // By pair: the product, and the size of its factors.
    let mut maps: Vec<Vec<[f64; 2]>> = cases.iter().map(empty).collect();
    hvp_of(&probed, &sites, &mut |chunk| {
        let (c, j) = places[chunk.sequence];
        let (sources, map) = (cases[c].sources, &mut maps[c]);
        for (i, source) in sources.iter().enumerate().filter(|(_, s)| s.site == sites[chunk.site]) {
            if let Some(h) = chunk.row(source.token, source.vector.len()) {
                map[i * sources.len() + j] = [dot(&source.vector, h), norm(&source.vector) * norm(h)];
            }
        }
    })?;
    let checked = maps.iter().zip(cases).map(|(map, case)| {
        let n = case.sources.len();
        let differences = (0..n * n).map(|k| {
            let ([value, size], [mirrored, other]) = (map[k], map[k % n * n + k / n]);
            (value - mirrored).abs() / size.max(other).max(f64::MIN_POSITIVE)
        });
        let triangles = Certificate::new("triangles", differences.fold(0.0, worse), SAME_PAIR);
        (map.iter().map(|pair| pair[0]).collect(), triangles)
    });
    Ok(checked.collect())
}

/// Selects which predictions to compare with the actual interactions, which are known to a noise floor.
type Compare<'a> = &'a dyn Fn(&[f32], f64) -> Pairs;

/// Edits whose pairs are run jointly, with the predicted map of their interactions.
struct Joined<'a> {
    run: &'a Run,
    observable: &'a Observable,
    edits: &'a [Edit],
    map: &'a [f64],
    /// Selects the pairs of the map to compare.
    agreed: Compare<'a>,
}

/// Runs all pairs of edits of each case jointly and returns their interactions beside the predicted map.
fn joined(cases: &[Joined<'_>]) -> Result<Vec<Result<Labelled>>> {
    let pairs = |n: usize| -> Vec<(usize, usize)> { (0..n).flat_map(|i| (i..n).map(move |j| (i, j))).collect() };
    let pairs: Vec<Vec<(usize, usize)>> = cases.iter().map(|case| pairs(case.edits.len())).collect();
    let superposed = cases.iter().zip(&pairs).map(|(case, pairs)| {
        let Joined { run, observable, edits: sources, .. } = *case;
        Superposed { run, observable, sources, pairs }
    });
    let joint = superposition_all(&superposed.collect::<Vec<_>>())?;
    let each = cases.iter().zip(&pairs).zip(joint);
    Ok(each.map(|((case, pairs), joint)| case.result(pairs, joint?)).collect())
}

impl Joined<'_> {
    /// Returns the result, given the joint responses of the pairs.
    fn result(&self, pairs: &[(usize, usize)], joint: Labelled) -> Result<Labelled> {
        let n = self.edits.len();
        let of = |name: &str| joint.array(name).map_or(&[][..], |a| &a.data);
        let mut actual = vec![0.0f32; n * n];
        for (&(i, j), &x) in pairs.iter().zip(of("interaction")) {
            (actual[i * n + j], actual[j * n + i]) = (x, x);
        }
        // An interaction combines the values of four runs.
        let floor = 2.0 * joint.number(noise::NAME).unwrap_or(0.0);
        let agreement = (self.agreed)(&actual, floor).agreement();
        let (square, single) = ([("source", n), ("with", n)], of("single").to_vec());
        let mut result = Labelled::new("interactions", self.run)
            .with("interaction", &square, narrow(self.map))
            .with("interaction_actual", &square, actual)
            .with("single", &[("source", n)], single)
            .note("observable", self.observable.to_string())
            .note("agreement", agreement.to_string())
            .note(noise::NAME, format!("{floor:e}"))
            .note("sites", joint.fact("sites"));
        for certificate in joint.certificates {
            result = result.certify(certificate)?;
        }
        Ok(result)
    }
}
