//! Features of a dictionary as nodes: what each contributes to an effect, to first order and exactly.
//!
//! At the activation that a [`Dictionary`] decodes, a row is `y = bias + skip + sum_f c_f W_dec[f] + error`. A feature
//! is moved by changing its factor at every token, and the error and the output of a skip connection by their own
//! changes; all else of the run follows. Features are moved to those of another run, or to zero; a skip connection
//! keeps its output then.

use std::collections::BTreeMap;

use resolvent_model::{Edit, Mode, Observable, ReaderSet, Run, Site, Sizes};

use crate::certificate::{Certificate, dot, narrow, norm, same, worse};
use crate::dense::wide;
use crate::derivatives::derivatives;
use crate::dictionary::{Code, Dictionary, interleaved, joined};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::row_space::RowSpace;

/// Options of [`features`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureOptions {
    /// Number of features in the result, those with the largest first-order effects.
    pub top: usize,
    /// Whether these features, and the error, are moved exactly too.
    pub exact: bool,
    /// Number of other prompts of the set whose movements are controls, for [`crate::features_of_prompts`]; 0 for none.
    pub controls: usize,
}

impl Default for FeatureOptions {
    fn default() -> Self {
        Self { top: 20, exact: false, controls: 0 }
    }
}

/// Tolerance of sums over all features, relative to the sizes of their terms.
const SUMS: f64 = 1e-4;

/// The activation that a dictionary decodes, in one run.
struct Activation {
    codes: Vec<Code>,
    /// `[T, d]`
    rows: Vec<f32>,
    /// What the dictionary misses, `[T, d]`.
    errors: Vec<f32>,
}

/// Returns by how much the factors of features change at each token: to those of a target, or to zero.
pub(crate) fn changed_factors(run: &Run, target: Option<&Run>, dictionary: &Dictionary) -> Result<Vec<Code>> {
    let [_, sites] = dictionary.sites(run.model().sizes())?;
    let ours = Activation::of(run, dictionary, &sites)?;
    let theirs = target.map(|target| Activation::of(target, dictionary, &sites)).transpose()?;
    Ok(changes(&ours, theirs.as_ref(), ours.rows.len() / ours.codes.len()))
}

impl Activation {
    fn of(run: &Run, dictionary: &Dictionary, sites: &[Site]) -> Result<Self> {
        let (codes, rows) = (dictionary.codes(run)?, joined(run, sites)?);
        let decoded = codes.iter().flat_map(|code| dictionary.decode(code));
        let errors = rows.iter().zip(decoded).map(|(y, decoded)| y - decoded).collect();
        Ok(Self { codes, rows, errors })
    }
}

/// Attributes the effect of moving an activation to the features of a dictionary.
///
/// With `target`, features and error of `run` become those of the target run, of as many tokens; without it, they
/// become zero. Runs must have been prepared for the sites of [`Dictionary::sites`].
///
/// Arrays: `features [K]` (those with the largest effects), `first_order [K]`, `first_order_by_token [K, T]`, `random
/// [K]` (root mean square of `first_order` over random directions of the same norms), `kernel [K]` (the share of the
/// length of each row of the decoder that no reader of the next block sees, where readers are linear), `factor [K, T]`
/// (factors of the decoder's rows in `run`), `target_factor [K, T]` with a target, `error_first_order [T]`, `active
/// [T]` (number of active features), `missed [T]` (size of the error over that of the activation) and `value [1]`; with
/// [`FeatureOptions::exact`] also `exact [K]` and `error_exact [1]`. Of a transcoder with a skip connection,
/// `skip_first_order [T]` and `skip_exact [1]` are the effects of what it adds.
///
/// Certificates: the effects of all features, of the error and of the skip connection add up to that of the whole
/// activation, to first order (`parts`); and, moved exactly, they give J with the target's activation put in place, or
/// with what is decoded without any feature (`whole`).
///
/// # Errors
/// A dictionary that does not fit the model, runs that do not pair or were not prepared, an observable that does not
/// fit, a device error, or a check that fails.
pub fn features(
    run: &Run,
    target: Option<&Run>,
    dictionary: &Dictionary,
    observable: &Observable,
    options: FeatureOptions,
) -> Result<Labelled> {
    let moving = Moving::of(run, target, dictionary, observable)?;
    let mut order: Vec<(u32, f64)> = moving.effects().collect();
    order.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    let top: Vec<u32> = order.iter().take(options.top).map(|(feature, _)| *feature).collect();
    moving.result(&top, options.exact)
}

