//! What is observed of a response: the field at some levels, or values of observables.

use resolvent_model::{
    Edit, EditedRun, Mode, Observable, ProbedRun, Run, Seed, SeededRun, Site, Source, along_of, values as read_values,
    values_of, vjp_of,
};

use crate::certificate::dot;
use crate::distinct::distinct;
use crate::error::{Error, Result};
use crate::place::shape;

/// A list of M numbers that are observed of the response to a source: elements of the field, or values of observables.
///
/// Places count tokens of the shortest run; in longer runs, the same place is as far from the end.
pub struct Observed<'a> {
    runs: Vec<&'a Run>,
    /// A run with the fewest tokens.
    shortest: &'a Run,
    tokens: usize,
    what: What,
}

enum What {
    /// The field at these levels, `[levels, T, d]`, of the only run.
    Levels(Vec<usize>),
    /// One value in each run.
    Values(Vec<Observable>),
}

impl<'a> Observed<'a> {
    /// Observes the field of `run` at `levels`.
    ///
    /// # Errors
    /// No level, a level twice, or one outside of the field.
    pub fn levels(run: &'a Run, levels: &[usize]) -> Result<Self> {
        let (all, tokens, _) = shape(run);
        if levels.is_empty() || levels.iter().enumerate().any(|(i, l)| *l >= all || levels[..i].contains(l)) {
            let last = all - 1;
            let reason = format!("observed levels {levels:?}: give one or more, each once, from 0 to {last}");
            return Err(Error::Input(reason));
        }
        Ok(Self { runs: vec![run], shortest: run, tokens, what: What::Levels(levels.to_vec()) })
    }

    /// Observes the value of each observable in its run. The runs belong to one model.
    ///
    /// # Errors
    /// No observable, one that does not fit its run, or runs of several models.
    pub fn values(readings: &[(&'a Run, Observable)]) -> Result<Self> {
        let Some(&(shortest, _)) = readings.iter().min_by_key(|(run, _)| run.tokens().len()) else {
            return Err(Error::Input("no observable is observed; give at least one".to_owned()));
        };
        let (model, tokens) = (shortest.model(), shortest.tokens().len());
        if readings.iter().any(|(run, _)| run.model().hash() != model.hash()) {
            return Err(Error::Input("the observed runs belong to several models; give runs of one model".to_owned()));
        }
        readings.iter().try_for_each(|(run, j)| run.seeds(j).map(drop))?;
        let observables = readings.iter().map(|(_, j)| j.clone()).collect();
        let runs = readings.iter().map(|(run, _)| *run).collect();
        Ok(Self { runs, shortest, tokens, what: What::Values(observables) })
    }

    /// Returns the run, or the shortest of several, whose places are meant.
    pub fn run(&self) -> &'a Run {
        self.shortest
    }

    /// Returns the runs, each once.
    pub(super) fn distinct_runs(&self) -> Vec<&'a Run> {
        let mut distinct: Vec<&Run> = Vec::new();
        for run in &self.runs {
            if !distinct.iter().any(|known| std::ptr::eq(*known, *run)) {
                distinct.push(run);
            }
        }
        distinct
    }

    /// Returns whether values of observables are observed.
    pub(super) fn is_values(&self) -> bool {
        matches!(self.what, What::Values(_))
    }

    /// Returns the number of observed numbers, M.
    pub fn count(&self) -> usize {
        match &self.what {
            What::Levels(levels) => levels.len() * self.tokens * self.width(),
            What::Values(observables) => observables.len(),
        }
    }

    /// Returns the numbers of levels and of tokens of the places where a source may be, L+1 and T.
    pub fn places(&self) -> (usize, usize) {
        (shape(self.run()).0, self.tokens)
    }

    /// Returns the width d of the stream.
    pub(super) fn width(&self) -> usize {
        self.run().model().sizes().d
    }

