//! The classes `Edit`, `Source` and `Cotangent`: changes of a run, and inputs of its linearisation.

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use resolvent::model::{Change, Edit, Model, Seed, Site, Sites, Source, from_end};

use crate::arguments::fits;
use crate::arrays::{contiguous, floats, vector};
use crate::failure::{Failure, Result, value_error};
use crate::positions::Positions;

/// A change of a site's value y at one position, at several, or at all of them. Edits at one place are applied in the
/// given order.
///
/// Sites have TransformerLens names, with the head in brackets: `blocks.3.hook_resid_pre`, `blocks.3.attn.hook_z[5]`.
/// Without brackets, `blocks.3.attn.hook_z` is all heads. Positions count from 0, or backwards from -1; None is all
/// positions, and a slice, a range or a list is several.
///
/// Vectors are as wide as the site, [d] or [d_head]. Where an edit has N positions, an array is broadcast to [N, d], as
/// numpy does; where it names all H heads, to [N, H, d_head].
///
/// `blocks.3.attn.hook_pattern[5,2]` is the weight that head 5 of the query at the position gives to key 2, and
/// `hook_attn_scores[5,2]` its score before the softmax; a score of minus infinity hides the key. Without the key,
/// `[5]`, it is all keys [T] that the query sees; without brackets all keys of all heads, [H, N, T].
#[pyclass(frozen, name = "Edit", module = "resolvent")]
#[derive(PartialEq)]
pub(crate) struct PyEdit {
    pub(crate) site: Sites,
    pub(crate) positions: Positions,
    pub(crate) change: Change,
    /// Shape of the vector of the change; empty if it has none.
    pub(crate) shape: Vec<usize>,
}

impl PyEdit {
    fn new(site: &str, positions: Positions, (change, shape): (Change, Vec<usize>)) -> Result<Self> {
        Ok(Self { site: site.parse()?, positions, change, shape })
    }

    /// Makes an edit of a run that is known.
    pub(crate) fn of(edit: &Edit) -> Self {
        let shape = match &edit.change {
            Change::Add(s) | Change::Put(s) | Change::Project(s) => vec![s.len()],
            Change::Scale(_) | Change::Take(_) => Vec::new(),
        };
        let positions = Positions::One(edit.token as i64);
        Self { site: Sites::One(edit.site), positions, change: edit.change.clone(), shape }
    }

    /// Resolves positions and heads for a prompt of `tokens` tokens.
    fn at(&self, model: &Model, tokens: usize) -> Result<Vec<Edit>> {
        let (sites, positions) = (self.site.all(model.sizes()), self.positions.resolve(tokens)?);
        let has_keys = self.site.has_keys();
        let width = if has_keys { tokens } else { sites.first().map_or(0, |site| site.width(model.sizes())) };
        let target: Vec<usize> = match self.site {
            Sites::One(_) | Sites::Keys(_) => vec![positions.len(), width],
            Sites::Heads(_) => vec![positions.len(), sites.len(), width],
            // As a pattern: [H, queries, keys].
            Sites::HeadKeys(_) => vec![sites.len(), positions.len(), width],
        };
        let rows = match &self.change {
            Change::Add(all) | Change::Put(all) | Change::Project(all) => {
                let rows = broadcast(all, &self.shape, &target);
                Some(rows.ok_or_else(|| shape_error(&self.site.to_string(), &self.shape, &target))?)
            }
            Change::Scale(_) | Change::Take(_) => None,
        };
        let places: Vec<(usize, Site)> = match self.site {
            Sites::HeadKeys(_) => sites.iter().flat_map(|site| positions.iter().map(move |at| (*at, *site))).collect(),
            _ => positions.iter().flat_map(|at| sites.iter().map(move |site| (*at, *site))).collect(),
        };
        let edit = |(n, (token, site)): (usize, (usize, Site))| {
            let row = || rows.as_ref().map_or_else(Vec::new, |rows| rows[n * width..][..width].to_vec());
            let change = match &self.change {
                Change::Add(_) => Change::Add(row()),
                Change::Put(_) => Change::Put(row()),
                Change::Project(_) => Change::Project(row()),
                other => other.clone(),
            };
            Edit { site, token, change }
        };
        let edits = places.into_iter().enumerate().map(edit);
        if !has_keys {
            return Ok(edits.collect());
        }
        let of_keys = edits.map(|Edit { site, token, change }| Ok(model.key_edits(site, token, &change)?));
        Ok(of_keys.collect::<Result<Vec<Vec<Edit>>>>()?.concat())
    }

    /// Resolves several edits for a prompt of `tokens` tokens.
    pub(crate) fn all(edits: &[Py<Self>], model: &Model, tokens: usize) -> Result<Vec<Edit>> {
        let each = edits.iter().map(|edit| edit.get().at(model, tokens)).collect::<Result<Vec<_>>>()?;
        Ok(each.concat())
    }
}

