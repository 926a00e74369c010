//! Reduced descriptions: a table of errors over ranks.

use resolvent_field::Labelled;

use crate::axis::number::minus;
use crate::{Cell, Table};

/// Titles of the methods, in the order of the table.
const TITLES: [(&str, &str); 7] = [
    ("balanced", "balanced"),
    ("pod", "POD"),
    ("active_subspace", "active subspace"),
    ("krylov", "Krylov"),
    ("green", "SVD of G"),
    ("shuffled", "shuffled pairs"),
    ("random", "random"),
];

/// Titles of plots of the two bases.
pub(crate) const BASES: [&str; 2] = ["One basis for all tokens", "One basis for each role"];

/// Estimates of the error of `balanced` that need no held-out prompt, below the table.
const ADVANCE: [(&str, &str); 3] = [
    ("said", "in advance: spectrum"),
    ("cross_validated", "in advance: cross-validated"),
    ("expected", "in advance: expected"),
];

/// The errors of a result of `reduce`.
pub(crate) struct Errors<'a> {
    /// Numbers of directions.
    pub(crate) ranks: &'a [f32],
    methods: Vec<&'a str>,
    result: &'a Labelled,
}

impl<'a> Errors<'a> {
    /// Reads the errors of a result; `None` if it has none.
    pub(crate) fn of(result: &'a Labelled) -> Option<Self> {
        Some(Self { ranks: &result.array("ranks")?.data, methods: result.list("methods")?, result })
    }

    /// Returns the methods with their titles.
    pub(crate) fn methods(&self) -> impl Iterator<Item = (usize, &'static str)> + '_ {
        TITLES.iter().filter_map(|(name, title)| Some((self.methods.iter().position(|m| m == name)?, *title)))
    }

    /// Returns an array `[basis, method, rank]` of a method, over ranks.
    pub(crate) fn over_ranks(&self, name: &str, (basis, method): (usize, usize)) -> &'a [f32] {
        let n = self.ranks.len();
        self.result.array(name).map_or(&[], |array| &array.data[(basis * self.methods.len() + method) * n..][..n])
    }

    /// Returns the first element of an array; NaN if there is none.
    pub(crate) fn value(&self, name: &str) -> f32 {
        self.result.array(name).and_then(|array| array.data.first().copied()).unwrap_or(f32::NAN)
    }
}

/// Returns a table of the errors of all methods over ranks, with one basis and with one for each role; `None` if the
/// result has none.
pub fn reduction_errors(title: &str, result: &Labelled) -> Option<Table> {
    let errors = Errors::of(result)?;
    let ranks: Vec<String> = errors.ranks.iter().map(|rank| format!("k = {rank}")).collect();
    let columns: Vec<&str> = ["basis", "method"].into_iter().chain(ranks.iter().map(String::as_str)).collect();
    let mut table = Table::new(title, &columns);
    let rounded = |x: &f32| Cell::from(minus(&format!("{x:.3}")));
    let row = |table: Table, names: [&str; 2], data: &[f32]| {
        table.row(names.map(Cell::from).into_iter().chain(data.iter().map(rounded)))
    };
    for (basis, name) in ["one", "by role"].into_iter().enumerate() {
        for (method, title) in errors.methods() {
            table = row(table, [name, title], errors.over_ranks("error", (basis, method)));
        }
        for (array, title) in ADVANCE {
            if let Some(said) = result.array(array) {
                table = row(table, [name, title], &said.data[basis * ranks.len()..][..ranks.len()]);
            }
        }
    }
    Some(table)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A result with two methods, of which the second is not balanced, and two ranks.
    pub(crate) fn result() -> Labelled {
        let axes = [("basis", 2), ("method", 2), ("rank", 2)];
        let error: Vec<f32> = (0..8).map(|i| i as f32 / 16.0).collect();
        Labelled::default()
            .note("analysis", "reduce")
            .note("methods", "pod,balanced")
            .with("ranks", &axes[2..], vec![2.0, 8.0])
            .with("error", &axes, error.clone())
            .with("error_low", &axes, error.clone())
            .with("error_high", &axes, error)
            .with("said", &[axes[0], axes[2]], vec![0.25, 0.125, 0.5, 0.0625])
            .with("floor", &[("value", 1)], vec![0.03125])
    }

    #[test]
    fn rows_have_the_errors_of_their_method() {
        let text = reduction_errors("errors", &result()).expect("errors").text();
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("one") || line.contains("by role")).collect();
        assert!(rows[0].contains("balanced") && rows[0].contains("0.125") && rows[0].contains("0.188"), "{text}");
        assert!(rows[1].contains("POD") && rows[1].contains("0.000"), "{text}");
        assert!(rows[3].contains("balanced") && rows[3].contains("0.375"), "{text}");
        assert!(rows[5].contains("spectrum") && rows[5].contains("0.500"), "{text}");
        assert!(reduction_errors("errors", &Labelled::default()).is_none());
    }
}
