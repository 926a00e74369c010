//! The class `Result`: arrays with named axes, the checks that they passed, their provenance and their figures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use numpy::{PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use resolvent::model::Run;
use resolvent::{Array, Labelled};
use resolvent_report::{Figure, Grid, figures, write_graph};

use crate::arrays::to_numpy;
use crate::classes::labels;
use crate::failure::{Failure, Result, value_error};
use crate::lists::{counts, shown};

/// Names and lengths of the axes, outermost first.
type Axes = Vec<(&'static str, usize)>;

/// An array with its name and its axes.
type Named = (&'static str, Axes, Py<PyArrayDyn<f32>>);

/// The result of an analysis: arrays whose axes have names, the checks that they passed, and where they come from.
///
/// `result[name]` is an array, read-only, without a copy; `values` is the one that the analysis is about.
#[pyclass(frozen, name = "Result", module = "resolvent")]
pub(crate) struct PyResultOf {
    /// The result without its arrays.
    pub(crate) about: Labelled,
    pub(crate) arrays: Vec<Named>,
    /// Texts of the tokens, or their ids if there is no tokenizer.
    pub(crate) labels: Vec<String>,
}

impl PyResultOf {
    /// Takes over a result of the library. `observable` is J as figures show it.
    pub(crate) fn new(py: Python<'_>, result: Labelled, run: Option<&Run>, observable: Option<&str>) -> Result<Self> {
        let mut about = result;
        // The order in which files have them.
        about.certificates.sort_by_key(|check| check.name);
        let arrays = std::mem::take(&mut about.arrays).into_iter().map(|Array { name, axes, data }| {
            let shape: Vec<usize> = axes.iter().map(|axis| axis.1).collect();
            let array = to_numpy(py, data, &shape)?;
            // The checks are of these elements, so they are read-only. Users can change copies.
            array.call_method1("setflags", (false,))?;
            Ok::<_, Failure>((name, axes, array.unbind()))
        });
        let arrays = arrays.collect::<Result<_>>()?;
        if let Some(text) = observable {
            about = about.note(OBSERVABLE, text);
        }
        let stored = about.metadata.remove(WORDS);
        let labels = match (run, stored) {
            (Some(run), _) => labels(run),
            (None, Some(words)) => py.import("json")?.call_method1("loads", (words,))?.extract()?,
            (None, None) => about.list("tokens").unwrap_or_default().into_iter().map(|id| format!("#{id}")).collect(),
        };
        Ok(Self { about, arrays, labels })
    }

    fn find(&self, name: Option<&str>) -> Result<&Named> {
        let analysis = self.analysis();
        let main = MAIN.iter().find(|(of, _)| *of == analysis).map(|(_, array)| *array);
        let found = match name.or(main) {
            Some(name) => self.arrays.iter().find(|(of, ..)| *of == name),
            None => None,
        };
        // A sweep of heads alone has no array of the field: its first array is the main one.
        let found = if name.is_none() { found.or(self.arrays.first()) } else { found };
        found.ok_or_else(|| self.no_array(name.or(main).unwrap_or_default()))
    }

    fn no_array(&self, name: &str) -> Failure {
        let names: Vec<&str> = self.arrays.iter().map(|a| a.0).collect();
        PyKeyError::new_err(format!("no array `{name}`; there are {}", names.join(", "))).into()
    }

    /// Returns the library's form of the result, with copies of the arrays and the texts of the tokens.
    pub(crate) fn labelled(&self, py: Python<'_>) -> Result<Labelled> {
        let mut result = self.about.clone();
        if !self.labels.is_empty() {
            let words: String = py.import("json")?.call_method1("dumps", (&self.labels,))?.extract()?;
            result = result.note(WORDS, words);
        }
        for (name, axes, array) in &self.arrays {
            let data = array.bind(py).to_vec().map_err(|e| value_error(e.to_string()))?;
            // The checks were of these elements, whatever gaps they have.
            result.arrays.push(Array { name, axes: axes.clone(), data });
        }
        Ok(result)
    }

    /// Returns the figures as one drawing, graphs with so many edges at most; `None` if there are none.
    fn figure(&self, py: Python<'_>, edges: Option<i64>) -> Result<Option<Figure>> {
        let mut result = self.labelled(py)?;
        if let Some(edges) = counts::<usize>("edges", edges)? {
            result = result.note("drawn_edges", edges.to_string());
        }
        let mut figures = figures(&result, &self.labels);
        Ok(match figures.len() {
            0 => None,
            1 => Some(figures.remove(0)),
            _ => Some(Grid::new("", figures).into()),
        })
    }
}

/// Key of the metadata from which figures read J.
const OBSERVABLE: &str = "observable_text";
/// Key of the texts of the tokens in files, a JSON list.
const WORDS: &str = "str_tokens";

/// The main array of each analysis.
const MAIN: [(&str, &str); 12] = [
    ("run", "field"),
    ("sensitivity", "sensitivity"),
    ("patch", "effect"),
    ("green", "response"),
    ("slice", "blocks"),
    ("spectrum", "singular_values"),
    ("regime", "error"),
    ("invert", "sources"),
    ("transfer", "fraction"),
    ("locate", "posterior"),
    ("reduce", "error"),
    ("average", "operator"),
];

impl PyResultOf {
    /// Converts an array to the object of another package, with a function of `_tables.py`.
    fn table<'py>(slf: Bound<'py, Self>, name: Option<&str>, function: &str) -> Result<Bound<'py, PyAny>> {
        let name = slf.get().find(name)?.0;
        Ok(slf.py().import("resolvent._tables")?.call_method1(function, (slf, name))?)
    }
}

