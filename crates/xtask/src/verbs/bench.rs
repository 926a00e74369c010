//! `bench`: throughput of kernels and of whole analyses, and how their cost grows.

use crate::{
    Verb,
    process::{Result, cargo, run},
};

pub(crate) const VERB: Verb = Verb {
    name: "bench",
    summary: "cargo bench -p resolvent-benches; with --scaling, the figure of how cost grows",
    takes_arguments: true,
    run: bench,
};

/// The figure of the page on growth.
const GROWTH: &str = "docs/src/figures/scaling.svg";

fn bench(arguments: &[String]) -> Result {
    if let Some(at) = arguments.iter().position(|argument| argument == "--scaling") {
        let rest = [&arguments[..at], &arguments[at + 1..]].concat();
        let scaling = ["run", "--release", "-p", "resolvent-cli", "--", "bench", "--scaling", "--plot", GROWTH];
        return run(cargo(&scaling).args(rest));
    }
    run(cargo(&["bench", "-p", "resolvent-benches"]).args(arguments))
}
