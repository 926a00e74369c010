//! The command `bench`: what it writes, and two files compared.

use serde_json::Value;

use super::{run, utf8};

#[test]
fn a_bench_is_written_and_compared() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = utf8(&folder.path().join("bench.json"));
    let bench = ["bench", "--quick", "--model", "random:3", "--tokens", "5", "--device", "host"];
    let table = run(&[&bench[..], &["--out", &path]].concat()).done();
    for text in
        ["peaks, measured here", "forward, two logits", "exhaustive patch sweep", "matmul.primal", "roofline"]
    {
        assert!(table.contains(text), "{table}");
    }
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON");
    assert_eq!((json["schema"].as_u64(), json["executor"].as_str()), (Some(1), Some("host")));
    let positive = |value: &Value| value.as_f64().is_some_and(|x| x > 0.0 && x.is_finite());
    assert!(positive(&json["peaks"]["gflops"]) && positive(&json["peaks"]["gbytes"]));
    let passes = json["passes"].as_array().expect("a list");
    assert_eq!(passes.len(), 6, "{passes:?}");
    for pass in passes {
        assert!(["seconds", "low", "high", "gflop"].iter().all(|key| positive(&pass[*key])), "{pass}");
        assert!(
            pass["low"].as_f64() <= pass["seconds"].as_f64()
                && pass["seconds"].as_f64() <= pass["high"].as_f64()
        );
    }
    let kernels = json["kernels"].as_array().expect("a list");
    for name in ["attention.jvp", "attention_second.jet", "layer_norm.vjp", "matmul.vjp"] {
        assert!(kernels.iter().any(|k| k["kernel"] == name), "{name} is part of a pass");
    }
    for kernel in kernels {
        assert!(
            ["seconds", "mbyte", "gbytes", "roofline"].iter().all(|key| positive(&kernel[*key])),
            "{kernel}"
        );
    }

    let compared = run(&["bench", "--compare", &path, &path]).done();
    assert!(compared.lines().count() > passes.len() && compared.contains("1.00x"), "{compared}");
    assert!(!compared.contains("0.99x"));
}

#[test]
fn what_cannot_be_timed_is_said() {
    let fails = |more: &[&str]| run(&[&["bench"], more].concat()).failed();
    assert!(fails(&["--out", "bench.txt"]).contains("a bench is written as .json"));
    assert!(fails(&["--tokens", "0"]).contains("is no prompt"));
    assert!(fails(&["--compare", "nowhere.json", "nowhere.json"]).contains("cannot be read"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = utf8(&folder.path().join("other.json"));
    std::fs::write(&path, "{}").expect("writable");
    assert!(fails(&["--compare", &path, &path]).contains("is no bench of schema 1"));
    assert!(
        fails(&["--quick", "--model", "random:3", "--tokens", "400", "--device", "host"])
            .contains("shorten it")
    );
}
