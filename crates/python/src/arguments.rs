//! Arguments that methods share: prompts, tokens, places, directions.

use numpy::PyUntypedArrayMethods;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use resolvent::field::{Error, Interacting, Result as Found, make_unit};
use resolvent::model::{Model, Observable, Run, RunOptions, Site, Tokenizer, from_end};
use resolvent::{Context, Direction, Place};

use crate::arrays::{contiguous, floats, integers, vector};
use crate::classes::PyRun;
use crate::failure::{Result, value_error};
use crate::lists::{Pair, count, items, shown, whole};
use crate::work::detached;

/// Returns the tokens of a prompt: text, a list or an array of ids, or a run of the model without edits.
///
/// Whether the model can run them is checked when it does.
pub(crate) fn tokens(model: &Model, prompt: &Bound<'_, PyAny>) -> Result<Vec<u32>> {
    if let Ok(run) = prompt.cast::<PyRun>() {
        let run = &run.get().run;
        check_model(model, run, "the run given as a prompt")?;
        return match run.edits().is_empty() {
            true => Ok(run.tokens().to_vec()),
            false => {
                Err(value_error("a run with edits is no prompt, because its edits would be lost; give its `tokens`"))
            }
        };
    }
    if let Ok(text) = prompt.cast::<PyString>() {
        return Ok(tokenizer_of(model)?.prompt(text.to_cow()?.as_ref())?);
    }
    ids(prompt)
}

/// Returns token ids: a list or an array of whole numbers.
fn ids(any: &Bound<'_, PyAny>) -> Result<Vec<u32>> {
    let id = |(position, id): (usize, &i64)| {
        u32::try_from(*id).map_err(|_| {
            value_error(format!("invalid token id {id} at position {position}: expected an id of the vocabulary"))
        })
    };
    integers(any)?.iter().enumerate().map(id).collect()
}

/// A part of a prompt, without special tokens around it: text, or a list or an array of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenList {
    Text(String),
    Ids(Vec<u32>),
}

impl TokenList {
    pub(crate) fn new(argument: &Bound<'_, PyAny>) -> Result<Self> {
        Ok(match argument.cast::<PyString>() {
            Ok(text) => Self::Text(text.to_cow()?.into_owned()),
            Err(_) => Self::Ids(ids(argument)?),
        })
    }

    /// Returns the ids in a model.
    pub(crate) fn ids(&self, model: &Model) -> Result<Vec<u32>> {
        match self {
            Self::Text(text) => Ok(tokenizer_of(model)?.encode(text)?),
            Self::Ids(ids) => Ok(ids.clone()),
        }
    }
}

/// Returns the tokenizer of a model that is given text.
fn tokenizer_of(model: &Model) -> Result<&Tokenizer> {
    let none = || value_error(format!("{} has no tokenizer; give the prompt as ids: [5, 9, 12]", model.name()));
    model.text_tokenizer()?.ok_or_else(none)
}

/// Reads the keywords `f16_weights` and `f16_inputs`: whether weights, and inputs of products, are 16-bit floats.
///
/// In version 0.1 these keywords were `half_weights` and `half_inputs`.
pub(crate) fn precision(keywords: &Bound<'_, PyDict>) -> Result<[bool; 2]> {
    let mut read = [false; 2];
    for (keyword, value) in keywords {
        let keyword: String = keyword.extract()?;
        let into = match keyword.as_str() {
            "f16_weights" | "half_weights" => &mut read[0],
            "f16_inputs" | "half_inputs" => &mut read[1],
            _ => {
                let message = format!("from_pretrained() got an unexpected keyword argument '{keyword}'");
                return Err(PyTypeError::new_err(message).into());
            }
        };
        *into = value.extract()?;
    }
    Ok(read)
}

/// A token: text that is one token, or an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Token {
    Text(String),
    Id(u32),
}

impl Token {
    pub(crate) fn new(argument: &Bound<'_, PyAny>) -> Result<Self> {
        if let Ok(text) = argument.cast::<PyString>() {
            return Ok(Self::Text(text.to_cow()?.into_owned()));
        }
        let expected = "expected text that is one token, or an id of the vocabulary";
        let Ok(id) = argument.extract::<i64>() else {
            let message = format!("invalid token {}: {expected}", shown(argument));
            return Err(PyTypeError::new_err(message).into());
        };
        u32::try_from(id).map(Self::Id).map_err(|_| value_error(format!("invalid token id {id}: {expected}")))
    }

