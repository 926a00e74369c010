//! A sliced Green operator, written to a file while it is computed. The file may be far larger than the memory.
//!
//!     cargo run --release -p resolvent --example streamed_slice

use std::error::Error;

use resolvent::field::{Basis, BasisContext, PlacePairs, Slice};
use resolvent::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    // Memory for intermediate values and, as much again, for results: the slice is written in chunks that fit.
    let device = open(&Options { batch_bytes: 4 << 20, ..Options::default() })?;
    let model = Model::named(&device, "atlas-micro")?;
    let tokenizer = model.tokenizer().ok_or("this model has no tokenizer")?;
    let run = model.run(&tokenizer.prompt("When Mary and John went to the store, Mary gave a drink to")?, &[])?;

    // The operator takes a change of the residual stream at one place to the change that it causes at a later one. For
    // each pair of places it has d x d numbers, here reduced to 4 principal components at either end.
    let linear = run.linearize(Mode::Exact);
    let pairs = PlacePairs::new(&run, None, None)?;
    let context = BasisContext { rank: Some(4), ..Default::default() };
    let slice = Slice::new(&linear, pairs, [&Basis::Pca, &Basis::Pca], [context, context])?;
    println!("{} pairs of places, {:?} numbers each, {} bytes", slice.pairs().len(), slice.shape(), slice.bytes());

    // If the program is interrupted, the same call resumes where it stopped; `true` instead starts again.
    let path = std::env::temp_dir().join(format!("resolvent-slice-{}.safetensors", std::process::id()));
    let mut quarters = 0;
    let sliced = slice.write(&path, false, &mut |done, all| {
        if 4 * done / all.max(1) > quarters {
            quarters = 4 * done / all.max(1);
            println!("  {} %", 25 * quarters);
        }
    })?;

    println!("strongest pairs:");
    for pair in sliced.strongest.iter().take(3) {
        println!("  h{:?} -> h{:?}: {:.3}", pair.from, pair.to, pair.value);
    }

    // The file has the arrays, the checks that the result passed and its provenance.
    let written = Labelled::read(&path)?;
    for array in &written.arrays {
        println!("{:15} {:?}", array.name, array.axes);
    }
    println!("{} checks passed", written.certificates.len());
    std::fs::remove_file(&path)?;
    Ok(())
}