/// Returns the elements of an array of shape `to`, to which `elements` of shape `from` are broadcast as numpy does.
/// `None` if they do not fit, or are not as wide.
fn broadcast(elements: &[f32], from: &[usize], to: &[usize]) -> Option<Vec<f32>> {
    // Other libraries have a first axis of one prompt.
    let leading = from.iter().take(from.len().saturating_sub(to.len())).take_while(|n| **n == 1).count();
    let from = &from[leading..];
    let missing = to.len().checked_sub(from.len())?;
    let fits = from.iter().zip(&to[missing..]).all(|(have, want)| have == want || *have == 1);
    if !fits || from.last() != to.last() {
        return None;
    }
    let mut all = elements.to_vec();
    // Axis by axis from the innermost one: whatever has one entry is repeated.
    for axis in (0..to.len()).rev() {
        let is_one = axis < missing || from[axis - missing] == 1;
        if is_one && to[axis] != 1 {
            let inner: usize = to[axis + 1..].iter().product();
            all = all.chunks(inner).flat_map(|part| part.repeat(to[axis])).collect();
        }
    }
    Some(all)
}

fn shape_error(site: &str, found: &[usize], expected: &[usize]) -> Failure {
    let width = expected.last().copied().unwrap_or(0);
    value_error(format!(
        "invalid shape {found:?} of a vector at {site}, which is {width} wide: expected what broadcasts to {expected:?}"
    ))
}

/// Reads the vector of a change, with its shape.
fn array(any: &Bound<'_, PyAny>, change: impl Fn(Vec<f32>) -> Change) -> Result<(Change, Vec<usize>)> {
    let array = floats(any)?;
    match array.shape() {
        [] => Err(value_error("invalid shape [] of an array: expected a vector [d]")),
        shape => Ok((change(contiguous(&array)?.to_vec()), shape.to_vec())),
    }
}

#[pymethods]
impl PyEdit {
    /// Replaces y by y + vector.
    #[staticmethod]
    pub(crate) fn add(site: &str, position: Positions, vector: &Bound<'_, PyAny>) -> Result<Self> {
        Self::new(site, position, array(vector, Change::Add)?)
    }

    /// Replaces y by a vector: a patch, or a mean.
    #[staticmethod]
    pub(crate) fn put(site: &str, position: Positions, vector: &Bound<'_, PyAny>) -> Result<Self> {
        Self::new(site, position, array(vector, Change::Put)?)
    }

    /// Replaces y by amount times y.
    #[staticmethod]
    pub(crate) fn scale(site: &str, position: Positions, amount: f32) -> Result<Self> {
        Self::new(site, position, (Change::Scale(amount), Vec::new()))
    }

    /// Removes the component of y along vector.
    #[staticmethod]
    pub(crate) fn project_out(site: &str, position: Positions, vector: &Bound<'_, PyAny>) -> Result<Self> {
        Self::new(site, position, array(vector, Change::Project)?)
    }

    /// Replaces y by 0.
    #[staticmethod]
    #[pyo3(signature = (site, position = Positions::All), text_signature = "(site, position=None)")]
    fn ablate(site: &str, position: Positions) -> Result<Self> {
        Self::scale(site, position, 0.0)
    }

    fn __repr__(&self) -> String {
        let what = match &self.change {
            Change::Add(_) => format!("add {:?}", self.shape),
            Change::Put(_) => format!("put {:?}", self.shape),
            Change::Scale(amount) => format!("scale {amount}"),
            Change::Project(_) => format!("project out {:?}", self.shape),
            Change::Take(_) => "take".to_owned(),
        };
        format!("<resolvent.Edit {what} at {}, {}>", self.site, self.positions)
    }
}

/// A tangent at a site and a position, an input of `Linearization.jvp`. The vector is as wide as the site.
#[pyclass(frozen, name = "Source", module = "resolvent")]
#[derive(PartialEq)]
pub(crate) struct PySource {
    pub(crate) site: Site,
    pub(crate) position: i64,
    pub(crate) vector: Vec<f32>,
}

impl PySource {
    pub(crate) fn at(&self, tokens: usize) -> Result<Source> {
        let token = from_end("token position", self.position, tokens)?;
        Ok(Source { site: self.site, token, vector: self.vector.clone() })
    }
}

#[pymethods]
impl PySource {
    #[new]
    fn new(site: &str, position: i64, vector: &Bound<'_, PyAny>) -> Result<Self> {
        Ok(Self { site: site.parse()?, position, vector: self::vector(vector)? })
    }

    fn __repr__(&self) -> String {
        let (site, position, n) = (self.site, self.position, self.vector.len());
        format!("<resolvent.Source [{n}] at {site}, position {position}>")
    }
}

/// A cotangent [d] of the field at a level and a position, an input of `Linearization.vjp`.
#[pyclass(frozen, name = "Cotangent", module = "resolvent")]
#[derive(PartialEq)]
pub(crate) struct PyCotangent {
    pub(crate) level: i64,
    pub(crate) position: i64,
    pub(crate) vector: Vec<f32>,
}

impl PyCotangent {
    pub(crate) fn at(&self, model: &Model, tokens: usize) -> Result<Seed> {
        let level = from_end("level", self.level, model.sizes().layers + 1)?;
        let token = from_end("token position", self.position, tokens)?;
        Ok(Seed::Field { level, token, vector: fits(model, self.vector.clone())? })
    }
}

#[pymethods]
impl PyCotangent {
    #[new]
    fn new(level: i64, position: i64, vector: &Bound<'_, PyAny>) -> Result<Self> {
        Ok(Self { level, position, vector: self::vector(vector)? })
    }

    fn __repr__(&self) -> String {
        format!("<resolvent.Cotangent at level {}, position {}>", self.level, self.position)
    }
}
