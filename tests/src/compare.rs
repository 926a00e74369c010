//! Comparisons that cannot pass by accident: NaN fails, and so does a comparison of an executor with itself.

use std::fmt;

/// Values, with the name of the executor that computed them.
#[derive(Clone, Debug)]
pub struct Labelled {
    by: String,
    values: Vec<f64>,
}

impl Labelled {
    /// Labels values computed by `by`. Values of a device are labelled by [`crate::Subject::read`].
    pub(crate) fn new(by: String, values: Vec<f64>) -> Self {
        Self { by, values }
    }

    /// Labels values of the f64 reference.
    pub fn reference(values: Vec<f64>) -> Self {
        Self::new("reference".to_owned(), values)
    }

    /// Returns the name of the executor.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Returns the values.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Returns rows `rows` of `d` elements, with the same name.
    #[must_use]
    pub fn rows(&self, d: usize, rows: std::ops::Range<usize>) -> Self {
        Self::new(self.by.clone(), self.values[rows.start * d..rows.end * d].to_vec())
    }

    /// Separates first and second order of jets, whose rows of `d` elements are interleaved.
    #[must_use]
    pub fn orders(&self, d: usize) -> [Self; 2] {
        [0, 1].map(|order| {
            let rows = self.values.chunks(d).skip(order).step_by(2);
            Self::new(self.by.clone(), rows.flatten().copied().collect())
        })
    }
}

/// The reason why a comparison failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// Both sides were computed by the same executor.
    SameExecutor(String),
    /// The sides differ in length, or there is nothing to compare.
    Length(usize, usize),
    /// The relative L2 error exceeds the tolerance or is NaN.
    Error {
        /// Relative L2 error.
        error: f64,
        /// The tolerance.
        tolerance: f64,
        /// Index of the first element that is far off, with both values.
        at: (usize, f64, f64),
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameExecutor(by) => write!(f, "`{by}` was compared with itself"),
            Self::Length(a, b) => write!(f, "{a} elements against {b}"),
            Self::Error { error, tolerance, at: (i, got, want) } => {
                write!(f, "relative error {error:.3e}, tolerance {tolerance:.1e}; at {i}: {got} for {want}")
            }
        }
    }
}

/// Returns `|got - want| / |want|` in the L2 norm if it is within `tolerance`. If `want` is zero, `got` must be zero.
pub fn compare(got: &Labelled, want: &Labelled, tolerance: f64) -> Result<f64, Mismatch> {
    if got.by == want.by {
        return Err(Mismatch::SameExecutor(got.by.clone()));
    }
    if got.values.len() != want.values.len() || got.values.is_empty() {
        return Err(Mismatch::Length(got.values.len(), want.values.len()));
    }
    let size = want.values.iter().map(|w| w * w).sum::<f64>().sqrt();
    let distance = got.values.iter().zip(&want.values).map(|(g, w)| (g - w) * (g - w)).sum::<f64>().sqrt();
    let error = if size > 0.0 || distance != 0.0 { distance / size } else { 0.0 };
    if error <= tolerance {
        return Ok(error);
    }
    let near = tolerance * (size / (want.values.len() as f64).sqrt());
    let far = |(g, w): (&f64, &f64)| (g - w).is_nan() || (g - w).abs() > near;
    let at = got.values.iter().zip(&want.values).position(far).unwrap_or(0);
    Err(Mismatch::Error { error, tolerance, at: (at, got.values[at], want.values[at]) })
}

/// The worst error of each pair of executors in one test, printed when the test ends (`--nocapture` shows it).
#[derive(Debug)]
pub struct Worst {
    what: String,
    seen: Vec<(String, f64, f64)>,
}

impl Worst {
    /// Creates a record of `what`, such as `layer_norm.vjp`.
    pub fn new(what: &str) -> Self {
        Self { what: what.to_owned(), seen: Vec::new() }
    }

    /// Compares two results and records the error.
    ///
    /// # Panics
    /// If the comparison fails. The message contains `case`.
    pub fn check(&mut self, case: impl fmt::Display, got: &Labelled, want: &Labelled, tolerance: f64) {
        match compare(got, want, tolerance) {
            Ok(error) => self.note(format!("{} | {}", got.by, want.by), error, tolerance),
            Err(e) => panic!("{} {case}: {} against {}: {e}", self.what, got.by, want.by),
        }
    }

    /// Compares an error that was measured otherwise with its tolerance, and records it.
    ///
    /// # Panics
    /// If it exceeds the tolerance or is NaN.
    pub fn within(&mut self, case: impl fmt::Display, by: &str, error: f64, tolerance: f64) {
        let what = &self.what;
        assert!(error <= tolerance, "{what} {case}: {by}: error {error:.3e}, tolerance {tolerance:.1e}");
        self.note(by.to_owned(), error, tolerance);
    }

    fn note(&mut self, by: String, error: f64, tolerance: f64) {
        match self.seen.iter_mut().find(|(seen, ..)| *seen == by) {
            Some(row) => {
                // Records the error that is largest relative to its tolerance.
                if error / tolerance > row.1 / row.2 {
                    (row.1, row.2) = (error, tolerance);
                }
            }
            None => self.seen.push((by, error, tolerance)),
        }
    }
}

impl Drop for Worst {
    fn drop(&mut self) {
        // After a failure, the message is all that matters.
        let seen = if std::thread::panicking() { &[][..] } else { &self.seen };
        for (by, error, tolerance) in seen {
            println!("| {} | {by} | {error:.1e} | {tolerance:.1e} |", self.what);
        }
    }
}
