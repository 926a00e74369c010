//! Values of sites, read from runs.

use std::ops::Range;

use resolvent_engine::Tensor;

use crate::edit::DeviceRow;
use crate::error::{Error, Result};
use crate::program::ValueId;
use crate::run::{Run, retained};
use crate::site::Site;

impl Run {
    /// Returns the field `[L+1, T, d]`: h\[0\] to h\[L\], before the final norm.
    ///
    /// # Errors
    /// A value that is not finite, or a device error.
    pub fn field(&self) -> Result<Vec<f32>> {
        let levels = &self.program().field;
        let mut field = Vec::with_capacity(levels.len() * self.tokens().len() * self.sizes().d);
        let rows = levels.iter().map(|&value| self.rows_of(value)).collect::<Result<Vec<Tensor>>>()?;
        for (level, rows) in self.device().read_many(&rows.iter().collect::<Vec<&Tensor>>())?.into_iter().enumerate() {
            self.finite("the field", Site::level(level, self.sizes()), 0, &rows)?;
            field.extend(rows);
        }
        Ok(field)
    }

    /// Returns the value of `site` at every token, `[T, width]`.
    ///
    /// # Errors
    /// A site that the model lacks, or a fused output that [`crate::RunOptions::sites`] did not name.
    pub fn capture(&self, site: Site) -> Result<Vec<f32>> {
        Ok(self.captures(&[site])?.remove(0))
    }

    /// Returns the values of several sites at every token, `[T, width]` each. Every value on the device is read once.
    ///
    /// # Errors
    /// As [`Run::capture`].
    pub fn captures(&self, sites: &[Site]) -> Result<Vec<Vec<f32>>> {
        Ok(captures(&[(self, sites)])?.remove(0))
    }

    /// Returns the value of `site` at a token, as it lies on the device, for [`crate::Edit::take`].
    ///
    /// # Errors
    /// A site that the model lacks, a fused output that [`crate::RunOptions::sites`] did not name, or a token outside
    /// of the prompt.
    pub fn row_on_device(&self, site: Site, token: usize) -> Result<DeviceRow> {
        let (value, last) = (self.value_of(site)?, self.tokens().len() - 1);
        if token > last {
            return Err(Error::Place(format!("{site} at token {token}: the prompt has tokens 0 to {last}")));
        }
        let values = retained(&self.base.trace, value)?.clone();
        Ok(DeviceRow { values, row: self.span(0, 0).primal + token, columns: site.columns(self.sizes()) })
    }
}

/// Returns the values of several sites of each run at every token, `[T, width]` each.
///
/// Each value on the device is read only once. Runs of one device wait once, for all of them.
///
/// # Errors
/// As [`Run::capture`].
pub fn captures(of: &[(&Run, &[Site])]) -> Result<Vec<Vec<Vec<f32>>>> {
    let mut wanted: Vec<(usize, ValueId, Tensor)> = Vec::new();
    for (n, (run, sites)) in of.iter().enumerate() {
        for value in run.values_of_sites(sites)? {
            wanted.push((n, value, run.rows_of(value)?));
        }
    }
    let mut captured: Vec<Vec<Vec<f32>>> = of.iter().map(|(_, sites)| vec![Vec::new(); sites.len()]).collect();
    let Some((first, _)) = of.first() else { return Ok(captured) };
    let read = first.device().read_many(&wanted.iter().map(|(.., tensor)| tensor).collect::<Vec<&Tensor>>())?;
    for ((n, value, tensor), data) in wanted.iter().zip(read) {
        let ((run, sites), width) = (of[*n], tensor.shape().lengths()[1]);
        for (i, site) in sites.iter().enumerate().filter(|(_, site)| run.program().value(**site) == Some(*value)) {
            captured[*n][i] = columns(&data, width, site.columns(run.sizes()));
            run.finite("the value", *site, 0, &captured[*n][i])?;
        }
    }
    Ok(captured)
}

/// Returns some columns of rows of `width` elements.
pub(crate) fn columns(data: &[f32], width: usize, columns: Range<usize>) -> Vec<f32> {
    match columns.len() == width {
        true => data.to_vec(),
        false => data.chunks(width).flat_map(|row| &row[columns.clone()]).copied().collect(),
    }
}