/// A run whose features move, and the first-order effects of each.
pub(crate) struct Moving<'a> {
    run: &'a Run,
    dictionary: &'a Dictionary,
    observable: &'a Observable,
    /// Where features act.
    sites: Vec<Site>,
    ours: Activation,
    theirs: Option<Activation>,
    /// The derivative by the activation, `[T, d]`.
    g: Vec<f32>,
    /// By how much factors and what the skip connection adds change at each token, and, as the bias, by how much the
    /// error does.
    changes: Vec<Code>,
    /// The first-order effects at each token of all features that move.
    effects: BTreeMap<u32, Vec<f64>>,
}

impl<'a> Moving<'a> {
    /// Encodes both runs, and computes the first-order effects.
    pub(crate) fn of(
        run: &'a Run,
        target: Option<&Run>,
        dictionary: &'a Dictionary,
        observable: &'a Observable,
    ) -> Result<Self> {
        let (sizes, tokens) = (*run.model().sizes(), run.tokens().len());
        if let Some(target) = target.filter(|target| target.tokens().len() != tokens) {
            let other = target.tokens().len();
            return Err(Error::Input(format!(
                "the runs have {tokens} and {other} tokens; give prompts of the same length"
            )));
        }
        if target.is_some_and(|target| target.model().hash() != run.model().hash()) {
            return Err(Error::Input("the run and its target belong to different models".to_owned()));
        }
        let [_, sites] = dictionary.sites(&sizes)?;
        let ours = Activation::of(run, dictionary, &sites)?;
        let theirs = target.map(|target| Activation::of(target, dictionary, &sites)).transpose()?;
        let d = ours.rows.len() / tokens;
        let g = interleaved(&derivatives(run, observable, Mode::Exact, &sites)?, tokens);
        let changes = changes(&ours, theirs.as_ref(), d);
        let mut effects: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (t, change) in changes.iter().enumerate() {
            for &(feature, by) in &change.features {
                let effect = f64::from(by) * dictionary.along(feature, &g[t * d..][..d]);
                effects.entry(feature).or_insert_with(|| vec![0.0; tokens])[t] = effect;
            }
        }
        Ok(Self { run, dictionary, observable, sites, ours, theirs, g, changes, effects })
    }

    /// Returns the features that move, ascending, with their first-order effects.
    pub(crate) fn effects(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        self.effects.iter().map(|(feature, each)| (*feature, each.iter().sum()))
    }

    /// Returns the root mean square, over the movements of other runs, of the first-order effects of some features:
    /// each moves as in the last tokens of the other run, as far in all as it does here.
    pub(crate) fn other_prompts(&self, others: &[Vec<Code>], top: &[u32]) -> Vec<f64> {
        let tokens = self.changes.len();
        let d = self.g.len() / tokens;
        let size = |codes: &[Code], f: u32| {
            codes.iter().map(|code| f64::from(code.factor(f)).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE)
        };
        let effect = |other: &[Code], f: u32| {
            let aligned = &other[other.len() - tokens..];
            let share = size(&self.changes, f) / size(aligned, f);
            let along = |(code, g): (&Code, &[f32])| f64::from(code.factor(f)) * self.dictionary.along(f, g);
            share * aligned.iter().zip(self.g.chunks(d)).map(along).sum::<f64>()
        };
        let mean = |&f: &u32| others.iter().map(|other| effect(other, f).powi(2)).sum::<f64>() / others.len() as f64;
        top.iter().map(|f| mean(f).sqrt()).collect()
    }

