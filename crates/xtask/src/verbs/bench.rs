//! `bench`: throughput of kernels and of whole analyses.

use crate::{
    Verb,
    process::{Result, cargo, run},
};

pub(crate) const VERB: Verb =
    Verb { name: "bench", summary: "cargo bench -p resolvent-benches", takes_arguments: true, run: bench };

fn bench(arguments: &[String]) -> Result {
    run(cargo(&["bench", "-p", "resolvent-benches"]).args(arguments))
}
