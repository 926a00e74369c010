//! Labelled results: named arrays with named axes, the checks that they passed, and their provenance.

use std::collections::BTreeMap;
use std::path::Path;

use resolvent_model::Run;

use crate::certificate::Certificate;
use crate::edited::described;
use crate::error::{Error, Result};
use crate::file::{check_writable, write_whole};
use crate::finite::{self, Broken};
use crate::json::{Element, JsonArray, JsonArrays, JsonFile};
use crate::store::{Planned, distinct_names, header, little_endian};

/// A named array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Name in the result file.
    pub name: &'static str,
    /// Axes with their lengths, outermost first, such as `("level", 13)`.
    pub axes: Vec<(&'static str, usize)>,
    /// The elements, row-major.
    pub data: Vec<f32>,
}

/// The text before the noise floor in the metadata of a check.
pub(crate) const NOISE: &str = ", noise ";

/// The metadata of weights and inputs that are not rounded.
const FULL: &str = "f32";

/// The result of one analysis, as the library returns it and the commands write it.
#[derive(Clone, Debug, Default)]
pub struct Labelled {
    /// Arrays, in the order in which they are documented.
    pub arrays: Vec<Array>,
    /// Checks that passed.
    pub certificates: Vec<Certificate>,
    /// Provenance and parameters.
    pub metadata: BTreeMap<String, String>,
    /// The first array that must be finite and is not. If there is one, no check passes and nothing is written.
    broken: Option<Broken>,
}

impl Labelled {
    /// Returns a copy of the metadata without arrays or checks, for a result that combines several.
    pub(crate) fn metadata_alone(&self) -> Self {
        Self { metadata: self.metadata.clone(), ..Self::default() }
    }

    /// Returns the arrays `NAME.end` as `NAME`: what several prompts have in common, as the result of one.
    pub fn endings(&self, end: &str) -> Vec<Array> {
        let one = |array: &Array| {
            let name = array.name.strip_suffix(end)?.strip_suffix('.')?;
            Some(Array { name, ..array.clone() })
        };
        self.arrays.iter().filter_map(one).collect()
    }

