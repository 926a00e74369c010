//! Statistics of paired differences against SciPy, and comparisons of sets on the disk.

use resolvent_field::stats::{benjamini_hochberg, holm, mean_interval, signed_rank};
use serde_json::Value;

fn golden() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/comparisons.json");
    serde_json::from_slice(&std::fs::read(path).expect("a golden file")).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

#[test]
fn statistics_are_those_of_scipy() {
    let golden = golden();
    let samples = golden["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), 8);
    for sample in samples {
        let (differences, wanted) =
            (numbers(&sample["differences"]), |key: &str| sample[key].as_f64().expect("a number"));
        let interval = mean_interval(&differences);
        for (name, ours) in [
            ("mean", interval.estimate),
            ("low", interval.low),
            ("high", interval.high),
            ("p", signed_rank(&differences)),
        ] {
            let error = (ours - wanted(name)).abs();
            assert!(
                error <= 1e-9 * (1.0 + wanted(name).abs()),
                "{} {name}: {ours} {}",
                differences.len(),
                wanted(name)
            );
        }
        // Another direction has the same p value, and another sample does not.
        let turned: Vec<f64> = differences.iter().map(|d| -d).collect();
        let moved: Vec<f64> = differences.iter().map(|d| d + 0.2).collect();
        assert!(
            (signed_rank(&turned) - wanted("p")).abs() < 1e-9 && (signed_rank(&moved) / wanted("p") - 1.0).abs() > 1e-3
        );
    }
    let corrected = &golden["corrected"];
    let p = numbers(&corrected["p"]);
    for (ours, key) in [(holm(&p), "holm"), (benjamini_hochberg(&p), "bh")] {
        for (ours, wanted) in ours.into_iter().zip(numbers(&corrected[key])) {
            assert!((ours - wanted).abs() < 1e-12, "{key}: {ours} {wanted}");
        }
    }
}
