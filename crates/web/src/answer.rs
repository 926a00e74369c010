//! What the page receives.

use resolvent::Labelled;
use resolvent_report::{Figure, figures};
use serde_json::{Value, json};

use crate::error::Result;

/// The answer to a request: a result with its checks.
#[derive(Clone, Debug)]
pub struct Answer {
    result: Labelled,
    labels: Vec<String>,
}

impl Answer {
    /// Creates the answer with the texts of the result's tokens.
    ///
    /// # Errors
    /// An array is not finite where that is no valid answer.
    pub(crate) fn new(result: Labelled, labels: Vec<String>) -> Result<Self> {
        result.finite()?;
        Ok(Self { result, labels })
    }

    /// Returns the result.
    pub fn result(&self) -> &Labelled {
        &self.result
    }

    /// Returns the result as the JSON object that `resolvent --json` prints.
    pub fn result_json(&self) -> String {
        self.result.to_json()
    }

    /// Returns the bytes of the result's safetensors file.
    ///
    /// # Errors
    /// Two arrays of one name.
    pub fn safetensors(&self) -> Result<Vec<u8>> {
        Ok(self.result.to_safetensors()?)
    }

    /// Returns what the page shows besides the arrays: `labels` (texts of the tokens), `checks` (one line each),
    /// `figures` (`title` and `svg`), and the `scatter` plot as an element that needs
    /// [`figure_style`](resolvent_report::figure_style), if there is one.
    pub fn shown_json(&self) -> String {
        let checks: Vec<String> = self.result.certificates.iter().map(ToString::to_string).collect();
        let drawn = figures(&self.result, &self.labels);
        let scatter = drawn.iter().find(|f| matches!(f, Figure::Scatter(_))).map(Figure::element);
        let drawn: Vec<Value> = drawn.iter().map(|f| json!({ "title": f.title(), "svg": f.svg() })).collect();
        json!({ "labels": self.labels, "checks": checks, "figures": drawn, "scatter": scatter }).to_string()
    }
}