    /// Looks the token up in a model.
    pub(crate) fn id(&self, model: &Model) -> Result<u32> {
        Ok(match self {
            Self::Text(text) => model.token(text)?,
            Self::Id(id) => model.token(&format!("#{id}"))?,
        })
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Token {
    type Error = PyErr;

    fn extract(any: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::new(&any)?)
    }
}

/// Looks up a token of a model: text that is one token, or an id.
pub(crate) fn token(model: &Model, argument: &Bound<'_, PyAny>) -> Result<u32> {
    Token::new(argument)?.id(model)
}

/// Checks that a run given to an analysis is of its model, on its device. `what` names the run.
pub(crate) fn check_model(model: &Model, run: &Run, what: &str) -> Result<()> {
    let other = run.model();
    let about = |of: &Model| format!("{} on {}", of.name(), of.device().info());
    let detail = match (model.hash() == other.hash(), model.device().shares_memory(other.device())) {
        (true, true) => return Ok(()),
        (false, _) if about(model) == about(other) => "with other weights",
        (false, _) => "another model",
        (true, false) => "the same model on another device, or opened a second time",
    };
    let (theirs, ours) = (about(other), about(model));
    Err(value_error(format!("{what} is of {theirs}, and this is {ours}: {detail}; run its prompt with this model")))
}

/// Returns the run that `prompt` is, or runs it if it is a prompt. A run must be of this model; `what` names it in
/// messages.
pub(crate) fn run_of(model: &Model, prompt: &Bound<'_, PyAny>, what: &str) -> Result<Run> {
    if let Ok(run) = prompt.cast::<PyRun>() {
        let run = &run.get().run;
        check_model(model, run, what)?;
        return Ok(run.clone());
    }
    let tokens = tokens(model, prompt)?;
    detached(prompt.py(), |_| model.run(&tokens, &[]))
}

/// Returns the run itself if it has values at `sites`; otherwise the same run once more, with them.
pub(crate) fn with_sites(run: &Run, sites: &[Site]) -> resolvent::model::Result<Run> {
    if sites.iter().all(|site| run.has(*site)) {
        return Ok(run.clone());
    }
    let options = RunOptions { edits: run.edits().to_vec(), sites: sites.to_vec() };
    run.model().run_with(run.tokens(), &options)
}

/// Does what [`run_of`] does, for an optional argument.
pub(crate) fn donor_of(model: &Model, donor: Option<&Bound<'_, PyAny>>) -> Result<Option<Run>> {
    donor.map(|donor| run_of(model, donor, "the donor")).transpose()
}

/// Converts `(level, position)` to a place; negative numbers count from the end.
pub(crate) fn place(run: &Run, Pair(level, position): Pair) -> Found<Place> {
    let levels = run.model().sizes().layers + 1;
    Ok((from_end("level", level, levels)?, from_end("token position", position, run.tokens().len())?))
}

/// Converts the given places; without any, returns every level and every token up to `last`.
pub(crate) fn places(run: &Run, given: Option<&[Pair]>, last: usize) -> Found<Vec<Place>> {
    match given {
        Some(given) => given.iter().map(|&at| place(run, at)).collect(),
        None => {
            let levels = run.model().sizes().layers + 1;
            Ok((0..levels).flat_map(|l| (0..=last).map(move |t| (l, t))).collect())
        }
    }
}

/// The objects that a direction may refer to, and its scaling.
#[derive(Default)]
pub(crate) struct About {
    /// The observable of the direction `sensitivity`.
    pub(crate) observable: Option<Observable>,
    /// The second run of the direction `displacement`.
    pub(crate) donor: Option<Run>,
    /// Whether the direction is scaled to unit length.
    pub(crate) unit: bool,
}

impl About {
    pub(crate) fn context(&self) -> Context<'_> {
        Context { observable: self.observable.as_ref(), other: self.donor.as_ref(), unit: self.unit }
    }
}

/// The direction of sources: text as on the command line, or an array.
pub(crate) enum Along {
    Named(Direction, String),
    /// The elements and the number of axes: `[d]`, or `[N, d]` with one row for each place.
    Given(Vec<f32>, usize),
}