    /// Returns what is observed as text.
    pub(super) fn text(&self) -> String {
        match &self.what {
            What::Levels(levels) => {
                let levels: Vec<String> = levels.iter().map(|level| format!("h[{level}]")).collect();
                levels.join("; ")
            }
            What::Values(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    /// Returns the part of a field or response field `[L+1, T, d]` that is observed, `[M]`.
    ///
    /// # Errors
    /// Observables are observed, or a field of another shape.
    pub fn of_field(&self, field: &[f32]) -> Result<Vec<f32>> {
        let (levels, tokens, d) = shape(self.run());
        match &self.what {
            What::Levels(observed) if field.len() == levels * tokens * d => {
                let row = tokens * d;
                Ok(observed.iter().flat_map(|l| &field[l * row..(l + 1) * row]).copied().collect())
            }
            What::Levels(_) => {
                let got = field.len();
                Err(Error::Input(format!(
                    "the response has {got} elements, and the field [level={levels}, token={tokens}, d={d}]; give a \
                     response of this prompt and model"
                )))
            }
            What::Values(_) => Err(Error::Input(
                "values of observables are observed, and the response is a field; leave the observables out".to_owned(),
            )),
        }
    }

    /// Returns the tokens by which a place of run `n` lies further from its start.
    fn offset(&self, n: usize) -> usize {
        self.runs[n].tokens().len() - self.tokens
    }

    /// Returns the observed responses `[M]` to superpositions of sources, to first order: by forward mode or, for fewer
    /// observables than superpositions, by their sensitivities.
    ///
    /// # Errors
    /// A source that does not fit, or a device error.
    pub fn respond(&self, sources: &[Vec<Source>]) -> Result<Vec<Vec<f32>>> {
        sources.iter().flatten().try_for_each(|source| self.check(source))?;
        match &self.what {
            What::Values(observables) if observables.len() < sources.len() => {
                self.by_sensitivities(observables, sources)
            }
            _ => self.by_forward_mode(sources),
        }
    }

    /// Checks that a source fits the model and the places.
    fn check(&self, Source { site, token, vector }: &Source) -> Result<()> {
        let (sizes, got) = (self.run().model().sizes(), vector.len());
        let width = site.check(sizes)?.width(sizes);
        match got == width && *token < self.tokens {
            true => Ok(()),
            false => Err(Error::Input(format!(
                "source [{got}] at {site}, token {token}: expected a vector [{width}] and a token from 0 to {}",
                self.tokens - 1
            ))),
        }
    }

    /// Returns the observed responses by forward mode.
    pub(super) fn by_forward_mode(&self, sources: &[Vec<Source>]) -> Result<Vec<Vec<f32>>> {
        let (d, mut responses) = (self.width(), vec![vec![0.0; self.count()]; sources.len()]);
        match &self.what {
            What::Levels(levels) => {
                let sites: Vec<Site> = levels.iter().map(|&l| Site::level(l, self.run().model().sizes())).collect();
                let linear = self.run().linearize(Mode::Exact);
                linear.jvp_at(sources, &sites, &mut |chunk| {
                    let at = (chunk.site * self.tokens + chunk.token) * d;
                    responses[chunk.sequence][at..at + chunk.rows.len()].copy_from_slice(chunk.rows);
                })?;
            }
            What::Values(observables) => {
                let moved: Vec<Vec<Vec<Source>>> = (0..self.runs.len())
                    .map(|n| {
                        let later = |s: &Source| Source { token: s.token + self.offset(n), ..s.clone() };
                        sources.iter().map(|all| all.iter().map(later).collect()).collect()
                    })
                    .collect();
                let probed: Vec<ProbedRun<'_>> = moved
                    .iter()
                    .zip(self.runs.iter().zip(observables))
                    .flat_map(|(moved, (&run, observable))| {
                        moved.iter().map(move |sources| ProbedRun { run, sources, observable })
                    })
                    .collect();
                for (i, along) in along_of(&probed)?.iter().enumerate() {
                    responses[i % sources.len()][i / sources.len()] = along.first as f32;
                }
            }
        }
        Ok(responses)
    }

    /// Returns the responses of values, `<chi, s>`, from one backward pass for each.
    fn by_sensitivities(&self, observables: &[Observable], sources: &[Vec<Source>]) -> Result<Vec<Vec<f32>>> {
        let sites = distinct(sources.iter().flatten().map(|source| source.site));
        let of_site = |site: &Site| -> Vec<(usize, &Source)> {
            let each = sources.iter().enumerate().flat_map(|(k, all)| all.iter().map(move |source| (k, source)));
            each.filter(|(_, source)| source.site == *site).collect()
        };
        let by_site: Vec<Vec<(usize, &Source)>> = sites.iter().map(of_site).collect();
        let seeds: Vec<Vec<Seed>> =
            self.runs.iter().zip(observables).map(|(run, j)| run.seeds(j)).collect::<Result<_, _>>()?;
        let seeded: Vec<SeededRun<'_>> =
            self.runs.iter().zip(&seeds).map(|(&run, seeds)| SeededRun { run, seeds }).collect();
        let mut responses = vec![vec![0.0f32; observables.len()]; sources.len()];
        vjp_of(Mode::Exact, &seeded, &sites, &mut |chunk| {
            for (k, source) in &by_site[chunk.site] {
                let (token, width) = (source.token + self.offset(chunk.sequence), source.vector.len());
                let row = chunk.row(token, width);
                responses[*k][chunk.sequence] += row.map_or(0.0, |row| dot(row, &source.vector) as f32);
            }
        })?;
        Ok(responses)
    }

    /// Returns the observed change `[M]` that further edits cause in the model's own forward pass.
    ///
    /// # Errors
    /// An edit that does not fit, or a device error.
    pub fn change(&self, edits: &[Edit]) -> Result<Vec<f32>> {
        match &self.what {
            What::Levels(levels) => {
                let (run, d) = (self.run(), self.width());
                let sites: Vec<Site> = levels.iter().map(|&l| Site::level(l, run.model().sizes())).collect();
                let before = self.of_field(&run.field()?)?;
                let mut change = vec![0.0; before.len()];
                run.fields_under(&[edits], &sites, &mut |chunk| {
                    let at = (chunk.site * self.tokens + chunk.token) * d;
                    for (i, after) in chunk.rows.iter().enumerate() {
                        change[at + i] = after - before[at + i];
                    }
                })?;
                Ok(change)
            }
            What::Values(observables) => {
                let readings: Vec<(&Run, &Observable)> = self.runs.iter().copied().zip(observables).collect();
                let moved: Vec<Vec<Edit>> = (0..self.runs.len())
                    .map(|n| edits.iter().map(|e| Edit { token: e.token + self.offset(n), ..e.clone() }).collect())
                    .collect();
                let edited = readings.iter().zip(&moved);
                let edited: Vec<EditedRun<'_>> =
                    edited.map(|(&(run, observable), edits)| EditedRun { run, edits, observable }).collect();
                let (before, after) = (read_values(&readings)?, values_of(&edited)?);
                Ok(after.iter().zip(before).map(|(after, before)| (after - before) as f32).collect())
            }
        }
    }

    /// Returns the cotangent of one observed number, and the index of its run.
    fn seed(&self, datum: usize) -> Result<(usize, Vec<Seed>)> {
        let d = self.width();
        match &self.what {
            What::Levels(levels) => {
                let (row, component) = (datum / d, datum % d);
                let mut vector = vec![0.0; d];
                vector[component] = 1.0;
                Ok((0, vec![Seed::Field { level: levels[row / self.tokens], token: row % self.tokens, vector }]))
            }
            What::Values(observables) => Ok((datum, self.runs[datum].seeds(&observables[datum])?)),
        }
    }

    /// Computes the rows of all operators G_p at `levels`, and passes them to `visit` in batches: the index of the
    /// first observed number, and rows `[batch, levels, T, d]`, which are the sensitivities of each.
    ///
    /// # Errors
    /// A device error.
    pub(super) fn rows(&self, levels: &[usize], visit: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let (tokens, d) = (self.tokens, self.width());
        let sites: Vec<Site> = levels.iter().map(|&l| Site::level(l, self.run().model().sizes())).collect();
        let (size, count) = (sites.len() * tokens * d, self.count());
        let fits = (self.run().linearize(Mode::Exact).batch_rows(sites.len()) / tokens).min(BATCH / size);
        for first in (0..count).step_by(fits.max(1)) {
            let seeds: Vec<(usize, Vec<Seed>)> =
                (first..(first + fits.max(1)).min(count)).map(|m| self.seed(m)).collect::<Result<_>>()?;
            let seeded: Vec<SeededRun<'_>> =
                seeds.iter().map(|(n, seeds)| SeededRun { run: self.runs[*n], seeds }).collect();
            let mut rows = vec![0.0f32; seeds.len() * size];
            vjp_of(Mode::Exact, &seeded, &sites, &mut |chunk| {
                let skipped = self.offset(seeds[chunk.sequence].0);
                for (i, row) in chunk.rows.chunks(d).enumerate() {
                    if let Some(token) = (chunk.token + i).checked_sub(skipped) {
                        let at = chunk.sequence * size + (chunk.site * tokens + token) * d;
                        rows[at..at + d].copy_from_slice(row);
                    }
                }
            })?;
            visit(first, &rows);
        }
        Ok(())
    }
}

/// Most elements of a batch of rows, 64 MiB in f32.
const BATCH: usize = 1 << 24;
