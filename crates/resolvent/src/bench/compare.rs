//! Two benches side by side, from their files.

use serde_json::Value;

/// One number of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What was timed.
    pub name: String,
    /// Seconds, or units a second for peaks, before and after.
    pub before: f64,
    /// After.
    pub after: f64,
    /// How many times faster the second is.
    pub faster: f64,
}

/// What both files have timed: peaks, passes, kernels at their shapes.
///
/// # Errors
/// A file that is no bench of this schema, in one line.
pub fn compare(before: &Value, after: &Value) -> Result<Vec<Difference>, String> {
    for (name, bench) in [("first", before), ("second", after)] {
        if bench["schema"].as_u64() != Some(super::SCHEMA) {
            return Err(format!("the {name} file is no bench of schema {}; write it with bench --out", super::SCHEMA));
        }
    }
    let mut changes = Vec::new();
    for unit in ["gflops", "gbytes"] {
        let of = |bench: &Value| bench["peaks"][unit].as_f64().unwrap_or(f64::NAN);
        let (before, after) = (of(before), of(after));
        changes.push(Difference { name: format!("peak, {unit}"), before, after, faster: after / before });
    }
    let empty = Vec::new();
    for (list, keys) in [("passes", &["name"][..]), ("kernels", &["kernel", "shape", "mflop"])] {
        let rows = |bench: &'_ Value| bench[list].as_array().unwrap_or(&empty).clone();
        for row in rows(before) {
            let same = |other: &&Value| keys.iter().all(|key| other[*key] == row[*key]);
            let others = rows(after);
            let Some(other) = others.iter().find(same) else { continue };
            let of = |row: &Value| row["seconds"].as_f64().unwrap_or(f64::NAN);
            let (before, after) = (of(&row), of(other));
            let texts = keys[..keys.len().min(2)].iter().filter_map(|key| row[*key].as_str());
            let name = texts.collect::<Vec<_>>().join(" ");
            changes.push(Difference { name, before, after, faster: before / after });
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_both_have_is_compared() {
        let bench = |seconds: f64, shape: &str| {
            json!({
                "schema": 1, "peaks": {"gflops": 100.0, "gbytes": 10.0},
                "passes": [{"name": "forward", "seconds": seconds}],
                "kernels": [{"kernel": "matmul.primal", "shape": shape, "mflop": 2.0, "seconds": seconds}],
            })
        };
        let changes = compare(&bench(0.2, "[1]"), &bench(0.1, "[2]")).expect("compares");
        let named: Vec<_> = changes.iter().map(|c| (c.name.as_str(), c.faster)).collect();
        assert_eq!(named, [("peak, gflops", 1.0), ("peak, gbytes", 1.0), ("forward", 2.0)]);
        assert_eq!(compare(&bench(0.2, "[1]"), &bench(0.1, "[1]")).expect("compares").len(), 4);
        assert!(compare(&json!({}), &bench(0.1, "[1]")).is_err());
    }
}