    /// Creates an empty result of `analysis` with the provenance of `run`.
    pub fn new(analysis: &str, run: &Run) -> Self {
        let (model, info) = (run.model(), run.model().device().info().clone());
        let tokens: Vec<String> = run.tokens().iter().map(u32::to_string).collect();
        let metadata = [
            ("analysis", analysis.to_owned()),
            ("model", model.name().to_owned()),
            ("model_hash", model.hash().to_owned()),
            ("tokens", tokens.join(",")),
            ("executor", if info.is_host() { "host" } else { "gpu" }.to_owned()),
            (
                "weights",
                match run.model().weight_rounding() {
                    Some(error) => format!("f16, relative rounding error {error:.1e}"),
                    None => FULL.to_owned(),
                },
            ),
            (
                "inputs",
                match run.model().input_rounding() {
                    Some(error) => format!("f16, relative error of a field {error:.1e}"),
                    None => FULL.to_owned(),
                },
            ),
            ("variants", resolvent_ops::tuning::describe(run.model().device())),
            ("adapter", info.name),
            ("driver", format!("{} {}", info.backend, info.driver)),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        let edits = (!run.edits().is_empty()).then(|| ("edits", described(run.edits())));
        let metadata = metadata.into_iter().chain(edits).map(|(k, v)| (k.to_owned(), v)).collect();
        Self { metadata, ..Self::default() }
    }

    /// Adds an array.
    ///
    /// NaN or infinity in it fails the next check and the writing of the result. If it is a valid answer there, as for
    /// a radius, the metadata count it under `not_finite.NAME` instead.
    #[must_use]
    pub fn with(mut self, name: &'static str, axes: &[(&'static str, usize)], data: Vec<f32>) -> Self {
        debug_assert_eq!(axes.iter().map(|a| a.1).product::<usize>(), data.len(), "{name}");
        match finite::check(self.fact("analysis"), name, axes, &data) {
            Ok(None) => {}
            Ok(Some(gaps)) => drop(self.metadata.insert(format!("not_finite.{name}"), gaps)),
            Err(broken) => self.broken = self.broken.or(Some(broken)),
        }
        self.arrays.push(Array { name, axes: axes.to_vec(), data });
        self
    }

    /// Adds an entry to the metadata.
    #[must_use]
    pub fn note(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a check that passes, or returns its error.
    ///
    /// # Errors
    /// The check fails, or an array is not finite.
    pub fn certify(mut self, certificate: Certificate) -> Result<Self> {
        self.finite()?;
        if !certificate.passes() {
            return Err(self.failed(&certificate));
        }
        self.certificates.push(certificate);
        Ok(self)
    }

    /// Returns the error of a failed check, with advice that fits the metadata.
    pub(crate) fn failed(&self, certificate: &Certificate) -> Error {
        let of = |key: &str| self.metadata.get(key).map(String::as_str);
        match of("inputs") {
            Some(inputs) if inputs != FULL => Error::Rounded {
                name: certificate.name.to_owned(),
                value: certificate.value,
                bound: certificate.allowed(),
            },
            _ => certificate.failure(of("executor")),
        }
    }

    /// Returns an error if an array has a number that is not finite where that is not a valid answer.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first such array.
    pub fn finite(&self) -> Result<()> {
        self.broken.as_ref().map_or(Ok(()), |broken| Err(broken.error()))
    }

    /// Returns the array `name`, if the result has it.
    pub fn array(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|a| a.name == name)
    }

    /// Returns all metadata as strings: provenance, the axes of each array, and the checks with their figures.
    pub(crate) fn strings(&self) -> BTreeMap<String, String> {
        let axes = self.arrays.iter().map(|a| {
            let names: Vec<&str> = a.axes.iter().map(|(name, _)| *name).collect();
            (format!("axes.{}", a.name), names.join(","))
        });
        let checks = self.certificates.iter();
        let checks = checks.map(|c| {
            // All digits, so that a file gives back the same figures.
            let noise = if c.noise > 0.0 { format!("{NOISE}{:e}", c.noise) } else { String::new() };
            (format!("certificate.{}", c.name), format!("{:e} <= {:e}{noise}", c.value, c.bound))
        });
        let own = self.metadata.iter().map(|(k, v)| (k.clone(), v.clone()));
        own.chain(axes).chain(checks).collect()
    }

    /// Returns the result as one JSON object: `arrays` (name to `shape` and row-major `data`) and `metadata`.
    ///
    /// NaN is null; infinity is `"inf"` or `"-inf"`.
    pub fn to_json(&self) -> String {
        let arrays = self.arrays.iter().map(|a| {
            let shape = a.axes.iter().map(|(_, n)| *n).collect();
            (a.name.to_owned(), JsonArray { data: a.data.iter().copied().map(Element).collect(), shape })
        });
        let file = JsonFile { arrays: JsonArrays(arrays.collect()), metadata: self.strings() };
        serde_json::to_string(&file).unwrap_or_default()
    }

    /// Returns the bytes of a safetensors file in f32, as [`Labelled::write`] writes it. Equal results give equal
    /// bytes.
    ///
    /// # Errors
    /// Two arrays of one name, or an array that is not finite.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        self.finite()?;
        distinct_names(self.arrays.iter().map(|a| a.name))?;
        let planned: Vec<Planned> = self.arrays.iter().map(|a| Planned::new(a.name, &a.axes)).collect();
        let mut bytes = header(&planned, &self.strings(), 0)?;
        self.arrays.iter().for_each(|a| bytes.extend(little_endian(&a.data)));
        Ok(bytes)
    }

    /// Checks that a result could be written to `path`, before the work is done.
    ///
    /// # Errors
    /// An ending other than `.safetensors` or `.json`, or a directory that is missing or not writable.
    pub fn check_path(path: &Path) -> Result<()> {
        format_of(path)?;
        check_writable(path)
    }

    /// Writes the result whole: to a temporary file beside `path`, which is then renamed.
    ///
    /// # Errors
    /// As for [`Labelled::check_path`], two arrays of one name, an array that is not finite, or a full disk.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.finite()?;
        distinct_names(self.arrays.iter().map(|a| a.name))?;
        let bytes = match format_of(path)? {
            Format::Safetensors => self.to_safetensors()?,
            Format::Json => self.to_json().into_bytes(),
        };
        write_whole(path, &bytes)
    }
}

enum Format {
    Safetensors,
    Json,
}

fn format_of(path: &Path) -> Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => Ok(Format::Safetensors),
        Some("json") => Ok(Format::Json),
        _ => {
            Err(Error::File { path: path.to_owned(), reason: "a result file ends in .safetensors or .json".to_owned() })
        }
    }
}
