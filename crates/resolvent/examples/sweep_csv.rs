//! Activation patching over a CSV file of prompts: where do most of them hold the answer?
//!
//! ```text
//! cargo run --release --example sweep_csv [FILE.csv]
//! ```
//!
//! Prompts may have any lengths. All of them pass through the model in shared batches, and a row that cannot be used is
//! named and left out.

use std::error::Error;
use std::path::PathBuf;

use resolvent::field::{BesidePatches, Predictor, SiteKind, patch_of_prompts};
use resolvent::model::{DEFAULT_MODEL, PromptSet};
use resolvent::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/capitals.csv");
    let file = std::env::args().nth(1).filter(|file| file.ends_with(".csv"));
    let file = PathBuf::from(file.as_deref().unwrap_or(own));
    let model = Model::named(&open(&Options::default())?, DEFAULT_MODEL)?;

    // Text becomes tokens of this model. A row that does not fit says why.
    let (mut cases, set) = (Vec::new(), PromptSet::open(&file)?);
    for row in set.tasks.values().flat_map(|task| &task.prompts) {
        match row.case(&model, None, None) {
            Ok(case) => cases.push(case),
            Err(reason) => println!("{} is left out: {reason}", row.name()),
        }
    }

    // Every h[level, token] of each clean prompt, put into its corrupted prompt, beside two predictions of the effect.
    let predictors = [Predictor::FirstOrder, Predictor::RelP];
    let beside = BesidePatches { predictors: &predictors, ..BesidePatches::default() };
    let result = patch_of_prompts(&model, &cases, &[SiteKind::Resid], beside, &mut |done, all| {
        println!("{done} of {all} prompts");
    })?;
    let result = result.stack()?;

    // Means over prompts have a 95 % interval. Tokens are aligned by the role that the file gives them, or from the
    // end.
    println!("\nmean effect on the logit difference\nlevel     of the country   of the last token");
    let array = |name: &str| result.array(name).ok_or(format!("no array {name}"));
    let (role, low, high) = (array("effect.role")?, array("effect.role_low")?, array("effect.role_high")?);
    let mean = array("effect.mean")?;
    for level in (0..role.axes[1].1).rev() {
        let last = mean.data[(level + 1) * mean.axes[1].1 - 1];
        let (role, low, high) = (role.data[level], low.data[level], high.data[level]);
        println!("{level:>5}  {role:>6.2} ({low:>5.2} to {high:>5.2})   {last:>6.2}");
    }
    for name in ["agreement.resid", "intervals"] {
        println!("{name}: {}", result.metadata[name]);
    }
    Ok(())
}
