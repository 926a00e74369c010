//! The options `--graph`, edges as a file for programs that draw graphs, and `--top`, how many of them are shown.

use std::path::PathBuf;

use resolvent::Labelled;
use resolvent_report::{check_graph_path, write_graph};

use crate::Failure;
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct GraphArgs {
    /// Write all edges with an effect to a .graphml or .json file, for Gephi, Cytoscape, yEd, networkx or D3
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
}

impl GraphArgs {
    /// Returns whether a graph is asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.graph.is_some()
    }

    /// Checks that the file can be written, before the work begins.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        Ok(self.graph.as_deref().map_or(Ok(()), check_graph_path)?)
    }

    /// Writes the file.
    pub(crate) fn write(&self, result: &Labelled) -> Result<(), Failure> {
        if let Some(path) = &self.graph {
            write_graph(result, path)?;
            say(format_args!("wrote {}", path.display()));
        }
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct TopArgs {
    /// Edges in the printed table, 20 without it; also, up to 200, in the graph of --plot, 40 without it
    #[arg(long, value_name = "N")]
    top: Option<usize>,
}

impl TopArgs {
    /// Returns how many edges a table has.
    pub(crate) fn listed(&self) -> usize {
        self.top.unwrap_or(20)
    }

    /// Returns how many edges a plot has at most; `None` leaves it to the plot.
    pub(crate) fn drawn(&self) -> Option<usize> {
        self.top.filter(|&count| count > 0)
    }
}
