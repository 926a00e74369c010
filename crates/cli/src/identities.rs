//! `resolvent identities`: identities that hold because of symmetries of the model.

use std::fmt::Write;

use resolvent::Labelled;
use resolvent::field::{Identity, identities, identities_of_prompts};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::OutputArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.without_plot()?;
    let model = args.model.open()?;
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        let result = cases.all(identities_of_prompts)?;
        return cases.finish(output, result, &[], &|_| String::new());
    }
    let (observable, tokens) = args.observable.of(&model, &args.prompt.tokens(&model)?)?;
    let run = args.edits.run(&model, &tokens)?;
    let result = identities(&run, &observable)?;
    output.naming(&run, Some(&args.observable)).finish(&result, || table(&result))
}

/// Formats each identity with its check, or with the reason why it does not hold.
fn table(result: &Labelled) -> String {
    let mut text = String::new();
    for identity in Identity::ALL {
        let check = result.certificates.iter().find(|check| check.name == identity.name());
        let _infallible = match (check, result.metadata.get(&format!("left_out.{identity}"))) {
            (Some(check), _) => {
                let (name, value, bound) = (check.name, check.value, check.bound);
                writeln!(text, "{name:<12} {:<42} {value:.1e} (at most {bound:.0e})", identity.formula())
            }
            (None, Some(reason)) => {
                writeln!(text, "{:<12} {:<42} does not hold: {reason}", identity.name(), identity.formula())
            }
            (None, None) => Ok(()),
        };
    }
    text
}
