//! Whether the Green operator of a small model predicts that of a large one: `G_large ~ B G_small A`.
//!
//! A maps the large model's field at a level to the small model's at the same relative depth, and B maps the small
//! model's last level to the large model's. Both are fitted on the fields of training prompts, token by token, and
//! never on responses. The responses that are predicted are those of held-out prompts to displacements.
//!
//! The models may have different tokenizers. Then only tokens count that end at the same place of the text in both: at
//! these, both models have read the same text. Sources are put in there, and responses are compared there.

use faer::Mat;
use resolvent_model::{Mode, Model, RandomWeights, Run, RunOptions, Site, Source, TokenPair};

use crate::case::runs_of_pairs;
use crate::certificate::adjoint;
use crate::dense::size;
use crate::distinct::distinct;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::stats::{interval, mean};

use super::aligned::AlignedPair;
use super::ridge::{Group, Ridge};
use super::{RANDOM_MODELS, WEIGHTS_STD};

/// Options of [`scale_operators`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperatorOptions {
    /// Number of prompts to fit on, from the first; the others are predicted.
    pub train: usize,
    /// Levels of the large model at which sources are put in; a quarter, half and three quarters of its depth if empty.
    pub levels: Vec<usize>,
    /// Seed of the random models and of the intervals.
    pub seed: u64,
}

/// Names of the predictions of a response, in the order of their axis.
pub const RESPONSE_PREDICTORS: [&str; 6] = ["operator", "transport", "map", "identity", "mean", "random_model"];

