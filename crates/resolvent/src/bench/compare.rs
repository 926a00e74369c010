//! Compares two benches from their files.

use serde_json::Value;

/// One measurement that both benches have.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Name of the measurement.
    pub name: String,
    /// First bench: seconds or, for peaks, the unit in the name (GFLOP/s or GB/s).
    pub before: f64,
    /// Second bench, in the same unit.
    pub after: f64,
    /// Factor by which the second bench is faster.
    pub faster: f64,
}

/// Compares the measurements that both files have: peaks, passes, and kernels at their shapes.
///
/// # Errors
/// A file is not a bench of this schema. The message is one line.
pub fn compare(before: &Value, after: &Value) -> Result<Vec<Difference>, String> {
    for (name, bench) in [("first", before), ("second", after)] {
        if bench["schema"].as_u64() != Some(super::SCHEMA) {
            return Err(format!(
                "the {name} file is not a bench of schema {}; write it with bench --out",
                super::SCHEMA
            ));
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
    fn common_measurements_are_compared() {
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
