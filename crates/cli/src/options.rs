//! Options that several commands share, and their conversion to values of the library.

use std::sync::{Mutex, PoisonError};

use clap::Args;
use resolvent::engine::{Choice, Device, Options};
use resolvent::model::{Model, Observable, PromptCase, Run, check_prompt, from_end, parse_tokens};
use resolvent::{Direction, Labelled, Place};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::prompts::PromptSetArgs;
use crate::several::Asked;
use crate::shards::{is_cell, is_divided};

/// Which device.
#[derive(Args)]
pub(crate) struct DeviceArgs {
    /// Device: auto, gpu, host, an index of `resolvent devices`, or part of an adapter's name. Several devices share
    /// the shards of many prompts: `all`, or a list such as 0,1,host. RESOLVENT_DEVICE sets the default
    #[arg(short, long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: Asked,
    /// Memory for a batch's intermediate values and, as much again, for results in memory, such as 512M or 2G;
    /// weights and the runs of a batch come on top, up to twice as much again
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "512M")]
    pub(crate) memory: u64,
    /// Keep weights as 16-bit floats, in half the memory; what that costs in accuracy is written into results, and is
    /// nothing for a model that was stored so
    #[arg(long, alias = "half-weights")]
    pub(crate) f16_weights: bool,
    /// Round the inputs of forward products to 16-bit floats as well, for GPUs with matrix units (`resolvent devices`
    /// tells); derivatives stay f32, and what it costs in accuracy is written into results
    #[arg(long, alias = "half-inputs")]
    pub(crate) f16_inputs: bool,
}

/// Parses a size such as 512M, in binary units, and returns bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.to_ascii_uppercase().trim_end_matches("IB") {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => 64,
    };
    let size = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1u64.checked_shl(shift)?));
    size.filter(|&size| size >= 1 << 20).ok_or_else(|| "expected a size of 1M or more, such as 512M or 2G".to_owned())
}

/// Which model, on which device.
#[derive(Args)]
pub(crate) struct ModelArgs {
    /// Model: an embedded one (atlas-nano, atlas-micro, atlas-small), a directory, a name on the Hugging Face hub
    /// (gpt2, ORG/NAME, with @REVISION if you like), or `random[:SEED]` for a tiny one with random weights
    #[arg(short, long, value_name = "MODEL", default_value = resolvent::model::DEFAULT_MODEL)]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// The prompt, as text or as token ids.
#[derive(Args)]
pub(crate) struct PromptArgs {
    /// Prompt text
    #[arg(value_name = "PROMPT", required_unless_present_any = ["tokens", "prompts", "text"], conflicts_with = "tokens")]
    pub(crate) prompt: Option<String>,
    /// Prompt as token ids, such as 5,9,12
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    pub(crate) tokens: Option<String>,
    #[command(flatten)]
    pub(crate) set: PromptSetArgs,
}

/// A second prompt, for displacements.
#[derive(Args)]
pub(crate) struct DonorArgs {
    /// Second prompt, of as many tokens; with --prompts it is the row's corrupted prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "prompts")]
    pub(crate) donor: Option<String>,
    /// Second prompt as token ids
    #[arg(long, value_name = "IDS", conflicts_with_all = ["donor", "prompts"], allow_hyphen_values = true)]
    pub(crate) donor_tokens: Option<String>,
}

/// The corrupted prompt of an analysis that patches between two prompts.
#[derive(Args)]
pub(crate) struct CorruptedArgs {
    /// Corrupted prompt, of as many tokens
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present_any = ["corrupted_tokens", "prompts"],
        conflicts_with_all = ["corrupted_tokens", "prompts"]
    )]
    corrupted: Option<String>,
    /// Corrupted prompt as token ids
    #[arg(long, value_name = "IDS", allow_hyphen_values = true, conflicts_with = "prompts")]
    corrupted_tokens: Option<String>,
}

impl CorruptedArgs {
    /// Returns the observable and both prompts, extended as the observable requires: the clean one first.
    pub(crate) fn with(
        &self,
        model: &Model,
        prompt: &PromptArgs,
        observable: &RequiredObservable,
    ) -> Result<(Observable, [Vec<u32>; 2]), Failure> {
        let corrupted = tokens(model, self.corrupted.as_deref(), self.corrupted_tokens.as_deref())?;
        pair(model, prompt, &corrupted, observable)
    }
}