#[pymethods]
impl PyResultOf {
    /// What was computed: `sensitivity`, `patch`, `green`, ...
    #[getter]
    fn analysis(&self) -> &str {
        self.about.fact("analysis")
    }

    /// The array that the analysis is about, float32: `sensitivity` [L+1, T, d], `effect` [L+1, T], `response` [L+1, T,
    /// d], `blocks` [N, m, k], `error` [N, A], `sources` [N, d], `fraction` and `posterior` [L+1, T].
    #[getter]
    fn values(&self, py: Python<'_>) -> Result<Py<PyArrayDyn<f32>>> {
        Ok(self.find(None)?.2.clone_ref(py))
    }

    /// Names of the axes of `values`, outermost first, such as `("level", "token", "d")`.
    #[getter]
    fn axes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyTuple>> {
        self.axes_of(py, None)
    }

    /// Names of the axes of an array; of `values` without a name.
    #[pyo3(signature = (name = None))]
    fn axes_of<'py>(&self, py: Python<'py>, name: Option<&str>) -> Result<Bound<'py, PyTuple>> {
        Ok(PyTuple::new(py, self.find(name)?.1.iter().map(|axis| axis.0))?)
    }

    /// All arrays by name.
    #[getter]
    fn arrays<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (name, _, array) in &self.arrays {
            all.set_item(name, array)?;
        }
        Ok(all)
    }

    /// Name of the array that `values` is.
    #[getter]
    fn name(&self) -> Result<&'static str> {
        Ok(self.find(None)?.0)
    }

    /// The checks that passed: name to (figure, the largest that passes).
    #[getter]
    fn checks<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for check in &self.about.certificates {
            all.set_item(check.name, (check.value, check.allowed()))?;
        }
        Ok(all)
    }

    /// Provenance and parameters, as strings.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (key, value) in self.about.metadata.iter().filter(|(key, _)| *key != OBSERVABLE) {
            all.set_item(key, value)?;
        }
        Ok(all)
    }

    /// Texts of the tokens along the axis `token`.
    #[getter]
    fn str_tokens(&self) -> Vec<String> {
        self.labels.clone()
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> Result<Py<PyArrayDyn<f32>>> {
        let Ok(name) = key.cast::<PyString>() else { return Err(self.no_array(&shown(key))) };
        Ok(self.find(Some(&name.to_cow()?))?.2.clone_ref(key.py()))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> bool {
        key.extract::<String>().is_ok_and(|name| self.arrays.iter().any(|(of, ..)| *of == name))
    }

    fn __len__(&self) -> usize {
        self.arrays.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        Ok(PyList::new(py, self.keys())?.try_iter()?.into_any())
    }

    fn _ipython_key_completions_(&self) -> Vec<&'static str> {
        self.keys()
    }

    /// Names and arrays.
    fn items<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        Ok(self.arrays(py)?.call_method0("items")?)
    }

    /// Names of the arrays.
    pub(crate) fn keys(&self) -> Vec<&'static str> {
        self.arrays.iter().map(|(name, ..)| *name).collect()
    }

    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> Result<Bound<'py, PyAny>> {
        let values = self.find(None)?.2.bind(py).as_any();
        let values = if copy == Some(true) { values.call_method0("copy")? } else { values.clone() };
        match dtype {
            Some(dtype) => {
                let options = PyDict::new(py);
                options.set_item("copy", false)?;
                Ok(values.call_method("astype", (dtype,), Some(&options))?)
            }
            None => Ok(values),
        }
    }

    /// A copy of `values` for libraries of tensors: `torch.tensor(result)`, `torch.from_dlpack(result)`.
    #[pyo3(signature = (**options))]
    fn __dlpack__<'py>(&self, py: Python<'py>, options: Option<&Bound<'py, PyDict>>) -> Result<Bound<'py, PyAny>> {
        // DLPack knows no arrays that are read-only.
        let copy = self.find(None)?.2.bind(py).call_method0("copy")?;
        Ok(copy.call_method("__dlpack__", (), options)?)
    }

    fn __dlpack_device__(&self, py: Python<'_>) -> Result<Py<PyAny>> {
        Ok(self.find(None)?.2.bind(py).call_method0("__dlpack_device__")?.unbind())
    }

    /// A pandas DataFrame with a row for each number of an array (of `values` without a name), its axes as the index,
    /// and a column for it and for every other array of the same axes. `.unstack("token")` makes a table of it.
    #[pyo3(signature = (name = None))]
    fn to_pandas<'py>(slf: Bound<'py, Self>, name: Option<&str>) -> Result<Bound<'py, PyAny>> {
        Self::table(slf, name, "pandas_frame")
    }

    /// The same as a polars DataFrame, whose axes are columns.
    #[pyo3(signature = (name = None))]
    fn to_polars<'py>(slf: Bound<'py, Self>, name: Option<&str>) -> Result<Bound<'py, PyAny>> {
        Self::table(slf, name, "polars_frame")
    }

    /// An array (`values` without a name) as an xarray DataArray: its axes are dimensions, texts of tokens are
    /// coordinates `token_text`, and attributes are the metadata.
    #[pyo3(signature = (name = None))]
    fn to_xarray<'py>(slf: Bound<'py, Self>, name: Option<&str>) -> Result<Bound<'py, PyAny>> {
        Self::table(slf, name, "xarray_array")
    }

    /// Draws an array with matplotlib and returns the axes: a heatmap of two axes, lines or bars of one. Without a
    /// name, what says most about the analysis, such as the norm of a field.
    #[pyo3(signature = (name = None, ax = None))]
    fn plot<'py>(
        slf: Bound<'py, Self>,
        name: Option<&str>,
        ax: Option<Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, PyAny>> {
        Ok(slf.py().import("resolvent._matplotlib")?.call_method1("draw", (slf, name, ax))?)
    }

    /// The figures of the analysis as one SVG drawing; None if it has none. Graphs have so many `edges` at most (up to
    /// 200; without it, 40).
    #[pyo3(signature = (*, edges = None))]
    fn svg(&self, py: Python<'_>, edges: Option<i64>) -> Result<Option<String>> {
        Ok(self.figure(py, edges)?.map(|figure| figure.svg()))
    }

    /// Writes the arrays with their provenance (.safetensors, .json) the figures (.svg, .png, .html),
    /// or the graph of edges (.graphml), by the ending. `edges` is as in `svg`.
    #[pyo3(signature = (path, *, edges = None))]
    fn save(&self, py: Python<'_>, path: PathBuf, edges: Option<i64>) -> Result<()> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors" | "json") => Ok(self.labelled(py)?.write(&path)?),
            Some("graphml") => Ok(write_graph(&self.labelled(py)?, &path)?),
            Some("svg" | "png" | "html") => {
                let none = || value_error(format!("`{}` has no figures", self.analysis()));
                Ok(self.figure(py, edges)?.ok_or_else(none)?.write(&path)?)
            }
            _ => {
                let path = path.display();
                Err(value_error(format!(
                    "{path}: a result file ends in .safetensors or .json, its figures in .svg, .png or .html, its graph in .graphml"
                )))
            }
        }
    }

    /// Reads a result that was written as .safetensors or .json, here or on the command line. It equals the saved one.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> Result<Self> {
        if let Some(figure @ ("svg" | "png" | "html" | "graphml")) = path.extension().and_then(|ending| ending.to_str())
        {
            let path = path.display();
            return Err(value_error(format!(
                "{path}: a .{figure} file is a drawing of a result; load the result from .safetensors or .json"
            )));
        }
        Self::new(py, Labelled::read(Path::new(&path))?, None, None)
    }

    /// Arrays and metadata as one JSON object.
    fn to_json(&self, py: Python<'_>) -> Result<String> {
        Ok(self.labelled(py)?.to_json())
    }

    fn __repr__(&self) -> String {
        let mut text = format!("<resolvent.Result {}:", self.analysis());
        for (name, axes, _) in &self.arrays {
            let axes: Vec<String> = axes.iter().map(|(axis, n)| format!("{axis}={n}")).collect();
            let _infallible = write!(text, " {name} [{}],", axes.join(", "));
        }
        let _infallible = write!(text, " {}>", self.passed());
        text
    }

    fn _repr_html_(slf: Bound<'_, Self>) -> Result<String> {
        let this = slf.get();
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
        let line = escaped(&slf.repr()?.to_cow()?);
        Ok(match this.svg(slf.py(), None)? {
            Some(svg) => format!("<div>{svg}<div><small>{}</small></div></div>", escaped(&this.passed())),
            None => format!("<pre>{line}</pre>"),
        })
    }
}

impl PyResultOf {
    /// Formats the checks in one line.
    fn passed(&self) -> String {
        let checks = self.about.certificates.iter().map(ToString::to_string);
        format!("checks: {}", checks.collect::<Vec<_>>().join(", "))
    }
}
