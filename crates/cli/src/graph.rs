//! The option `--graph`: edges as a file for programs that draw graphs.

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
