//! Arguments as Python programs give them: lists and arrays, one item instead of a list, pairs, whole numbers.

use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyString};

use crate::failure::{Result, value_error};

/// A list: anything that can be iterated but text, such as a tuple or an array.
#[derive(Clone)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// One item, or a list of items.
#[derive(Clone)]
pub(crate) struct Many<T>(pub(crate) Vec<T>);

/// A place (level, position): a tuple, a list or an array of two whole numbers. Negative ones count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair(pub(crate) i64, pub(crate) i64);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Many<String> {
    /// Returns a list of one text, for defaults.
    pub(crate) fn one(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }
}

impl<'a, 'py, T: FromPyObjectOwned<'py>> FromPyObject<'a, 'py> for List<T> {
    type Error = PyErr;

    fn extract(any: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let items = items(&any)?;
        Ok(Self(items.iter().map(|item| item.extract::<T>().map_err(Into::into)).collect::<PyResult<_>>()?))
    }
}

impl<'a, 'py, T: FromPyObjectOwned<'py>> FromPyObject<'a, 'py> for Many<T> {
    type Error = PyErr;

    fn extract(any: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match any.extract::<T>() {
            Ok(one) => Ok(Self(vec![one])),
            Err(_) => Ok(Self(List::extract(any)?.0)),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Pair {
    type Error = PyErr;

    fn extract(any: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let numbers = items(&any).ok().filter(|items| items.len() == 2);
        let pair = numbers.and_then(|items| Some(Self(whole(&items[0])?, whole(&items[1])?)));
        pair.ok_or_else(|| {
            PyTypeError::new_err(format!("expected (level, position), two whole numbers, got {}", shown(&any)))
        })
    }
}

/// Returns the items of a list, a tuple, an array or another iterable that is no text.
pub(crate) fn items<'py>(any: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let single = any.is_instance_of::<PyString>() || any.is_instance_of::<PyBytes>() || any.is_instance_of::<PyDict>();
    let refused = || -> PyResult<PyErr> {
        Ok(PyTypeError::new_err(format!("expected a list, got {}", any.get_type().name()?.to_cow()?)))
    };
    match any.try_iter() {
        Ok(items) if !single => items.collect(),
        _ => Err(refused()?),
    }
}

/// Returns an object in the form for messages: on one line, and shortened if it is long.
pub(crate) fn shown(any: &Bound<'_, PyAny>) -> String {
    let text = any.repr().map_or_else(|_| "an object".to_owned(), |text| text.to_string_lossy().into_owned());
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Returns a whole number: an int, an integer of numpy, or a float without a fraction, as arrays of results have.
pub(crate) fn whole(any: &Bound<'_, PyAny>) -> Option<i64> {
    if let Ok(number) = any.extract::<i64>() {
        return Some(number);
    }
    let float = any.is_instance_of::<PyFloat>() || any.hasattr("is_integer").ok()?;
    let exact = float && any.call_method0("is_integer").ok()?.is_truthy().ok()?;
    if exact { any.call_method0("__int__").ok()?.extract().ok() } else { None }
}

/// Converts the argument `name`, which must not be negative.
pub(crate) fn count<T: TryFrom<i64>>(name: &str, number: i64) -> Result<T> {
    T::try_from(number)
        .map_err(|_| value_error(format!("invalid {name}={number}: expected a whole number that is not negative")))
}

/// Does what [`count`] does, for an optional argument.
pub(crate) fn counts<T: TryFrom<i64>>(name: &str, number: Option<i64>) -> Result<Option<T>> {
    number.map(|number| count(name, number)).transpose()
}

/// The argument `seed`: a whole number from 0 to 2^64 - 1.
#[derive(Clone, Copy)]
pub(crate) struct Seed(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Seed {
    type Error = PyErr;

    fn extract(any: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(seed) = any.extract::<u64>() {
            return Ok(Self(seed));
        }
        let is_whole = whole(&any).is_some() || any.is_instance_of::<PyInt>();
        let refused = format!("invalid seed={}: expected a whole number from 0 to 2**64 - 1", any.repr()?.to_cow()?);
        Err(if is_whole { PyValueError::new_err(refused) } else { PyTypeError::new_err(refused) })
    }
}

/// The argument `device`: text, or an index of `devices()`.
pub(crate) struct DeviceName(pub(crate) String);

impl DeviceName {
    /// Returns the default of `from_pretrained`.
    pub(crate) fn auto() -> Self {
        Self("auto".to_owned())
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for DeviceName {
    type Error = PyErr;

    fn extract(any: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = any.cast::<PyString>() {
            return Ok(Self(text.to_cow()?.into_owned()));
        }
        const EXPECTED: &str =
            "expected \"auto\", \"gpu\", \"host\", an index of devices(), or part of an adapter's name";
        match any.extract::<i64>() {
            Ok(index) if index >= 0 => Ok(Self(index.to_string())),
            Ok(index) => Err(PyValueError::new_err(format!("invalid device={index}: {EXPECTED}"))),
            Err(_) => Err(PyTypeError::new_err(format!("invalid device={}: {EXPECTED}", shown(&any)))),
        }
    }
}