/// Returns the observable and both prompts, extended as the observable requires: the clean one first.
pub(crate) fn pair(
    model: &Model,
    prompt: &PromptArgs,
    corrupted: &[u32],
    observable: &RequiredObservable,
) -> Result<(Observable, [Vec<u32>; 2]), Failure> {
    let clean = prompt.tokens(model)?;
    if clean.len() != corrupted.len() {
        let (clean, corrupted) = (clean.len(), corrupted.len());
        return Err(format!(
            "the prompt has {clean} tokens and the corrupted one {corrupted}; give prompts of the same length"
        )
        .into());
    }
    let (observable, clean) = observable.of(model, &clean)?;
    let corrupted = observable.extend(corrupted);
    Ok((observable, [clean, corrupted]))
}

/// What sources point along.
#[derive(Args)]
pub(crate) struct DirectionArgs {
    /// Direction: token:TOKEN, random[:SEED], sensitivity (with --target), displacement (with
    /// --donor), writer:NAME such as writer:a3.h1 (with --donor), or a file
    #[arg(long, value_name = "D", default_value = "random")]
    pub(crate) direction: String,
    /// Make the direction unit length
    #[arg(long)]
    pub(crate) unit: bool,
}

impl DeviceArgs {
    /// Returns the options with which to open the device.
    ///
    /// # Errors
    /// Several devices, for work that is not divided into shards.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let choice = match &self.device {
            Asked::One(choice) => choice.clone(),
            // Each device has a process of its own, and this one plans.
            _ if is_divided() => Choice::Host,
            _ => return Err("several devices share only shards: give --prompts and --out-dir, or one device".into()),
        };
        Ok(Options {
            batch_bytes: self.memory,
            f16_weights: self.f16_weights,
            f16_inputs: self.f16_inputs,
            ..Options::new(choice)
        })
    }

    /// Opens the device.
    pub(crate) fn open(&self) -> Result<Device, Failure> {
        let device = resolvent::open(&self.options()?)?;
        tracing::info!("device: {}", device.info());
        Ok(device)
    }
}

/// The model of the last cell of a grid, by its name and the options of its device.
static OPENED: Mutex<Option<(String, Model)>> = Mutex::new(None);

/// Closes the model of the last cell, whose device may be lost.
pub(crate) fn close() {
    *OPENED.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

impl ModelArgs {
    /// Opens the device and the model. A cell of a grid gets the model of the cell before, if it is the same.
    pub(crate) fn open(&self) -> Result<Model, Failure> {
        if !is_cell() {
            return model(&self.device.open()?, &self.model);
        }
        let key = format!("{} {:?}", self.model, self.device.options()?);
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, model)) = opened.as_ref().filter(|(of, _)| *of == key) {
            return Ok(model.clone());
        }
        // The model of the cell before gives back its memory first.
        *opened = None;
        let model = model(&self.device.open()?, &self.model)?;
        *opened = Some((key, model.clone()));
        Ok(model)
    }
}

/// Opens a model by name, and shows its download.
pub(crate) fn model(device: &Device, name: &str) -> Result<Model, Failure> {
    #[cfg(feature = "hub")]
    let model = Model::named_with(device, name, &crate::download::hub())?;
    #[cfg(not(feature = "hub"))]
    let model = Model::named(device, name)?;
    Ok(model)
}

impl PromptArgs {
    /// Returns the prompt's tokens.
    pub(crate) fn tokens(&self, model: &Model) -> Result<Vec<u32>, Failure> {
        tokens(model, self.prompt.as_deref(), self.tokens.as_deref())
    }

    /// Runs an analysis that has one result for all clean prompts: those of a prompt file or a text, or the one prompt.
    pub(crate) fn together(
        &self,
        model: &Model,
        analysis: impl Fn(&Model, &[PromptCase], &mut dyn FnMut(u64, u64)) -> resolvent::field::Result<Labelled>,
    ) -> Result<Labelled, Failure> {
        if let Some(cases) = self.set.cases(model, None, None)? {
            return cases.counted(cases.together(analysis)?);
        }
        let (clean, name) = (self.tokens(model)?, "the prompt".to_owned());
        let case = PromptCase { name, clean, corrupted: None, observable: None, roles: [].into(), edits: Vec::new() };
        Ok(analysis(model, &[case], &mut |_, _| {})?)
    }
}