    /// Returns the result for some features, in this order; see [`features`].
    pub(crate) fn result(&self, top: &[u32], exactly: bool) -> Result<Labelled> {
        let Self { run, dictionary, observable, sites, ours, theirs, g, changes, effects } = self;
        let tokens = run.tokens().len();
        let d = ours.rows.len() / tokens;
        let along = |of: fn(&Code) -> &[f32]| -> Vec<f64> {
            changes.iter().zip(g.chunks(d)).map(|(change, g)| dot(of(change), &g[..of(change).len()])).collect()
        };
        let (of_error, of_skip) = (along(|change| &change.bias), along(|change| &change.skip));
        let moved: Vec<f32> = changes.iter().flat_map(|change| dictionary.decode(change)).collect();
        // Where everything moves to: the target's activation, or what is decoded without any feature.
        let put: Vec<f32> = match theirs {
            Some(theirs) => theirs.rows.clone(),
            None => ours.codes.iter().flat_map(|code| dictionary.decode_without_features(code)).collect(),
        };
        let sum = effects.values().flatten().chain(&of_error).chain(&of_skip).sum::<f64>();
        let scale = (norm(g) * norm(&moved)).max(f64::MIN_POSITIVE);
        let parts = Certificate::new("parts", (sum - (dot(g, &put) - dot(g, &ours.rows))).abs() / scale, SUMS);
        let of = |feature: &u32| effects.get(feature).cloned().unwrap_or_else(|| vec![0.0; tokens]);
        let by_token: Vec<f64> = top.iter().flat_map(of).collect();
        let value = run.value(observable)?;
        let axis = [("feature", top.len())];
        let axes = [axis[0], ("token", tokens)];
        let factors = |codes: &[Code]| -> Vec<f32> {
            top.iter().flat_map(|&f| codes.iter().map(move |code| code.factor(f))).collect()
        };
        let random = |feature: &u32| {
            let size = norm(dictionary.direction(*feature as usize).unwrap_or(&[]));
            let of =
                |(change, g): (&Code, &[f32])| (f64::from(change.factor(*feature)) * size * norm(g)).powi(2) / d as f64;
            changes.iter().zip(g.chunks(d)).map(of).sum::<f64>().sqrt()
        };
        let missed = |(error, row): (&[f32], &[f32])| (norm(error) / norm(row).max(f64::MIN_POSITIVE)) as f32;
        let mut result = Labelled::new("features", run)
            .note("observable", observable.to_string())
            .note("dictionary", dictionary.path().display().to_string())
            .note("hooks", dictionary.hooks().join(","))
            .note("moved_to", if theirs.is_some() { "target" } else { "zero" })
            .note("features_moved", effects.len().to_string())
            .with("features", &axis, top.iter().map(|&f| f as f32).collect())
            .with("first_order", &axis, by_token.chunks(tokens).map(|each| each.iter().sum::<f64>() as f32).collect())
            .with("first_order_by_token", &axes, narrow(&by_token))
            .with("random", &axis, narrow(&top.iter().map(random).collect::<Vec<_>>()))
            .with("factor", &axes, factors(&ours.codes));
        if let Some(theirs) = theirs {
            result = result.with("target_factor", &axes, factors(&theirs.codes));
        }
        if dictionary.skips() {
            result = result.with("skip_first_order", &[("token", tokens)], narrow(&of_skip));
        }
        if RowSpace::is_read(run, sites) {
            let space = RowSpace::of(run, (sites, tokens - 1), ReaderSet::Next)?;
            let share = |&f: &u32| dictionary.direction(f as usize).map(|row| space.kernel(&wide(row)) as f32);
            result = result.with("kernel", &axis, top.iter().map(share).collect::<Result<_>>()?);
        }
        result = result
            .with("error_first_order", &[("token", tokens)], narrow(&of_error))
            .with("active", &[("token", tokens)], ours.codes.iter().map(|code| code.features.len() as f32).collect())
            .with("missed", &[("token", tokens)], ours.errors.chunks(d).zip(ours.rows.chunks(d)).map(missed).collect())
            .with("value", &[("value", 1)], vec![value as f32])
            .certify(parts)?;
        if exactly {
            result = exact(result, (run, observable, value), (sites, changes, [&moved, &put]), (dictionary, top))?;
        }
        Ok(result)
    }
}