/// Predicts responses of the large model by `B G_small A`.
///
/// Sources are the displacements, clean minus corrupted, at the first token that differs and at the last token of the
/// corrupted run. A response is that of all tokens of the last level. With different tokenizers, all of these are the
/// tokens of [`AlignedPair::tokens`], and distances are in these. The predictions are:
///
/// - `operator`: `B G_small A s`;
/// - `transport`: `s + B (G_small - 1) A s`: the source stays at its token as in any residual stream, and the small
///   model predicts only what the blocks add;
/// - `map`: `B A s` at the token of the source, so that nothing propagates;
/// - `identity`: s itself at its token, without a small model;
/// - `mean`: the mean response of the training prompts, by distance from the source and in units of |s|;
/// - `random_model`: as `transport`, from small models with random weights and their own maps; the mean over three
///   seeds.
///
/// Arrays over levels and predictions `[L, 6]`: `error`, `|predicted - actual| / |actual|` over all held-out responses,
/// and `cosine`, each with `_low` and `_high` (95 % over held-out prompts; NaN for fewer than eight); `levels [L]`.
///
/// Certificate: the adjoint identity of the large model.
///
/// # Errors
/// Pairs that are the same tokens in models with different vocabularies, pairs without aligned tokens, levels out of
/// range, too few prompts, or a device error.
pub fn scale_operators(
    small: &Model,
    large: &Model,
    prompts: &[AlignedPair],
    options: &OperatorOptions,
) -> Result<Labelled> {
    check(prompts, [small, large])?;
    let depth = large.sizes().layers;
    let levels = match options.levels.is_empty() {
        true => distinct([depth / 4, depth / 2, 3 * depth / 4]),
        false => options.levels.clone(),
    };
    if let Some(level) = levels.iter().find(|level| **level >= depth) {
        return Err(Error::Input(format!("level {level} of operators: expected a level below {depth}, the last")));
    }
    let (train, held_out) = (options.train.min(prompts.len()), prompts.len().saturating_sub(options.train));
    if train < 2 || held_out < 1 {
        return Err(Error::Input(format!(
            "{train} prompts to fit on and {held_out} to predict: give two and one or more"
        )));
    }
    let target = Runs::new(large, prompts, |pair| (&pair.large, 1))?;
    let of_small = |model: &Model| Runs::new(model, prompts, |pair| (&pair.small, 0));
    let ours = of_small(small)?;
    let random = (0..RANDOM_MODELS).map(|i| {
        let weights = RandomWeights::new(options.seed.wrapping_add(i)).with_std(WEIGHTS_STD);
        of_small(&Model::random(small.device(), small.architecture().clone(), weights)?)
    });
    let random = random.collect::<Result<Vec<Runs>>>()?;
    let (mut tables, names) =
        (vec![Vec::new(); 6], ["error", "error_low", "error_high", "cosine", "cosine_low", "cosine_high"]);
    for &level in &levels {
        let sources = (0..prompts.len()).map(|n| target.sources(n, level)).collect::<Result<Vec<Vec<Moved>>>>()?;
        let actual =
            sources.iter().enumerate().map(|(n, s)| target.responses(n, level, s)).collect::<Result<Vec<_>>>()?;
        let average = Average::of(&sources[..train], &actual[..train]);
        let fitted = |model: &Runs| Fitted::new(model, &target, (level, depth), train);
        let own = fitted(&ours)?;
        let random = random.iter().map(|model| Ok((model, fitted(model)?))).collect::<Result<Vec<_>>>()?;
        // The sums of each held-out prompt: by prediction with one draw, and by random model.
        let mut single: [Vec<Sums>; 5] = Default::default();
        let mut drawn = vec![Vec::new(); random.len()];
        for n in train..prompts.len() {
            let (sources, tokens) = (&sources[n], prompts[n].tokens.len());
            let each = |response: &dyn Fn(&Moved) -> Mat<f64>| sources.iter().map(response).collect::<Vec<_>>();
            let operator = own.operator(&ours, n, sources)?;
            let predictions = [
                own.transport(&operator, sources),
                each(&|moved| moved.at_token(tokens, &own.both(&moved.row()))),
                each(&|moved| moved.at_token(tokens, &moved.row())),
                each(&|moved| average.predict(moved, tokens)),
            ];
            for (sums, predicted) in single.iter_mut().zip(std::iter::once(operator).chain(predictions)) {
                sums.push(Sums::of(&predicted, &actual[n]));
            }
            for (sums, (model, fitted)) in drawn.iter_mut().zip(&random) {
                let operator = fitted.operator(model, n, sources)?;
                sums.push(Sums::of(&fitted.transport(&operator, sources), &actual[n]));
            }
        }
        for draws in single.into_iter().map(|sums| vec![sums]).chain([drawn]) {
            let by_prompt: Vec<Vec<Sums>> = (0..held_out).map(|n| draws.iter().map(|draw| draw[n]).collect()).collect();
            let over = |of: fn(Sums) -> f64| {
                interval(&by_prompt, options.seed, |prompts| {
                    let of_draw = |draw: usize| of(prompts.iter().fold(Sums::default(), |sum, p| sum.plus(p[draw])));
                    mean(&(0..draws.len()).map(of_draw).collect::<Vec<_>>())
                })
            };
            for (i, found) in [over(Sums::error), over(Sums::cosine)].into_iter().enumerate() {
                for (j, value) in [found.estimate, found.low, found.high].into_iter().enumerate() {
                    tables[3 * i + j].push(value as f32);
                }
            }
        }
    }
    let axes = [("level", levels.len()), ("predictor", RESPONSE_PREDICTORS.len())];
    let last = &target.corrupted[prompts.len() - 1];
    let aligned: usize = prompts.iter().map(|pair| pair.tokens.len()).sum();
    let tokens_of_large: usize = prompts.iter().map(|pair| pair.large.clean.len()).sum();
    let mut result = Labelled::new("scale_operators", last);
    result.metadata.remove("tokens");
    for (name, table) in names.into_iter().zip(tables) {
        result = result.with(name, &axes, table);
    }
    result
        .with("levels", &axes[..1], levels.iter().map(|&level| level as f32).collect())
        .note("small", small.name())
        .note("small_hash", small.hash())
        .note("predictors", RESPONSE_PREDICTORS.join(","))
        .note("prompts", prompts.len().to_string())
        .note("train", train.to_string())
        .note("held_out", held_out.to_string())
        .note("aligned", aligned.to_string())
        .note("tokens_of_large", tokens_of_large.to_string())
        .note("seed", options.seed.to_string())
        .certify(adjoint(&last.linearize(Mode::Exact), 1)?)
}

/// Checks that the tokens of pairs are those of the models.
fn check(prompts: &[AlignedPair], [small, large]: [&Model; 2]) -> Result<()> {
    let (vocab, other) = (small.sizes().vocab, large.sizes().vocab);
    if vocab != other && prompts.iter().all(|pair| pair.small == pair.large) {
        return Err(Error::Input(format!(
            "the models have {vocab} and {other} vocabulary entries, and the pairs are the same tokens in both; give \
             the tokens of each model"
        )));
    }
    let lengths = |pair: &AlignedPair| [pair.small.clean.len(), pair.large.clean.len()];
    let fits = |pair: &AlignedPair| {
        let within = |of: &[usize; 2]| of.iter().zip(lengths(pair)).all(|(token, length)| *token < length);
        let ascends = |pair: &[[usize; 2]]| pair[0][0] < pair[1][0] && pair[0][1] < pair[1][1];
        !pair.tokens.is_empty() && pair.tokens.iter().all(within) && pair.tokens.windows(2).all(ascends)
    };
    match prompts.iter().position(|pair| !fits(pair)) {
        Some(n) => {
            let [ours, theirs] = lengths(&prompts[n]);
            Err(Error::Input(format!(
                "pair {n}: expected one or more aligned tokens, in ascending order, of {ours} and {theirs} tokens"
            )))
        }
        None => Ok(()),
    }
}