impl Along {
    /// Reads a direction; without one, it is random.
    pub(crate) fn new(model: &Model, argument: Option<&Bound<'_, PyAny>>) -> Result<Self> {
        let Some(argument) = argument else {
            return Ok(Self::Named(Direction::Random(0), "random".to_owned()));
        };
        if let Ok(text) = argument.cast::<PyString>() {
            let text = text.to_cow()?.into_owned();
            return Ok(Self::Named(Direction::parse(&text, model)?, text));
        }
        let (array, d) = (floats(argument)?, model.sizes().d);
        match *array.shape() {
            [width] | [_, width] if width == d => Ok(Self::Given(contiguous(&array)?.to_vec(), array.shape().len())),
            _ => Err(value_error(format!(
                "invalid shape {:?} of a direction: expected [{d}], or [N, {d}] with a row for each place",
                array.shape()
            ))),
        }
    }

    /// Returns the name of the direction in results.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Named(_, text) => text,
            Self::Given(..) => "given",
        }
    }

    /// Returns the direction `[d]` at one place.
    pub(crate) fn at(&self, run: &Run, place: Place, context: Context<'_>) -> Found<Vec<f32>> {
        let mut found = self.sources(run, &[place], (context, false))?;
        match found.len() {
            1 => Ok(found.remove(0).1),
            n => Err(Error::Input(format!("{n} directions for one source; give one [d]"))),
        }
    }

    /// Returns the direction at each of `places`.
    ///
    /// With `where_it_is`, a named direction leaves out the places at which it is not defined.
    pub(crate) fn sources(
        &self,
        run: &Run,
        places: &[Place],
        (context, where_it_is): (Context<'_>, bool),
    ) -> Found<Vec<(Place, Vec<f32>)>> {
        let vectors = match self {
            Self::Named(direction, _) if where_it_is => {
                return direction.where_it_is(run, places, context);
            }
            Self::Named(direction, _) => direction.resolve_all(run, places, context)?,
            Self::Given(elements, dimensions) => {
                let mut rows: Vec<Vec<f32>> = elements.chunks(run.model().sizes().d).map(<[f32]>::to_vec).collect();
                if *dimensions == 1 {
                    rows = vec![elements.clone(); places.len()];
                }
                if rows.len() != places.len() {
                    let (have, want) = (rows.len(), places.len());
                    return Err(Error::Input(format!(
                        "{have} directions for {want} places; give one for each, or one [d] for all"
                    )));
                }
                if context.unit {
                    rows.iter_mut().zip(places).try_for_each(|(row, at)| make_unit(row, *at))?;
                }
                rows
            }
        };
        Ok(places.iter().copied().zip(vectors).collect())
    }
}

/// Reads a vector that must be as wide as the field.
pub(crate) fn field_vector(model: &Model, any: &Bound<'_, PyAny>) -> Result<Vec<f32>> {
    fits(model, vector(any)?)
}

/// Returns a vector if it is as wide as the field.
pub(crate) fn fits(model: &Model, vector: Vec<f32>) -> Result<Vec<f32>> {
    let d = model.sizes().d;
    match vector.len() {
        n if n == d => Ok(vector),
        n => Err(value_error(format!("invalid vector of {n} elements: expected {d}, the width of the field"))),
    }
}

/// Returns which patches interact: a number of the strongest ones, or places of patches such as (3, -1), (3, "subject")
/// or, of heads, (block, head, position).
pub(crate) fn interacting(which: Option<&Bound<'_, PyAny>>) -> Result<Option<Interacting>> {
    let Some(which) = which else { return Ok(None) };
    if let Some(number) = whole(which) {
        return Ok(Some(Interacting::Strongest(count("interactions", number)?)));
    }
    let text = |place: &Bound<'_, PyAny>| -> Option<String> {
        let part = |part: &Bound<'_, PyAny>| match part.cast::<PyString>() {
            Ok(role) => role.to_cow().ok().map(|role| role.into_owned()),
            Err(_) => whole(part).map(|number| number.to_string()),
        };
        Some(items(place).ok()?.iter().map(part).collect::<Option<Vec<String>>>()?.join(","))
    };
    let texts = items(which).ok().and_then(|places| places.iter().map(text).collect::<Option<Vec<String>>>());
    let expected = "expected a number of patches, or a list of places (level, position) or (block, head, position)";
    let texts =
        texts.ok_or_else(|| PyTypeError::new_err(format!("invalid interactions {}: {expected}", shown(which))))?;
    Ok(Some(Interacting::at(texts)?))
}
