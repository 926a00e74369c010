//! The command `bench`: its output, and the comparison of two files.

use resolvent_engine::{Choice, Device, Options, Preference};
use resolvent_ops::tuning::{self, Family, Size};
use resolvent_tests::gpus;
use serde_json::Value;

use super::{Ran, command, run, tiny, utf8};

#[test]
fn a_bench_is_written_and_compared() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = utf8(&folder.path().join("bench.json"));
    let bench = ["bench", "--quick", "--model", "random:3", "--tokens", "5", "--device", "host"];
    let table = run(&[&bench[..], &["--out", &path]].concat()).done();
    for text in ["peaks, measured here", "forward, two logits", "exhaustive patch sweep", "matmul.primal", "roofline"] {
        assert!(table.contains(text), "{table}");
    }
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON");
    assert_eq!((json["schema"].as_u64(), json["executor"].as_str()), (Some(1), Some("host")));
    let positive = |value: &Value| value.as_f64().is_some_and(|x| x > 0.0 && x.is_finite());
    assert!(positive(&json["first_field"]) && table.contains("first field of the embedded model"), "{table}");
    assert!(positive(&json["model_open"]) && table.contains("5 tokens, opened in "), "{table}");
    assert!(positive(&json["peaks"]["gflops"]) && positive(&json["peaks"]["gbytes"]));
    assert!(json["peaks"]["drift"].as_f64().is_some_and(|drift| (0.0..1.0).contains(&drift)));
    assert!(json["warnings"].is_array());
    let passes = json["passes"].as_array().expect("a list");
    assert_eq!(passes.len(), 6, "{passes:?}");
    for pass in passes {
        assert!(["seconds", "low", "high", "gflop"].iter().all(|key| positive(&pass[*key])), "{pass}");
        assert!(pass["low"].as_f64() <= pass["seconds"].as_f64() && pass["seconds"].as_f64() <= pass["high"].as_f64());
    }
    let kernels = json["kernels"].as_array().expect("a list");
    for name in ["attention.jvp", "attention_second.jet", "layer_norm.vjp", "matmul.vjp"] {
        assert!(kernels.iter().any(|k| k["kernel"] == name), "{name} is part of a pass");
    }
    for kernel in kernels {
        assert!(["seconds", "mbyte", "gbytes", "roofline"].iter().all(|key| positive(&kernel[*key])), "{kernel}");
    }

    let compared = run(&["bench", "--compare", &path, &path]).done();
    assert!(compared.lines().count() > passes.len() && compared.contains("1.00x"), "{compared}");
    assert!(!compared.contains("0.99x"));
}

/// Operations grow as theory says: linearly with blocks and prompts, with the square of the width, and a sweep with the
/// square of the tokens.
#[test]
fn growth_is_measured_and_drawn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [json, svg] = ["growth.json", "growth.svg"].map(|name| utf8(&folder.path().join(name)));
    let table = run(&["bench", "--scaling", "--quick", "--device", "host", "--out", &json, "--plot", &svg]).done();
    let drawn = std::fs::read_to_string(&svg).expect("a figure");
    let found: Value = serde_json::from_str(&std::fs::read_to_string(&json).expect("a file")).expect("JSON");
    let curves = found["curves"].as_array().expect("a list");
    assert_eq!(curves.len(), 8, "{table}");
    for (curve, range) in curves.iter().zip([
        (0.9, 1.3),
        (0.9, 1.3),
        (1.6, 2.2),
        (0.95, 1.05),
        (1.7, 2.05),
        (0.5, 1.0),
        (0.99, 1.01),
        (0.8, 1.3),
    ]) {
        let slope = curve["slope_of_operations"].as_f64().expect("a number");
        assert!((range.0..range.1).contains(&slope), "{curve}");
        assert!(curve["slope"].as_f64().is_some_and(f64::is_finite), "{curve}");
        for point in curve["points"].as_array().expect("a list") {
            assert!(
                point["seconds"].as_f64().is_some_and(|x| x > 0.0) && point["gflop"].as_f64() > Some(0.0),
                "{point}"
            );
        }
        let [name, axis] = ["name", "axis"].map(|key| curve[key].as_str().expect("a text"));
        assert!(drawn.contains(&format!("{name} over {axis}")) && table.contains(name), "{name} {axis}");
    }
    for wrong in [&["bench", "--scaling", "--model", "random"][..], &["bench", "--plot", &svg]] {
        let ran = run(wrong);
        assert!(ran.code == Some(2) && ran.stderr.contains("--scaling"), "{}", ran.stderr);
    }
}

/// The next process uses the variants that were measured to be the fastest, and repeats the self-test with them.
#[test]
fn variants_are_tuned_and_used() {
    for gpu in gpus() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let name = gpu.device().info().name.as_str();
        let with = |arguments: &[&str]| {
            let mut command = command(&[arguments, &["--device", name]].concat());
            Ran::from(command.env("RESOLVENT_CACHE", folder.path()).output().expect("it starts")).done()
        };
        let shown = with(&["bench", "--tune"]);
        assert_eq!(shown.lines().count(), 7, "two kernels at three sizes: {shown}");
        assert!(!shown.contains("WRONG"), "{shown}");
        let cached = |kind: &str| {
            let file = std::fs::read_dir(folder.path().join(kind)).expect("a folder").next();
            file.expect("a file").expect("readable").path()
        };
        let passed = cached("self-test");
        let before = std::fs::read(&passed).expect("readable");
        let variants = || {
            let file = utf8(&folder.path().join("run.json"));
            with(&["run", "--tokens", "3,1,4", "--model", tiny(), "--out", &file]);
            let json: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("a file")).expect("JSON");
            json["metadata"]["variants"].as_str().expect("named in every result").to_owned()
        };
        let used = variants();
        for line in shown.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (kernel, best) = (words[0], words[2]);
            assert!(used.contains(&format!("{kernel} ")) && used.contains(best), "{line}: {used}");
        }
        // Another measurement could choose other variants. Here all of them are `base`.
        let device = Device::open(&Options {
            cache: Some(folder.path().to_owned()),
            ..Options::new(Choice::Name(name.to_owned()))
        });
        let all = Family::on(gpu.device()).flat_map(|family| Size::ALL.map(|size| (family.shader(), size.name())));
        let base: Vec<Preference> = all.map(|(shader, size)| Preference { shader, size, variant: "base" }).collect();
        device.expect("it opened before").keep(tuning::CACHED, tuning::to_text(&base).as_bytes());
        assert_eq!(variants(), "matmul base base base, attention base base base", "{name}");
        assert_ne!(std::fs::read(&passed).expect("readable"), before, "{name}: other variants need another self-test");
    }
    assert!(run(&["bench", "--tune", "--device", "host"]).done().contains("nothing to choose"));
}

#[test]
fn invalid_benches_are_refused() {
    let fails = |more: &[&str]| run(&[&["bench"], more].concat()).failed();
    assert!(fails(&["--out", "bench.txt"]).contains("a bench is written as .json"));
    assert!(fails(&["--tokens", "0"]).contains("invalid --tokens 0"));
    assert!(fails(&["--compare", "nowhere.json", "nowhere.json"]).contains("cannot be read"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = utf8(&folder.path().join("other.json"));
    std::fs::write(&path, "{}").expect("writable");
    assert!(fails(&["--compare", &path, &path]).contains("is not a bench of schema 1"));
    assert!(fails(&["--quick", "--model", "random:3", "--tokens", "400", "--device", "host"]).contains("shorten it"));
}
