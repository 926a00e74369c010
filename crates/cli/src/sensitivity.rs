//! `resolvent sensitivity`: `dJ/dh` at every level and token.

use resolvent::Direction;
use resolvent::field::{SiteKind, distinct, sensitivity_along, sensitivity_at, sensitivity_of_prompts};
use resolvent::model::Site;

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{DonorArgs, ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks, heatmap};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Further kinds of sites, with commas, as in `patch --sites`: the derivative of J by their values
    #[arg(long, value_name = "KINDS", value_delimiter = ',', conflicts_with = "direction")]
    sites: Vec<SiteKind>,
    /// Also write <dJ/dh[l,t], D> at every place, for a direction D: token:TOKEN, random[:SEED], displacement (with
    /// --donor), or a file
    #[arg(long, value_name = "D", conflicts_with = "prompts")]
    direction: Option<String>,
    #[command(flatten)]
    donor: DonorArgs,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let kinds = distinct(args.sites.iter().copied());
    let named = maps(&kinds);
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        let result = cases.all(|model, cases, progress| sensitivity_of_prompts(model, cases, &kinds, progress))?;
        let arrays: Vec<(&str, &str)> = named.iter().map(|(name, title)| (&name[..], &title[..])).collect();
        return cases.finish(output, result, &arrays, &|_| String::new());
    }
    let tokens = args.prompt.tokens(&model)?;
    let (observable, tokens) = args.observable.of(&model, &tokens)?;
    let sites: Vec<Site> = kinds.iter().flat_map(|kind| kind.sites(model.sizes())).collect();
    let run = args.edits.run_all(&model, std::slice::from_ref(&tokens), &sites)?.remove(0);
    let result = match &args.direction {
        None => sensitivity_at(&[(&run, &observable)], &kinds)?.remove(0),
        Some(text) => {
            let direction = Direction::parse(text, &model)?;
            let donor = args.donor.run(&model, &args.edits)?;
            sensitivity_along(&run, &observable, &direction, donor.as_ref())?.note("direction", text)
        }
    };
    output.naming(&run, Some(&args.observable)).finish(&result, || {
        let value = result.array("value").map_or(f32::NAN, |a| a.data[0]);
        let title = format!("|dJ/dh[l,t]|, J = {} = {value:.4}", args.observable.title());
        let mut text = heatmap(&run, &result, "norm", &title);
        if let Some(direction) = &args.direction {
            let title = format!("<dJ/dh[l,t], {direction}>");
            text.push('\n');
            text.push_str(&heatmap(&run, &result, "directional", &title));
        }
        for (name, title) in named.iter().skip(1) {
            text.push('\n');
            text.push_str(&heatmap(&run, &result, name, title));
        }
        format!("{text}{}", checks(&result))
    })
}

/// Returns the maps that are shown, with their titles: of the field, and of further kinds of sites.
fn maps(kinds: &[SiteKind]) -> Vec<(String, String)> {
    let further = kinds.iter().filter(|kind| **kind != SiteKind::Resid);
    let named = further.map(|kind| (format!("norm.{kind}"), format!("|dJ/dy|, {kind}")));
    [("norm".to_owned(), "|dJ/dh[l,t]|".to_owned())].into_iter().chain(named).collect()
}