/// A source: its token, counted among the aligned ones, and its vector.
struct Moved {
    token: usize,
    vector: Vec<f64>,
}

impl Moved {
    /// Returns the vector as a row.
    fn row(&self) -> Mat<f64> {
        Mat::from_fn(1, self.vector.len(), |_, i| self.vector[i])
    }

    /// Returns a response `[T, d]` that is `row` at the token of the source.
    fn at_token(&self, tokens: usize, row: &Mat<f64>) -> Mat<f64> {
        Mat::from_fn(tokens, row.ncols(), |t, i| if t == self.token { row[(0, i)] } else { 0.0 })
    }
}

/// Runs of both prompts of each pair in one model.
struct Runs {
    clean: Vec<Run>,
    corrupted: Vec<Run>,
    /// The aligned tokens of each pair.
    tokens: Vec<Vec<usize>>,
}

impl Runs {
    /// Runs the pairs that `own` returns of the prompts, with the model's place in [`AlignedPair::tokens`].
    fn new(model: &Model, prompts: &[AlignedPair], own: fn(&AlignedPair) -> (&TokenPair, usize)) -> Result<Self> {
        let pairs: Vec<TokenPair> = prompts.iter().map(|pair| own(pair).0.clone()).collect();
        let [clean, corrupted] = runs_of_pairs(model, &pairs, &RunOptions::default())?;
        let tokens = prompts.iter().map(|pair| pair.tokens.iter().map(|of| of[own(pair).1]).collect()).collect();
        Ok(Self { clean, corrupted, tokens })
    }

    fn depth(&self) -> usize {
        self.corrupted.first().map_or(0, |run| run.model().sizes().layers)
    }

    /// Returns the fields of both prompts of a pair at a level and the aligned tokens, `[2 T, d]`.
    fn fields(&self, n: usize, level: usize) -> Result<Mat<f64>> {
        let site = Site::level(level, self.corrupted[n].model().sizes());
        let both = [self.clean[n].capture(site)?, self.corrupted[n].capture(site)?];
        let (d, tokens) = (self.corrupted[n].model().sizes().d, &self.tokens[n]);
        let at = |row: usize, i: usize| both[row / tokens.len()][tokens[row % tokens.len()] * d + i];
        Ok(Mat::from_fn(2 * tokens.len(), d, |row, i| f64::from(at(row, i))))
    }

    /// Returns the displacements of a pair at the first aligned token that differs and at the last one, where they are
    /// not zero.
    fn sources(&self, n: usize, level: usize) -> Result<Vec<Moved>> {
        let fields = self.fields(n, level)?;
        let (tokens, d) = (fields.nrows() / 2, fields.ncols());
        let at =
            |token: usize| -> Vec<f64> { (0..d).map(|i| fields[(token, i)] - fields[(tokens + token, i)]).collect() };
        let moves = |token: &usize| at(*token).iter().any(|x| *x != 0.0);
        let first = (0..tokens).find(moves);
        let last = (tokens - 1 > first.unwrap_or(tokens)).then_some(tokens - 1).filter(moves);
        Ok(first.into_iter().chain(last).map(|token| Moved { token, vector: at(token) }).collect())
    }

    /// Returns the responses of the last level of a corrupted run at the aligned tokens, `[T, d]` for each source at a
    /// level.
    fn responses(&self, n: usize, level: usize, sources: &[Moved]) -> Result<Vec<Mat<f64>>> {
        let run = &self.corrupted[n];
        let (tokens, sizes) = (&self.tokens[n], run.model().sizes());
        let d = sizes.d;
        let source = |moved: &Moved| {
            let vector = moved.vector.iter().map(|&x| x as f32).collect();
            [Source { site: Site::level(level, sizes), token: tokens[moved.token], vector }]
        };
        let mut found = vec![Mat::zeros(tokens.len(), d); sources.len()];
        let sources: Vec<[Source; 1]> = sources.iter().map(source).collect();
        run.linearize(Mode::Exact).jvp_at(&sources, &[Site::level(sizes.layers, sizes)], &mut |chunk| {
            for (row, x) in chunk.rows.chunks(d).enumerate() {
                if let Ok(at) = tokens.binary_search(&(chunk.token + row)) {
                    x.iter().enumerate().for_each(|(i, x)| found[chunk.sequence][(at, i)] = f64::from(*x));
                }
            }
        })?;
        Ok(found)
    }
}