/// Returns by how much the factors of features and what a skip connection adds change at each token, and, as the bias,
/// by how much the error does.
fn changes(ours: &Activation, theirs: Option<&Activation>, d: usize) -> Vec<Code> {
    let row = |rows: &[f32], t: usize| rows[t * d..(t + 1) * d].to_vec();
    let of = |(t, code): (usize, &Code)| {
        let error = row(&ours.errors, t);
        let Some(theirs) = theirs else {
            let features = code.features.iter().map(|&(f, factor)| (f, -factor)).collect();
            return Code { features, bias: error.into_iter().map(|e| -e).collect(), skip: Vec::new() };
        };
        let other = &theirs.codes[t];
        let mut by: BTreeMap<u32, f32> = other.features.iter().copied().collect();
        code.features.iter().for_each(|&(f, factor)| *by.entry(f).or_default() -= factor);
        // A bias that depends on the row, by its normalization, counts as error.
        let with_bias = |error: Vec<f32>, code: &Code| error.into_iter().zip(&code.bias).map(|(e, b)| e + b).collect();
        let (ours, theirs): (Vec<f32>, Vec<f32>) = (with_bias(error, code), with_bias(row(&theirs.errors, t), other));
        let bias = theirs.iter().zip(ours).map(|(a, b)| a - b).collect();
        let skip = other.skip.iter().zip(&code.skip).map(|(a, b)| a - b).collect();
        Code { features: by.into_iter().filter(|(_, by)| *by != 0.0).collect(), bias, skip }
    };
    ours.codes.iter().enumerate().map(of).collect()
}

/// Moves each feature, the error, the output of a skip connection, and all together.
fn exact(
    result: Labelled,
    (run, observable, value): (&Run, &Observable, f64),
    (sites, changes, [moved, put]): (&[Site], &[Code], [&[f32]; 2]),
    (dictionary, top): (&Dictionary, &[u32]),
) -> Result<Labelled> {
    let sizes = run.model().sizes();
    let d = moved.len() / changes.len();
    let mut edits = Vec::with_capacity(top.len() + 3);
    for &feature in top {
        let direction = dictionary.direction(feature as usize)?;
        let moved = changes.iter().map(|change| change.factor(feature)).enumerate().filter(|(_, by)| *by != 0.0);
        let rows = moved.map(|(t, by)| (t, direction.iter().map(|w| by * w).collect::<Vec<f32>>()));
        edits.push(rows.flat_map(|(t, row)| spread(sites, sizes, (t, &row), Edit::add)).collect::<Vec<Edit>>());
    }
    let of_rows = |rows: &mut dyn Iterator<Item = Vec<f32>>, edit: fn(Site, usize, Vec<f32>) -> Edit| -> Vec<Edit> {
        rows.enumerate().flat_map(|(t, row)| spread(sites, sizes, (t, &row), edit)).collect()
    };
    edits.push(of_rows(&mut changes.iter().map(|change| change.bias.clone()), Edit::add));
    edits.push(of_rows(&mut moved.chunks(d).map(<[f32]>::to_vec), Edit::add));
    edits.push(of_rows(&mut put.chunks(d).map(<[f32]>::to_vec), Edit::put));
    if dictionary.skips() {
        let moves = changes.iter().filter(|change| !change.skip.is_empty());
        edits.push(of_rows(&mut moves.map(|change| change.skip.clone()), Edit::add));
    }
    let values = run.values_under(&edits, observable)?;
    let (of_features, rest) = values.split_at(top.len());
    let scale = values.iter().fold(value.abs().max(1.0), |most, v| most.max(v.abs()));
    let effects: Vec<f64> = of_features.iter().map(|v| v - value).collect();
    let apart = worse(0.0, (rest[1] - rest[2]).abs() / scale);
    let result = match rest.get(3) {
        Some(skip) => result.with("skip_exact", &[("value", 1)], vec![(skip - value) as f32]),
        None => result,
    };
    result
        .with("exact", &[("feature", top.len())], narrow(&effects))
        .with("error_exact", &[("value", 1)], vec![(rest[0] - value) as f32])
        .with("whole_exact", &[("value", 1)], vec![(rest[1] - value) as f32])
        .certify(Certificate::new("whole", apart, same(run.model())))
}

/// Returns the edits of the row of a token, whose columns lie in several sites one after another.
fn spread(
    sites: &[Site],
    sizes: &Sizes,
    (token, row): (usize, &[f32]),
    edit: fn(Site, usize, Vec<f32>) -> Edit,
) -> Vec<Edit> {
    let mut rest = row;
    let of = |site: &Site| {
        let (own, after) = rest.split_at(site.width(sizes));
        rest = after;
        edit(*site, token, own.to_vec())
    };
    sites.iter().map(of).collect()
}
