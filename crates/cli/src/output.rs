//! Writes, draws and prints the results of commands.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::Args;
use resolvent::Labelled;
use resolvent::model::{Model, Run};
use resolvent_report::terminal::{Heatmap, Style, visible};
use resolvent_report::{Figure, Grid, figures, strongest_rows};

use crate::Failure;
use crate::observable::ObservableArgs;
use crate::terminal::{colours, print, say, width};

/// Where results go.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Write the arrays to a .safetensors or .json file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Draw the result into a .svg, .png or .html file
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Print the arrays to stdout as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl OutputArgs {
    /// Checks that the output files can be written, before the work begins.
    pub(crate) fn prepare(&self) -> Result<Output<'_>, Failure> {
        if let Some(path) = &self.out {
            Labelled::check_path(path)?;
        }
        if let Some(path) = &self.plot {
            Figure::check_path(path)?;
        }
        Ok(Output { args: self, labels: Vec::new(), observable: None, drawn: None, edges: None })
    }

    /// Does what [`OutputArgs::prepare`] does for an analysis without figures.
    pub(crate) fn without_plot(&self) -> Result<Output<'_>, Failure> {
        match self.plot {
            Some(_) => Err(no_figures()),
            None => self.prepare(),
        }
    }
}

/// Returns the error of `--plot` for a result without figures.
fn no_figures() -> Failure {
    "this analysis has no figures; leave --plot out".into()
}

/// The destination of a result, and the names that its plots show.
pub(crate) struct Output<'a> {
    args: &'a OutputArgs,
    /// Texts of the tokens. If there are none, plots show the ids.
    labels: Vec<String>,
    /// The observable J as it was typed.
    observable: Option<String>,
    /// What a plot shows, if it is not the result itself.
    drawn: Option<Labelled>,
    /// How many edges a graph has at most.
    edges: Option<usize>,
}

impl Output<'_> {
    /// Sets the names that a plot shows and a result does not contain: texts of the tokens, and J as it was typed.
    #[must_use]
    pub(crate) fn naming(mut self, run: &Run, observable: Option<&ObservableArgs>) -> Self {
        self.labels = labels(run);
        self.observable = observable.map(ObservableArgs::title);
        self
    }

    /// Sets what a plot shows in place of a result over many prompts: its means, with tokens from the end.
    #[must_use]
    pub(crate) fn of_prompts(mut self, averaged: &Labelled, labels: &[String]) -> Self {
        self.labels = labels.to_vec();
        self.drawn = Some(averaged.clone());
        self
    }

    /// Sets how many edges a graph has at most; `None` leaves it to the figure.
    #[must_use]
    pub(crate) fn edges(mut self, count: Option<usize>) -> Self {
        self.edges = count;
        self
    }

    /// Writes the files, then prints either the JSON or `text`.
    pub(crate) fn finish(&self, result: &Labelled, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if let Some(path) = &self.args.out {
            result.write(path)?;
            say(format_args!("wrote {}", path.display()));
        }
        self.show(result, text)
    }

    /// Draws and prints a result.
    fn show(&self, result: &Labelled, text: impl FnOnce() -> String) -> Result<(), Failure> {
        result.finite()?;
        if let Some(path) = &self.args.plot {
            self.plot(self.drawn.as_ref().unwrap_or(result))?.write(path)?;
            say(format_args!("wrote {}", path.display()));
        }
        let printed = if self.args.json { result.to_json() } else { text() };
        print(printed.trim_end())
    }

    /// Returns the file to which a result can be written chunk by chunk: one that ends in .safetensors.
    pub(crate) fn stream(&self) -> Option<&Path> {
        self.args.out.as_deref().filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
    }

    /// Returns whether the arrays are needed outside of the file too: for JSON on stdout, or for a plot of them.
    pub(crate) fn wants_arrays(&self) -> bool {
        self.args.json || (self.args.plot.is_some() && self.drawn.is_none())
    }

    /// Does what [`Output::finish`] does for a result whose file is already written. `result` lacks the arrays.
    pub(crate) fn finish_streamed(
        &self,
        path: &Path,
        result: &Labelled,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        say(format_args!("wrote {}", path.display()));
        match self.wants_arrays() {
            true => self.show(&Labelled::read(path)?, text),
            false => self.show(result, text),
        }
    }

    /// Returns the figures of a result as one drawing.
    fn plot(&self, result: &Labelled) -> Result<Figure, Failure> {
        let notes = [("observable_text", self.observable.clone()), ("drawn_edges", self.edges.map(|n| n.to_string()))];
        let notes = notes.into_iter().filter_map(|(key, text)| Some((key, text?)));
        let named =
            notes.fold(Cow::Borrowed(result), |named, (key, text)| Cow::Owned(named.into_owned().note(key, text)));
        let labels = match self.labels.is_empty() {
            true => result.list("tokens").unwrap_or_default().into_iter().map(|id| format!("#{id}")).collect(),
            false => self.labels.clone(),
        };
        let mut figures = figures(&named, &labels);
        match figures.len() {
            0 => Err(no_figures()),
            1 => Ok(figures.remove(0)),
            _ => Ok(Grid::new("", figures).into()),
        }
    }
}

