//! Compares two results in JSON, array by array.

use serde_json::Value;

use crate::process::Result;

/// Largest difference, relative to the largest element of an array: that of two executors in the self-test.
pub(super) const BOUND: f64 = 2e-5;

/// The bound of radii. A search finds them, and stops at an accuracy of its own.
const SEARCHED: f64 = 1e-4;

/// Returns the largest relative difference of the arrays of two results.
///
/// # Errors
/// Other arrays, other shapes, another model, other tokens, or a difference above [`BOUND`].
pub(super) fn compare(what: &str, ours: &Value, theirs: &Value) -> Result<f64> {
    for key in ["analysis", "model_hash", "tokens"] {
        let [a, b] = [ours, theirs].map(|result| &result["metadata"][key]);
        if a != b || !a.is_string() {
            return Err(format!("{what}: `{key}` is {a} and {b}"));
        }
    }
    let arrays = |result: &Value| result["arrays"].as_object().cloned().unwrap_or_default();
    let (ours, theirs) = (arrays(ours), arrays(theirs));
    if ours.is_empty() || !ours.keys().eq(theirs.keys()) {
        return Err(format!("{what}: arrays {:?} and {:?}", ours.keys(), theirs.keys()));
    }
    let mut worst: f64 = 0.0;
    for (name, array) in &ours {
        let other = &theirs[name];
        if array["shape"] != other["shape"] {
            return Err(format!("{what}: `{name}` is {} and {}", array["shape"], other["shape"]));
        }
        let bound = if name == "radius" { SEARCHED } else { BOUND };
        // Written so that a NaN fails.
        match difference(&array["data"], &other["data"]) {
            Some(difference) if difference <= bound => worst = worst.max(difference),
            found => return Err(format!("{what}: `{name}` differs by {found:?}, more than {bound:e}")),
        }
    }
    Ok(worst)
}

/// Returns the largest difference of two lists over the largest element; `None` if they differ in length or in gaps.
fn difference(a: &Value, b: &Value) -> Option<f64> {
    let (a, b) = (a.as_array()?, b.as_array()?);
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let (mut largest, mut apart): (f64, f64) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (largest, apart) = (largest.max(b.abs()), apart.max((a - b).abs())),
            (None, None) => {}
            _ => return None,
        }
    }
    Some(if apart == 0.0 { 0.0 } else { apart / largest })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(shape: &[usize], data: &Value) -> Value {
        let metadata = json!({ "analysis": "patch", "model_hash": "h", "tokens": "1,2" });
        json!({ "metadata": metadata, "arrays": { "effect": { "shape": shape, "data": data } } })
    }

    #[test]
    fn equal_results_pass_and_others_fail() {
        let right = result(&[3], &json!([1.0, -4.0, null]));
        assert_eq!(compare("x", &right, &right), Ok(0.0));
        let near = compare("x", &result(&[3], &json!([1.0, -4.00004, null])), &right).expect("is near");
        assert!((0.9e-5..1.1e-5).contains(&near), "{near}");
        let other = json!({ "analysis": "patch", "model_hash": "i", "tokens": "1,2" });
        let wrong = [
            result(&[3], &json!([1.0, -4.0002, null])),
            result(&[3], &json!([1.0, null, null])),
            result(&[3], &json!([1.0, -4.0, 0.0])),
            result(&[2], &json!([1.0, -4.0])),
            result(&[1, 3], &json!([1.0, -4.0, null])),
            json!({ "metadata": right["metadata"], "arrays": {} }),
            json!({ "metadata": right["metadata"], "arrays": { "other": right["arrays"]["effect"] } }),
            json!({ "metadata": other, "arrays": right["arrays"] }),
            json!({ "arrays": right["arrays"] }),
        ];
        for wrong in wrong {
            assert!(compare("x", &wrong, &right).is_err(), "{wrong}");
        }
    }
}