impl DonorArgs {
    /// Returns the tokens of the second prompt, if there is one.
    pub(crate) fn tokens(&self, model: &Model) -> Result<Option<Vec<u32>>, Failure> {
        if self.donor.is_none() && self.donor_tokens.is_none() {
            return Ok(None);
        }
        Ok(Some(tokens(model, self.donor.as_deref(), self.donor_tokens.as_deref())?))
    }

    /// Runs the second prompt under the edits, if there is one.
    pub(crate) fn run(&self, model: &Model, edits: &EditArgs) -> Result<Option<Run>, Failure> {
        Ok(self.tokens(model)?.map(|tokens| edits.run(model, &tokens)).transpose()?)
    }
}

impl DirectionArgs {
    /// Parses the direction. What it refers to, such as an observable, is needed only later.
    pub(crate) fn parse(&self, model: &Model) -> Result<Direction, Failure> {
        Ok(Direction::parse(&self.direction, model)?)
    }
}

/// Parses a place `l,t`; negative numbers count from the end.
pub(crate) fn parse_place(text: &str, run: &Run) -> Result<Place, Failure> {
    let (level, at) = split_place(text)?;
    let levels = run.model().sizes().layers + 1;
    Ok((from_end("level", level, levels)?, from_end("token position", at, run.tokens().len())?))
}

/// Splits `LEVEL,TOKEN`; negative numbers count from the end.
pub(crate) fn split_place(text: &str) -> Result<(i64, i64), Failure> {
    let parsed = text.split_once(',').and_then(|(l, t)| Some((l.trim().parse().ok()?, t.trim().parse().ok()?)));
    Ok(parsed.ok_or_else(|| format!("invalid place `{text}`: expected LEVEL,TOKEN such as 3,-1"))?)
}

/// Parses places: each text is `LEVEL,TOKEN`, or `LEVEL` for its tokens up to `last`.
///
/// Without texts, returns every level and every token up to `last`. A place that is named twice counts once.
pub(crate) fn parse_places(texts: &[String], run: &Run, last: usize) -> Result<Vec<Place>, Failure> {
    let levels = run.model().sizes().layers + 1;
    let tokens = |level: usize| (0..=last).map(move |token| (level, token));
    if texts.is_empty() {
        return Ok((0..levels).flat_map(tokens).collect());
    }
    let mut places = Vec::new();
    for text in texts {
        let found: Vec<Place> = match text.trim().parse() {
            Ok(level) => tokens(from_end("level", level, levels)?).collect(),
            Err(_) if text.contains(',') => vec![parse_place(text, run)?],
            Err(_) => {
                let reason = format!("invalid place `{text}`: expected LEVEL,TOKEN or LEVEL, such as 3,-1 or 3");
                return Err(reason.into());
            }
        };
        for place in found {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    Ok(places)
}

/// Returns the tokens of a text or of a list of ids, and checks that the model can run them.
pub(crate) fn tokens(model: &Model, text: Option<&str>, ids: Option<&str>) -> Result<Vec<u32>, Failure> {
    let tokens = match (text, ids) {
        (_, Some(ids)) => parse_tokens(ids, model.sizes().vocab)?,
        (Some(text), None) => {
            let tokenizer = model
                .text_tokenizer()?
                .ok_or_else(|| format!("{} has no tokenizer; give the prompt as ids: --tokens 5,9,12", model.name()))?;
            tokenizer.prompt(text)?
        }
        (None, None) => return Err("no prompt was given; give it as text or as token ids".into()),
    };
    check_prompt(model.sizes(), &tokens)?;
    Ok(tokens)
}

/// Looks up a token of a model, given as text or `#id`.
pub(crate) fn token(model: &Model, arg: &str) -> Result<u32, Failure> {
    Ok(model.token(arg)?)
}