/// Draws a heatmap of one array with the run's tokens below, as wide as the terminal.
pub(crate) fn heatmap(run: &Run, result: &Labelled, array: &str, title: &str) -> String {
    heatmaps(run, result, &[(array, title)])
}

/// Largest number of rows in a map of heads. A map with more heads shows those with the largest values.
const ROWS: usize = 16;

/// Draws heatmaps of arrays for comparison: with one unit, one colour scale and the same rows.
///
/// `arrays` lists names and titles. Arrays that the result lacks are left out.
pub(crate) fn heatmaps(run: &Run, result: &Labelled, arrays: &[(&str, &str)]) -> String {
    maps(&labels(run), result, arrays)
}

/// Like [`heatmaps`], with the texts of the tokens.
pub(crate) fn maps(labels: &[String], result: &Labelled, arrays: &[(&str, &str)]) -> String {
    let style = if colours() { Style::Colour } else { Style::Plain };
    let found: Vec<_> = arrays.iter().filter_map(|(name, title)| Some((result.array(name)?, *title))).collect();
    // Levels are few, and all of them are shown. Heads are many, and the strongest are shown.
    let heads = found.first().filter(|(array, _)| array.axes.len() == 3);
    let rows = heads.map(|(array, _)| strongest_rows(array, ROWS));
    let map = |(array, title): (_, _)| {
        let map = Heatmap::new(title, array, labels)?;
        Some(match &rows {
            Some(rows) => map.only(rows),
            None => map,
        })
    };
    let maps: Vec<Heatmap<'_>> = found.into_iter().filter_map(map).collect();
    Heatmap::together(&maps, style, width())
}

/// Returns the text of one token of a run, for a table.
pub(crate) fn label(run: &Run, token: usize) -> String {
    visible(&labels(run).swap_remove(token)).into_owned()
}

/// Returns a token of a model as a quoted text, or its id if the model has no tokenizer.
pub(crate) fn quoted(model: &Model, id: u32) -> String {
    model.tokenizer().map_or_else(|| format!("#{id}"), |t| format!("{:?}", t.token(id)))
}

/// Returns the texts of a run's tokens, or their ids if the model has no tokenizer.
pub(crate) fn labels(run: &Run) -> Vec<String> {
    let text = |id: &u32| run.model().tokenizer().map_or_else(|| format!("#{id}"), |t| t.token(*id));
    run.tokens().iter().map(text).collect()
}

/// Formats the checks that a result passed, in one line.
pub(crate) fn checks(result: &Labelled) -> String {
    let each = result.certificates.iter().map(ToString::to_string);
    format!("checks: {}", each.collect::<Vec<_>>().join(", "))
}
