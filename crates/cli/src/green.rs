//! `resolvent green`

use resolvent::model::{Model, Observable, Run};
use resolvent::{Context, Direction};

use crate::Failure;
use crate::options::{ModelArgs, ObservableArgs, PromptArgs, place, token, tokens};
use crate::output::{OutputArgs, checks, heatmap};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Place of the source: LEVEL,TOKEN; -1 is the last
    #[arg(short, long, value_name = "L,T", allow_hyphen_values = true)]
    source: String,
    /// Direction: token:TOKEN, random[:SEED], sensitivity (with --target), displacement (with --donor), or a file
    #[arg(long, value_name = "D", default_value = "random")]
    direction: String,
    /// Make the direction unit length
    #[arg(long)]
    unit: bool,
    /// For `sensitivity`: token whose logit is observed
    #[arg(short, long, value_name = "TOKEN")]
    target: Option<String>,
    /// For `sensitivity`: token whose logit is subtracted
    #[arg(short, long, value_name = "TOKEN")]
    against: Option<String>,
    /// For `sensitivity`: position at which the logits are read; -1 is the last
    #[arg(short, long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
    /// For `displacement`: the second prompt, of as many tokens
    #[arg(long, value_name = "TEXT")]
    donor: Option<String>,
    /// For `displacement`: the second prompt as token ids
    #[arg(long, value_name = "IDS", conflicts_with = "donor")]
    donor_tokens: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let run = model.run(&args.prompt.tokens(&model)?, &[])?;
    let (level, at) = parse_place(&args.source, model.config().n_layer + 1, run.tokens().len())?;
    let observable = args.observable(&run)?;
    let other = match args.donor.is_some() || args.donor_tokens.is_some() {
        true => Some(model.run(&tokens(&model, args.donor.as_deref(), args.donor_tokens.as_deref())?, &[])?),
        false => None,
    };
    let context = Context { observable: observable.as_ref(), other: other.as_ref(), unit: args.unit };
    let source = parse_direction(&model, &args.direction)?.resolve(&run, (level, at), context)?;
    let result = resolvent::green(&run, level, at, &source)?
        .note("direction", &args.direction)
        .note("unit", args.unit.to_string());
    output.finish(&run, &result, || {
        let title = format!("|response| to {} at h[{level},{at}]", args.direction);
        format!("{}{}", heatmap(&run, &result, "norm", &title), checks(&result))
    })
}

impl Args {
    fn observable(&self, run: &Run) -> Result<Option<Observable>, Failure> {
        let Some(target) = self.target.clone() else { return Ok(None) };
        let args = ObservableArgs { target, against: self.against.clone(), position: self.position };
        Ok(Some(args.observable(run.model(), run.tokens().len())?))
    }
}

/// `l,t`, where negative numbers count from the end.
fn parse_place(text: &str, levels: usize, tokens: usize) -> Result<(usize, usize), Failure> {
    let parsed =
        text.split_once(',').and_then(|(l, t)| Some((l.trim().parse().ok()?, t.trim().parse().ok()?)));
    let (level, at) =
        parsed.ok_or_else(|| format!("`{text}` is no place; write LEVEL,TOKEN such as 3,-1"))?;
    Ok((place("level", level, levels)?, place("token position", at, tokens)?))
}

fn parse_direction(model: &Model, text: &str) -> Result<Direction, Failure> {
    Ok(match text.split_once(':').unwrap_or((text, "")) {
        ("token", arg) => Direction::Token(token(model, arg)?),
        ("random", "") => Direction::Random(0),
        ("random", seed) => Direction::Random(
            seed.parse()
                .map_err(|_| format!("`{seed}` is no seed; write random:SEED with a whole number"))?,
        ),
        ("sensitivity", "") => Direction::Sensitivity,
        ("displacement", "") => Direction::Displacement,
        _ => Direction::File(text.into()),
    })
}
