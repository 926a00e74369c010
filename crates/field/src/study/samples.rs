//! Figures of statements: estimates of each task, their mean over tasks, and its interval over prompts.

use crate::labelled::Labelled;
use crate::stats;

use super::figure::Figure;

/// Measurements by prompt, of several tasks.
pub(super) struct Samples<T> {
    tasks: Vec<String>,
    /// Each prompt's task, and what was measured on it.
    prompts: Vec<(usize, T)>,
}

impl<T> Samples<T> {
    pub(super) fn new() -> Self {
        Self { tasks: Vec::new(), prompts: Vec::new() }
    }

    /// Adds the prompts of a task.
    pub(super) fn add(&mut self, task: &str, prompts: impl IntoIterator<Item = T>) {
        let index = self.tasks.len();
        self.tasks.push(task.to_owned());
        self.prompts.extend(prompts.into_iter().map(|prompt| (index, prompt)));
    }

    /// Returns the estimates of the tasks, and their mean with its interval. Draws for the interval take prompts of all
    /// tasks together, so that tasks count as drawn too. Tasks whose estimate is not finite are left out of the mean.
    pub(super) fn figure(&self, seed: u64, estimate: impl Fn(&[&T]) -> f64) -> Figure {
        let by_task = |draw: &[&(usize, T)]| -> Vec<f64> {
            let of = |task: usize| {
                let mine: Vec<&T> = draw.iter().filter(|(at, _)| *at == task).map(|(_, prompt)| prompt).collect();
                if mine.is_empty() { f64::NAN } else { estimate(&mine) }
            };
            (0..self.tasks.len()).map(of).collect()
        };
        let mean = |draw: &[&(usize, T)]| {
            stats::mean(&by_task(draw).into_iter().filter(|x| x.is_finite()).collect::<Vec<f64>>())
        };
        let all = by_task(&self.prompts.iter().collect::<Vec<_>>());
        Figure {
            interval: stats::interval(&self.prompts, seed, mean),
            prompts: self.prompts.len(),
            by_task: self.tasks.iter().cloned().zip(all).collect(),
        }
    }
}

/// Returns an array as f64, or an empty one if the result lacks it.
pub(super) fn array(result: &Labelled, name: &str) -> Vec<f64> {
    result.array(name).map_or_else(Vec::new, |a| a.data.iter().map(|&x| f64::from(x)).collect())
}

/// Returns the rows of an array `[N, ...]`; none if the result lacks it.
pub(super) fn rows(result: &Labelled, name: &str) -> Vec<Vec<f64>> {
    let width = result.array(name).map_or(1, |a| a.axes.iter().skip(1).map(|(_, n)| n).product::<usize>().max(1));
    array(result, name).chunks(width).map(<[f64]>::to_vec).collect()
}

/// Groups values by the prompts that the array `prompt` names.
pub(super) fn by_prompt<T: Clone>(result: &Labelled, values: &[T]) -> Vec<Vec<T>> {
    let mut groups: Vec<(f64, Vec<T>)> = Vec::new();
    for (prompt, value) in array(result, "prompt").into_iter().zip(values) {
        match groups.iter_mut().find(|(p, _)| *p == prompt) {
            Some((_, group)) => group.push(value.clone()),
            None => groups.push((prompt, vec![value.clone()])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Returns the finite values of a draw of groups.
pub(super) fn pooled(draw: &[&Vec<f64>]) -> Vec<f64> {
    draw.iter().flat_map(|group| group.iter().copied()).filter(|x| x.is_finite()).collect()
}

/// Returns the values of a draw of prompts with one value each.
pub(super) fn single(draw: &[&f64]) -> Vec<f64> {
    draw.iter().map(|x| **x).filter(|x| x.is_finite()).collect()
}

/// Results of one analysis, each with its task.
pub(super) type Results<'a> = [(&'a str, &'a Labelled)];

/// Returns samples of what `of` takes from each result, one element a prompt.
pub(super) fn samples<T>(results: &Results<'_>, of: impl Fn(&Labelled) -> Vec<T>) -> Samples<T> {
    let mut samples = Samples::new();
    results.iter().for_each(|(task, result)| samples.add(task, of(result)));
    samples
}

/// Returns a comma-separated list of the first result's metadata.
pub(super) fn list<'a>(results: &Results<'a>, key: &str) -> Vec<&'a str> {
    results.first().and_then(|(_, result)| result.list(key)).unwrap_or_default()
}

/// Returns the medians of a column with one value for each prompt, or with several for those that the array `prompt`
/// names.
pub(super) fn medians(results: &Results<'_>, seed: u64, column: impl Fn(&Labelled) -> Vec<f64>) -> Figure {
    let each = samples(results, |result| by_prompt(result, &column(result)));
    each.figure(seed, |draw| stats::median(&pooled(draw)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_weigh_alike() {
        let mut samples = Samples::new();
        samples.add("a", vec![1.0; 9]);
        samples.add("b", [3.0]);
        let figure = samples.figure(0, |draw| stats::mean(&single(draw)));
        assert_eq!((figure.interval.estimate, figure.prompts), (2.0, 10));
        assert_eq!(figure.by_task, [("a".to_owned(), 1.0), ("b".to_owned(), 3.0)]);
        // Some draws have no prompt of the second task.
        assert_eq!((figure.interval.low, figure.interval.high), (1.0, 2.0));
    }

    #[test]
    fn seven_prompts_have_no_interval() {
        let figure = |n: usize| {
            let mut samples = Samples::new();
            samples.add("a", (0..n).map(|i| i as f64));
            samples.figure(0, |draw| stats::mean(&single(draw))).interval
        };
        assert!(figure(7).low.is_nan() && figure(7).estimate == 3.0);
        assert!(figure(8).low < figure(8).estimate && figure(8).estimate < figure(8).high);
    }

    #[test]
    fn a_task_without_an_estimate_is_left_out_of_the_mean() {
        let mut samples = Samples::new();
        samples.add("a", [2.0]);
        samples.add("b", [f64::NAN]);
        let figure = samples.figure(0, |draw| stats::mean(&single(draw)));
        assert_eq!(figure.interval.estimate, 2.0);
        assert!(figure.by_task[1].1.is_nan());
        let none: Samples<f64> = Samples::new();
        assert!(none.figure(0, |draw| stats::mean(&single(draw))).interval.estimate.is_nan());
    }
}
