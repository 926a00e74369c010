//! Checks for NaN and infinity where values are read from the device, so that no analysis uses or writes one.

use crate::checkpoint::first_non_finite;
use crate::error::{Error, Result};
use crate::run::Run;
use crate::site::Site;

impl Run {
    /// Fails if `rows` of a site contain an element that is not finite.
    ///
    /// `token` is the token of the first row. `what` names the rows in the message.
    pub(crate) fn finite(&self, what: &str, site: Site, token: usize, rows: &[f32]) -> Result<()> {
        let Some(at) = first_non_finite(rows) else { return Ok(()) };
        let token = token + at / site.width(self.sizes()).max(1);
        Err(self.not_finite(what, rows[at], &format!("{site}, token {token}")))
    }

    /// Fails if the value of an observable is not finite.
    pub(crate) fn finite_value(&self, value: f64, place: impl FnOnce() -> String) -> Result<f64> {
        match value.is_finite() {
            true => Ok(value),
            false => Err(self.not_finite("J", value as f32, &place())),
        }
    }

    /// Returns the error for a value that is not finite, with its likely cause.
    pub(crate) fn not_finite(&self, what: &str, value: f32, place: &str) -> Error {
        let cause = self.overflow().unwrap_or_else(|error| error.to_string());
        Error::NotFinite { what: what.to_owned(), value, place: place.to_owned(), cause }
    }

    /// Describes where the run itself first leaves the range of f32, or else how large its field is.
    fn overflow(&self) -> Result<String> {
        let d = self.sizes().d;
        let mut largest = 0.0f32;
        for (level, &value) in self.program().field.iter().enumerate() {
            let rows = self.device().read(&self.rows_of(value)?)?;
            if let Some(at) = first_non_finite(&rows) {
                let token = at / d;
                return Ok(match level {
                    0 => format!("the embedding of token {token} leaves the range of f32"),
                    _ => format!(
                        "block {} leaves the range of f32 at token {token}, where it reads numbers up to {largest:.1e}",
                        level - 1
                    ),
                });
            }
            largest = rows.iter().fold(largest, |m, x| m.max(x.abs()));
        }
        Ok(format!(
            "the field of the run is finite, up to {largest:.1e}; a product of numbers of that size leaves the range of f32"
        ))
    }
}
