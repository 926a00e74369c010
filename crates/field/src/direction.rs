//! Directions of sources: vectors at the places of a run's field.

use std::path::{Path, PathBuf};

use resolvent_model::{
    Mode, Model, Observable, Run, RunOptions, Site, StreamEdits, Writer, gaussian, outputs_of, path_sites,
};

use crate::certificate::norm;
use crate::error::{Error, Result};
use crate::input::{Input, file_argument};
use crate::place::{Place, inside, shape};

/// A direction `[d]` at a place (level, token) of a run's field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Direction {
    /// The array `direction [d]` of a safetensors file.
    File(PathBuf),
    /// The embedding of a token.
    Token(u32),
    /// Normal random numbers from a seed.
    Random(u64),
    /// The sensitivity of the observable at the place.
    Sensitivity,
    /// Another run's field minus this one's at the place.
    Displacement,
    /// What a writer adds to the stream at the place's token in another run, minus what it adds in this one. The writer
    /// must write before the place's level.
    Writer(Writer),
}

/// The names of directions, other than files.
const NAMES: [&str; 5] = ["token", "random", "sensitivity", "displacement", "writer"];

/// The inputs that some directions need besides the run.
#[derive(Clone, Copy, Default)]
pub struct Context<'a> {
    /// The observable, for [`Direction::Sensitivity`].
    pub observable: Option<&'a Observable>,
    /// The other run, for [`Direction::Displacement`] and [`Direction::Writer`].
    pub other: Option<&'a Run>,
    /// Whether to scale the direction to unit length.
    pub unit: bool,
}

impl Direction {
    /// Parses a direction: `token:TOKEN`, `random[:SEED]`, `sensitivity`, `displacement` or `writer:NAME`. Any other
    /// text is the path of a file.
    ///
    /// # Errors
    /// An invalid token, a seed that is not a whole number, a writer that the model lacks, or a mistyped name where
    /// there is no such file.
    pub fn parse(text: &str, model: &Model) -> Result<Self> {
        Ok(match text.split_once(':').unwrap_or((text, "")) {
            ("token", arg) => Self::Token(model.token(arg)?),
            ("random", seed) => Self::Random(parse_seed("random", seed)?),
            ("sensitivity", "") => Self::Sensitivity,
            ("displacement", "") => Self::Displacement,
            ("writer", name) => Self::Writer(parse_writer(name, model)?),
            _ => Self::File(file_argument("direction", text, &NAMES)?),
        })
    }

    /// Returns whether the direction refers to another run, [`Context::other`].
    pub fn needs_other(&self) -> bool {
        matches!(self, Self::Displacement | Self::Writer(_))
    }

    /// Returns the direction at those of `places` where it is not zero. A displacement is zero before the prompts
    /// differ.
    ///
    /// # Errors
    /// As [`Direction::resolve_all`].
    pub fn where_it_is(&self, run: &Run, places: &[Place], context: Context<'_>) -> Result<Vec<(Place, Vec<f32>)>> {
        let all = self.resolve_all(run, places, Context { unit: false, ..context })?;
        let mut found: Vec<(Place, Vec<f32>)> = places.iter().copied().zip(all).collect();
        found.retain(|(_, v)| norm(v) > 0.0);
        if context.unit {
            found.iter_mut().try_for_each(|(place, v)| make_unit(v, *place))?;
        }
        Ok(found)
    }

    /// Returns the direction at one place of `run`, `[d]`.
    ///
    /// # Errors
    /// As [`Direction::resolve_all`].
    pub fn resolve(&self, run: &Run, place: Place, context: Context<'_>) -> Result<Vec<f32>> {
        Ok(self.resolve_all(run, &[place], context)?.remove(0))
    }

