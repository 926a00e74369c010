//! Conversion to numpy arrays without copies, and from anything array-like.

use numpy::{PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::{Result, value_error};

/// Converts a vector to a numpy array that takes over its memory.
pub(crate) fn to_numpy<'py>(py: Python<'py>, data: Vec<f32>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
    PyArray1::from_vec(py, data).reshape(shape)
}

/// Reads anything that numpy converts to an array. f32 arrays in C order are not copied, others are converted.
///
/// Tensors in host memory are read through `__array__` or DLPack. Complex numbers are refused, because they would lose
/// their imaginary part.
pub(crate) fn floats<'py>(any: &Bound<'py, PyAny>) -> Result<PyReadonlyArrayDyn<'py, f32>> {
    let in_use = |e: numpy::BorrowError| value_error(format!("the array cannot be read now: {e}"));
    if let Ok(array) = any.cast::<PyArrayDyn<f32>>()
        && array.is_c_contiguous()
    {
        return array.try_readonly().map_err(in_use);
    }
    let numpy = any.py().import("numpy")?;
    let array = numpy.call_method1("asarray", (foreign(&numpy, any)?,))?;
    let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
    if kind == "c" {
        return Err(value_error("complex numbers have no place in a real vector; give `.real`, or `abs` of it"));
    }
    let options = PyDict::new(any.py());
    options.set_item("dtype", numpy.getattr("float32")?)?;
    let array = numpy.call_method("ascontiguousarray", (array,), Some(&options))?;
    let array = array.cast_into::<PyArrayDyn<f32>>().map_err(PyErr::from)?;
    array.try_readonly().map_err(in_use)
}

/// Reads a vector `[d]` or `[1, d]`.
pub(crate) fn vector(any: &Bound<'_, PyAny>) -> Result<Vec<f32>> {
    let array = floats(any)?;
    let long = array.shape().iter().filter(|&&n| n != 1).count();
    if long > 1 {
        return Err(value_error(format!("invalid shape {:?} of an array: expected a vector [d]", array.shape())));
    }
    Ok(contiguous(&array)?.to_vec())
}

/// Reads whole numbers `[T]` from a list or an array; `[1, T]`, the form of other libraries, is accepted too.
pub(crate) fn integers(any: &Bound<'_, PyAny>) -> Result<Vec<i64>> {
    let numpy = any.py().import("numpy")?;
    let array = numpy.call_method1("asarray", (foreign(&numpy, any)?,))?;
    let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
    let shape: Vec<usize> = array.getattr("shape")?.extract()?;
    let empty = shape.contains(&0);
    if kind == "U" {
        return Err(value_error("a prompt is one text, and this is a list of texts; give it to run_all or prompts"));
    }
    if !(kind == "i" || kind == "u" || empty) {
        return Err(value_error("a prompt is text or token ids: a list or an array of whole numbers"));
    }
    match shape[..] {
        [_] | [1, _] => Ok(array.call_method0("ravel")?.call_method0("tolist")?.extract()?),
        _ => Err(value_error(format!(
            "invalid shape {shape:?} of token ids: expected one prompt [T]; run_all and prompts take several"
        ))),
    }
}

/// Returns the elements of a read-only array, in C order.
pub(crate) fn contiguous<'a>(array: &'a PyReadonlyArrayDyn<'_, f32>) -> Result<&'a [f32]> {
    array.as_slice().map_err(|e| value_error(format!("the array cannot be read: {e}")))
}

/// Converts objects that support only DLPack to an array, and tensors of bfloat16, which numpy lacks, to f32. Returns
/// anything else unchanged.
fn foreign<'py>(numpy: &Bound<'py, PyModule>, any: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let kind = any.getattr_opt("dtype")?.map(|kind| kind.str()?.extract::<String>()).transpose()?;
    if kind.as_deref() == Some("torch.bfloat16") {
        return any.call_method0("float");
    }
    match any.hasattr("__dlpack__")? && !any.hasattr("__array__")? {
        true => numpy.call_method1("from_dlpack", (any,)),
        false => Ok(any.clone()),
    }
}
