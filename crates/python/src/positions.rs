//! Positions of an edit: one, several, or all.

use std::fmt;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PySlice;
use resolvent::model::from_end;

use crate::failure::{Result, value_error};
use crate::lists::{List, shown, whole};

/// Positions of a prompt, which count from the end if they are negative.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Positions {
    One(i64),
    All,
    /// Start, stop and step of a slice.
    Slice(Option<i64>, Option<i64>, Option<i64>),
    Several(Vec<i64>),
}

impl Positions {
    /// Returns the positions in a prompt of `tokens` tokens.
    pub(crate) fn resolve(&self, tokens: usize) -> Result<Vec<usize>> {
        let one = |at: i64| from_end("token position", at, tokens);
        match self {
            Self::One(at) => Ok(vec![one(*at)?]),
            Self::All => Ok((0..tokens).collect()),
            Self::Several(all) => all.iter().map(|&at| Ok(one(at)?)).collect(),
            Self::Slice(start, stop, step) => {
                let (length, step) = (tokens as i64, step.unwrap_or(1));
                if step <= 0 {
                    let message = format!("invalid step {step} of a slice of positions: expected 1 or more");
                    return Err(value_error(message));
                }
                let bound = |at: i64| (if at < 0 { at.saturating_add(length) } else { at }).clamp(0, length);
                let (start, stop) = (bound(start.unwrap_or(0)), bound(stop.unwrap_or(length)));
                Ok((start..stop).step_by(step as usize).map(|at| at as usize).collect())
            }
        }
    }

    /// Returns the Python object that these positions are made of.
    pub(crate) fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::One(at) => at.into_pyobject(py)?.into_any(),
            Self::All => py.None().into_bound(py),
            Self::Several(all) => all.into_pyobject(py)?.into_any(),
            Self::Slice(start, stop, step) => {
                py.import("builtins")?.getattr("slice")?.call1((*start, *stop, *step))?.into_any()
            }
        })
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |at: &Option<i64>| at.map_or_else(String::new, |at| at.to_string());
        match self {
            Self::One(at) => write!(f, "position {at}"),
            Self::All => f.write_str("all positions"),
            Self::Several(all) => write!(f, "positions {all:?}"),
            Self::Slice(start, stop, None) => write!(f, "positions {}:{}", part(start), part(stop)),
            Self::Slice(start, stop, step) => write!(f, "positions {}:{}:{}", part(start), part(stop), part(step)),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Positions {
    type Error = PyErr;

    fn extract(any: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if any.is_none() {
            return Ok(Self::All);
        }
        if any.is_instance_of::<PySlice>() {
            let part = |name: &str| any.getattr(name)?.extract::<Option<i64>>();
            return Ok(Self::Slice(part("start")?, part("stop")?, part("step")?));
        }
        if let Some(one) = whole(&any) {
            return Ok(Self::One(one));
        }
        let several = List::<Py<PyAny>>::extract(any).ok();
        let number = |one: &Py<PyAny>| whole(one.bind(any.py()));
        let several = several.and_then(|all| all.0.iter().map(number).collect::<Option<Vec<i64>>>());
        several.map(Self::Several).ok_or_else(|| {
            let form = "expected a position, a list or a slice of them, or None for all";
            PyTypeError::new_err(format!("invalid position {}: {form}", shown(&any)))
        })
    }
}
