//! What commands print and write.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use resolvent::Labelled;
use resolvent::model::Run;
use resolvent_report::{Heatmap, Style};

use crate::Failure;

/// Where results go.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Write the arrays to a .safetensors or .json file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print the arrays to stdout as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl OutputArgs {
    /// Checks that the file could be written, before the work is done.
    pub(crate) fn prepare(&self) -> Result<Output<'_>, Failure> {
        if let Some(path) = &self.out {
            Labelled::check_path(path)?;
        }
        Ok(Output(self))
    }
}

/// Where a result goes.
pub(crate) struct Output<'a>(&'a OutputArgs);

impl Output<'_> {
    /// Writes the file, then prints either the JSON or `text`.
    pub(crate) fn finish(&self, result: &Labelled, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if let Some(path) = &self.0.out {
            result.write(path)?;
            eprintln!("wrote {}", path.display());
        }
        print(&if self.0.json { result.to_json() } else { text() })
    }

    /// The file to which a result may be written as it comes, and not whole.
    pub(crate) fn stream(&self) -> Option<&Path> {
        self.0.out.as_deref().filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
    }

    /// Whether arrays are printed.
    pub(crate) fn json(&self) -> bool {
        self.0.json
    }

    /// As [`Output::finish`], of a result that is in its file already.
    pub(crate) fn finish_streamed(&self, path: &Path, text: impl FnOnce() -> String) -> Result<(), Failure> {
        eprintln!("wrote {}", path.display());
        print(&if self.0.json { Labelled::read(path)?.to_json() } else { text() })
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end())?;
    Ok(stdout.flush()?)
}

/// A heatmap of one array with the run's tokens below, as wide as the terminal.
pub(crate) fn heatmap(run: &Run, result: &Labelled, array: &str, title: &str) -> String {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = if colour { Style::Colour } else { Style::Plain };
    let width =
        std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).or_else(terminal_width).unwrap_or(120);
    let labels = labels(run);
    let map = result.array(array).and_then(|array| Heatmap::new(title, array, &labels));
    map.map_or_else(String::new, |map| map.render(style, width))
}

/// Text of one of a run's tokens.
pub(crate) fn label(run: &Run, token: usize) -> String {
    labels(run).swap_remove(token)
}

/// Texts of a run's tokens, for labels.
fn labels(run: &Run) -> Vec<String> {
    let text = |id: &u32| run.model().tokenizer().map_or_else(|| format!("#{id}"), |t| t.token(*id));
    run.tokens().iter().map(text).collect()
}

fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// The checks that a result passed, in one line.
pub(crate) fn checks(result: &Labelled) -> String {
    let each =
        result.certificates.iter().map(|c| format!("{} {:.1e} (at most {:.0e})", c.name, c.value, c.bound));
    format!("checks: {}", each.collect::<Vec<_>>().join(", "))
}

/// Whether writing failed because the reader has seen enough (`| head`).
pub(crate) fn is_closed_pipe(failure: &(dyn std::error::Error + 'static)) -> bool {
    failure.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
