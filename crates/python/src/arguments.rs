//! Arguments that methods share: prompts, tokens, places, directions.

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use resolvent::field::make_unit;
use resolvent::model::{Model, Observable, Run, from_end};
use resolvent::{Context, Direction, Place};

use crate::arrays::{contiguous, floats, integers, vector};
use crate::classes::PyRun;
use crate::failure::{Result, value_error};
use crate::work::detached;

/// Returns the tokens of a prompt: text, or a list or an array of ids.
///
/// Whether the model can run them is checked when it does.
pub(crate) fn tokens(model: &Model, prompt: &Bound<'_, PyAny>) -> Result<Vec<u32>> {
    if let Ok(text) = prompt.cast::<PyString>() {
        let tokenizer = model.text_tokenizer()?.ok_or_else(|| {
            value_error(format!("{} has no tokenizer; give the prompt as ids: [5, 9, 12]", model.name()))
        })?;
        return Ok(tokenizer.prompt(text.to_cow()?.as_ref())?);
    }
    let ids = integers(prompt)?;
    let id = |(position, id): (usize, &i64)| {
        u32::try_from(*id).map_err(|_| {
            value_error(format!("invalid token id {id} at position {position}: expected an id of the vocabulary"))
        })
    };
    ids.iter().enumerate().map(id).collect()
}

/// Returns the tokens of a part of a prompt, without special tokens around it: text, or a list or an array of ids.
pub(crate) fn ids_of(model: &Model, part: &Bound<'_, PyAny>) -> Result<Vec<u32>> {
    match (part.cast::<PyString>(), model.text_tokenizer()?) {
        (Ok(text), Some(tokenizer)) => Ok(tokenizer.encode(text.to_cow()?.as_ref())?),
        _ => tokens(model, part),
    }
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
                return Err(pyo3::exceptions::PyTypeError::new_err(message).into());
            }
        };
        *into = value.extract()?;
    }
    Ok(read)
}

/// Looks up a token of a model: text that is one token, or an id.
pub(crate) fn token(model: &Model, argument: &Bound<'_, PyAny>) -> Result<u32> {
    let text = match argument.cast::<PyString>() {
        Ok(text) => text.to_cow()?.into_owned(),
        Err(_) => format!("#{}", argument.extract::<u64>()?),
    };
    Ok(model.token(&text)?)
}

/// Returns the run that `prompt` is, or runs it if it is a prompt.
pub(crate) fn run_of(model: &Model, prompt: &Bound<'_, PyAny>) -> Result<Run> {
    if let Ok(run) = prompt.cast::<PyRun>() {
        return Ok(run.get().run.clone());
    }
    let tokens = tokens(model, prompt)?;
    detached(prompt.py(), |_| model.run(&tokens, &[]))
}

/// Does what [`run_of`] does, for an optional argument.
pub(crate) fn donor_of(model: &Model, donor: Option<&Bound<'_, PyAny>>) -> Result<Option<Run>> {
    donor.map(|donor| run_of(model, donor)).transpose()
}

/// Converts `(level, position)` to a place; negative numbers count from the end.
pub(crate) fn place(run: &Run, (level, position): (i64, i64)) -> Result<Place> {
    let levels = run.model().sizes().layers + 1;
    Ok((from_end("level", level, levels)?, from_end("token position", position, run.tokens().len())?))
}

/// Converts the given places; without any, returns every level and every token up to `last`.
pub(crate) fn places(run: &Run, given: Option<&[(i64, i64)]>, last: usize) -> Result<Vec<Place>> {
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
    fn context(&self) -> Context<'_> {
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
    pub(crate) fn new(model: &Model, argument: &Bound<'_, PyAny>) -> Result<Self> {
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
    pub(crate) fn at(&self, run: &Run, place: Place, about: &About) -> Result<Vec<f32>> {
        let mut found = self.sources(run, &[place], (about, false))?;
        match found.len() {
            1 => Ok(found.remove(0).1),
            n => Err(value_error(format!("{n} directions for one source; give one [d]"))),
        }
    }

    /// Returns the direction at each of `places`.
    ///
    /// With `where_it_is`, a named direction leaves out the places at which it is not defined.
    pub(crate) fn sources(
        &self,
        run: &Run,
        places: &[Place],
        (about, where_it_is): (&About, bool),
    ) -> Result<Vec<(Place, Vec<f32>)>> {
        let context = about.context();
        let vectors = match self {
            Self::Named(direction, _) if where_it_is => {
                return Ok(direction.where_it_is(run, places, context)?);
            }
            Self::Named(direction, _) => direction.resolve_all(run, places, context)?,
            Self::Given(elements, dimensions) => {
                let mut rows: Vec<Vec<f32>> = elements.chunks(run.model().sizes().d).map(<[f32]>::to_vec).collect();
                if *dimensions == 1 {
                    rows = vec![elements.clone(); places.len()];
                }
                if rows.len() != places.len() {
                    let (have, want) = (rows.len(), places.len());
                    return Err(value_error(format!(
                        "{have} directions for {want} places; give one for each, or one [d] for all"
                    )));
                }
                if about.unit {
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
    let (vector, d) = (vector(any)?, model.sizes().d);
    match vector.len() {
        n if n == d => Ok(vector),
        n => Err(value_error(format!("invalid vector of {n} elements: expected {d}, the width of the field"))),
    }
}