/// Maps between the fields of a small and the large model.
struct Fitted {
    /// The level of the small model.
    level: usize,
    /// From the large model's source level to that of the small one.
    down: Ridge,
    /// From the small model's last level to that of the large one.
    up: Ridge,
}

impl Fitted {
    fn new(small: &Runs, large: &Runs, (level, depth): (usize, usize), train: usize) -> Result<Self> {
        let ours = (level * small.depth() + depth / 2) / depth;
        let pairs = |ours: usize, theirs: usize, down: bool| -> Result<Vec<Group>> {
            let both = (0..train).map(|n| Ok((small.fields(n, ours)?, large.fields(n, theirs)?)));
            both.map(|both: Result<_>| both.map(|(a, b)| if down { (b, a) } else { (a, b) })).collect()
        };
        let down = Ridge::fit(&pairs(ours, level, true)?)?;
        let up = Ridge::fit(&pairs(small.depth(), depth, false)?)?;
        Ok(Self { level: ours, down, up })
    }

    /// Returns `B A` of a row.
    fn both(&self, row: &Mat<f64>) -> Mat<f64> {
        self.up.apply(&self.down.apply(row))
    }

    /// Returns `s + B (G_small - 1) A s` of each source, given `B G_small A s`.
    fn transport(&self, operator: &[Mat<f64>], sources: &[Moved]) -> Vec<Mat<f64>> {
        let added = |(response, moved): (&Mat<f64>, &Moved)| {
            let tokens = response.nrows();
            response + moved.at_token(tokens, &moved.row()) - moved.at_token(tokens, &self.both(&moved.row()))
        };
        operator.iter().zip(sources).map(added).collect()
    }

    /// Returns `B G_small A` of each source.
    fn operator(&self, small: &Runs, n: usize, sources: &[Moved]) -> Result<Vec<Mat<f64>>> {
        let mapped = |moved: &Moved| {
            let row = self.down.apply(&moved.row());
            Moved { token: moved.token, vector: (0..row.ncols()).map(|i| row[(0, i)]).collect() }
        };
        let mapped: Vec<Moved> = sources.iter().map(mapped).collect();
        Ok(small.responses(n, self.level, &mapped)?.iter().map(|response| self.up.apply(response)).collect())
    }
}

/// The mean response by distance from the source, in units of |s|.
struct Average(Vec<Vec<f64>>);

impl Average {
    fn of(sources: &[Vec<Moved>], responses: &[Vec<Mat<f64>>]) -> Self {
        let mut sums: Vec<(f64, Vec<f64>)> = Vec::new();
        for (moved, response) in sources.iter().flatten().zip(responses.iter().flatten()) {
            let size = size(&moved.vector);
            for token in moved.token..response.nrows() {
                let distance = token - moved.token;
                sums.resize_with(sums.len().max(distance + 1), || (0.0, vec![0.0; response.ncols()]));
                sums[distance].0 += 1.0;
                sums[distance].1.iter_mut().enumerate().for_each(|(i, sum)| *sum += response[(token, i)] / size);
            }
        }
        Self(sums.into_iter().map(|(n, sum)| sum.into_iter().map(|x| x / n).collect()).collect())
    }

    fn predict(&self, moved: &Moved, tokens: usize) -> Mat<f64> {
        let size = size(&moved.vector);
        let at = |token: usize, i: usize| {
            let distance = token.checked_sub(moved.token)?;
            self.0.get(distance).map(|mean| size * mean[i])
        };
        Mat::from_fn(tokens, moved.vector.len(), |token, i| at(token, i).unwrap_or(0.0))
    }
}

/// Sums over the responses of a prompt: |p - r|^2, <p, r>, |p|^2 and |r|^2.
#[derive(Clone, Copy, Debug, Default)]
struct Sums([f64; 4]);

impl Sums {
    fn of(predicted: &[Mat<f64>], actual: &[Mat<f64>]) -> Self {
        let mut sums = [0.0; 4];
        for (predicted, actual) in predicted.iter().zip(actual) {
            for (p, r) in predicted.col_iter().zip(actual.col_iter()).flat_map(|(p, r)| p.iter().zip(r.iter())) {
                let terms = [(p - r) * (p - r), p * r, p * p, r * r];
                sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
        }
        Self(sums)
    }

    fn plus(self, other: Self) -> Self {
        let mut sums = self.0;
        sums.iter_mut().zip(other.0).for_each(|(sum, term)| *sum += term);
        Self(sums)
    }

    fn error(self) -> f64 {
        (self.0[0] / self.0[3]).sqrt()
    }

    fn cosine(self) -> f64 {
        self.0[1] / (self.0[2] * self.0[3]).sqrt()
    }
}
