//! `Run.growth`: how much blocks amplify sources at a token.

use pyo3::prelude::*;
use resolvent::field::{distinct, growth};
use resolvent::model::from_end;

use crate::classes::PyRun;
use crate::failure::Result;
use crate::lists::Many;
use crate::result::PyResultOf;
use crate::work::detached;

#[pymethods]
impl PyRun {
    /// How much each block amplifies a source at its own token, beside what its eigenvalues say, and the growth from
    /// level 0 on.
    ///
    /// Arrays over blocks and the N tokens of `at` [L, N]: `gain` (largest singular value), `radius` (largest
    /// eigenvalue), `numerical_abscissa` and `abscissa` (rates at first and in the long run), `departure` from
    /// normality; over levels [L+1, N]: `growth`, `by_radius`, `by_gain`; `tokens` [N].
    #[pyo3(signature = (at = Many(vec![-1])), text_signature = "($self, at=-1)")]
    fn growth(&self, py: Python<'_>, at: Many<i64>) -> Result<PyResultOf> {
        let count = self.run.tokens().len();
        let at = at.0.into_iter().map(|token| from_end("token position", token, count));
        let at = distinct(at.collect::<std::result::Result<Vec<_>, _>>()?);
        let result = detached(py, |_| growth(&self.run, &at))?;
        PyResultOf::new(py, result, Some(&self.run), None)
    }
}
