//! The classes `Edit`, `Source` and `Cotangent`: changes of a run, and inputs of its linearisation.

use pyo3::prelude::*;
use resolvent::model::{Change, Edit, Model, Seed, Site, Source, from_end};

use crate::arguments::fits;
use crate::arrays::vector;
use crate::failure::Result;

/// A change of a site's value y at one position. Edits at one place are applied in the given order.
///
/// Sites have TransformerLens names, with the head in brackets: `blocks.3.hook_resid_pre`, `blocks.3.attn.hook_z[5]`.
/// Vectors are as wide as the site, [d] or [d_head]. Positions count from 0, or backwards from -1.
#[pyclass(frozen, name = "Edit", module = "resolvent")]
#[derive(PartialEq)]
pub(crate) struct PyEdit {
    pub(crate) site: Site,
    pub(crate) position: i64,
    pub(crate) change: Change,
}

impl PyEdit {
    fn new(site: &str, position: i64, change: Change) -> Result<Self> {
        Ok(Self { site: site.parse()?, position, change })
    }

    /// Resolves the position for a prompt of `tokens` tokens.
    pub(crate) fn at(&self, tokens: usize) -> Result<Edit> {
        let token = from_end("token position", self.position, tokens)?;
        Ok(Edit { site: self.site, token, change: self.change.clone() })
    }
}

#[pymethods]
impl PyEdit {
    /// Replaces y by y + vector.
    #[staticmethod]
    fn add(site: &str, position: i64, vector: &Bound<'_, PyAny>) -> Result<Self> {
        Self::new(site, position, Change::Add(self::vector(vector)?))
    }

    /// Replaces y by a vector: a patch, or a mean.
    #[staticmethod]
    fn put(site: &str, position: i64, vector: &Bound<'_, PyAny>) -> Result<Self> {
        Self::new(site, position, Change::Put(self::vector(vector)?))
    }

    /// Replaces y by amount times y.
    #[staticmethod]
    fn scale(site: &str, position: i64, amount: f32) -> Result<Self> {
        Self::new(site, position, Change::Scale(amount))
    }

    /// Removes the component of y along vector.
    #[staticmethod]
    fn project_out(site: &str, position: i64, vector: &Bound<'_, PyAny>) -> Result<Self> {
        Self::new(site, position, Change::Project(self::vector(vector)?))
    }

    /// Replaces y by 0.
    #[staticmethod]
    fn ablate(site: &str, position: i64) -> Result<Self> {
        Self::scale(site, position, 0.0)
    }

    fn __repr__(&self) -> String {
        let what = match &self.change {
            Change::Add(s) => format!("add [{}]", s.len()),
            Change::Put(s) => format!("put [{}]", s.len()),
            Change::Scale(amount) => format!("scale {amount}"),
            Change::Project(s) => format!("project out [{}]", s.len()),
            Change::Take(_) => "take".to_owned(),
        };
        format!("<resolvent.Edit {what} at {}, position {}>", self.site, self.position)
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