    /// Returns the direction at each of `places` of `run`, `[d]` each. Files, tokens and random numbers give the same
    /// vector at every place.
    ///
    /// # Errors
    /// A file that cannot be read or has another width, a missing input of the direction, a place outside of the field,
    /// or a zero direction that was to have unit length.
    pub fn resolve_all(&self, run: &Run, places: &[Place], context: Context<'_>) -> Result<Vec<Vec<f32>>> {
        let (_, tokens, d) = shape(run);
        places.iter().try_for_each(|place| inside(*place, run))?;
        let rows = |field: &[f32]| -> Vec<Vec<f32>> {
            places.iter().map(|&(l, t)| field[(l * tokens + t) * d..][..d].to_vec()).collect()
        };
        let mut directions = match self {
            Self::File(path) => {
                vec![read_direction(path, d)?; places.len()]
            }
            Self::Token(id) => vec![run.model().embedding(*id)?; places.len()],
            Self::Random(seed) => vec![gaussian(*seed, d); places.len()],
            Self::Sensitivity => {
                let observable =
                    context.observable.ok_or_else(|| missing("sensitivity", "an observable (--target)"))?;
                rows(&run.linearize(Mode::Exact).gradient(observable)?)
            }
            Self::Displacement => {
                let other = second(context, "displacement", tokens)?;
                let (theirs, ours) = (other.field()?, run.field()?);
                rows(&theirs.iter().zip(&ours).map(|(a, b)| a - b).collect::<Vec<f32>>())
            }
            Self::Writer(writer) => {
                let other = second(context, "writer", tokens)?;
                let sizes = run.model().sizes();
                let late = places.iter().find(|(level, _)| writer.index(sizes) > level * (sizes.heads + 1));
                if let Some((level, _)) = late {
                    return Err(Error::Input(format!(
                        "{writer} writes after level {level}; choose a writer of a lower block, or a higher level"
                    )));
                }
                let prepared = [other, run].map(with_outputs);
                let [theirs, ours] = prepared.map(|run| Ok::<_, Error>(outputs_of(&[&run?])?.remove(0)));
                let (theirs, ours) = (theirs?, ours?);
                let (theirs, ours) = (theirs.get(*writer, sizes), ours.get(*writer, sizes));
                let stream = StreamEdits::of(run);
                let row = |&(level, t): &Place| {
                    let mut row: Vec<f32> = (t * d..(t + 1) * d).map(|i| theirs[i] - ours[i]).collect();
                    stream.pass(*writer, Site::level(level, sizes), (t, d), &mut row);
                    row
                };
                places.iter().map(row).collect()
            }
        };
        if context.unit {
            directions.iter_mut().zip(places).try_for_each(|(v, place)| make_unit(v, *place))?;
        }
        Ok(directions)
    }
}

/// Returns the second prompt's run, which must have as many tokens.
fn second<'a>(context: Context<'a>, direction: &str, tokens: usize) -> Result<&'a Run> {
    let other = context
        .other
        .ok_or_else(|| missing(direction, "a second prompt (--donor, or the corrupted prompt of a row)"))?;
    match other.tokens().len() {
        same if same == tokens => Ok(other),
        other => Err(Error::Input(format!(
            "the second prompt has {other} tokens and the first {tokens}; give prompts of the same length"
        ))),
    }
}

/// Runs the prompt of a run again, with the outputs of all writers.
fn with_outputs(run: &Run) -> Result<Run> {
    let model = run.model();
    let options = RunOptions { edits: run.edits().to_vec(), sites: path_sites(model.sizes()) };
    Ok(model.run_with(run.tokens(), &options)?)
}

fn parse_writer(name: &str, model: &Model) -> Result<Writer> {
    let writer: Writer = name.parse()?;
    let all = Writer::all(model.sizes());
    match all.contains(&writer) {
        true => Ok(writer),
        false => {
            Err(Error::Input(format!("the model has no writer `{writer}`; its last one is {}", all[all.len() - 1])))
        }
    }
}

/// Reads the array `direction [d]` of a safetensors file.
///
/// # Errors
/// A file that cannot be read, or that lacks the array or has another width.
pub fn read_direction(path: &Path, d: usize) -> Result<Vec<f32>> {
    Ok(Input::open(path)?.needed("direction", &[Some(d)])?.1)
}

/// Scales the direction at a place to unit length.
///
/// # Errors
/// A zero direction.
pub fn make_unit(v: &mut [f32], (level, token): Place) -> Result<()> {
    let size = norm(v);
    if size == 0.0 {
        return Err(Error::Input(format!(
            "the direction is zero at {level},{token} and cannot have unit length; choose another place"
        )));
    }
    v.iter_mut().for_each(|x| *x = (f64::from(*x) / size) as f32);
    Ok(())
}

/// Parses the seed of `NAME:SEED`. An empty one is 0.
pub(crate) fn parse_seed(name: &str, seed: &str) -> Result<u64> {
    match seed {
        "" => Ok(0),
        _ => seed
            .parse()
            .map_err(|_| Error::Input(format!("invalid seed `{seed}`: expected {name}:SEED with a whole number"))),
    }
}

fn missing(direction: &str, what: &str) -> Error {
    Error::Input(format!("the direction `{direction}` needs {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Corrupted prompts need not run for the other directions.
    #[test]
    fn some_directions_need_another_run() {
        let other = [Direction::Displacement, Direction::Writer(Writer::Mlp(0))];
        let none = [Direction::Token(1), Direction::Random(0), Direction::Sensitivity, Direction::File("x".into())];
        assert!(other.iter().all(Direction::needs_other) && !none.iter().any(Direction::needs_other));
    }
}
