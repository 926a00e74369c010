//! `real`: runs the commands of the page `recipes/real-model.md` on a real language model.

use crate::{
    Verb,
    process::{Result, cargo, run},
    real,
};

pub(crate) const VERB: Verb = Verb {
    name: "real",
    summary: "download SmolLM2-135M-Instruct into the cache, and run the commands of recipes/real-model.md on it",
    takes_arguments: true,
    run: try_model,
};

const CLEAN: &str = "When Mary and John went to the store, John gave a drink to";
const CORRUPTED: &str = "When Mary and John went to the store, Mary gave a drink to";

fn try_model(arguments: &[String]) -> Result {
    let model = real::fetch()?;
    let names = ["--target", " Mary", "--against", " John"];
    let commands: [(&str, Vec<&str>); 4] = [
        ("run", vec!["The capital of France is the city of", "--top", "4"]),
        ("run", vec![CLEAN, "--top", "4"]),
        ("sensitivity", [&[CLEAN], &names[..]].concat()),
        ("patch", [&[CLEAN, "--corrupted", CORRUPTED], &names[..], &["--predictors", "integrated,relp"]].concat()),
    ];
    for (command, own) in commands {
        let mut program = cargo(&["run", "--release", "--quiet", "--package", "resolvent-cli", "--", command]);
        run(program.args(own).arg("--model").arg(&model).args(arguments))?;
    }
    Ok(())
}
