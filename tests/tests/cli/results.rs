//! Result files: names, shapes, order of axes, metadata, and values of the golden file.

use std::collections::BTreeMap;
use std::path::Path;

use resolvent_tests::{Golden, Labelled, compare, gpus, tolerance};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::cases::{Case, cases, list};
use super::{names, run, tiny, utf8};

/// Arrays by name, and metadata.
#[derive(Debug, PartialEq)]
struct Result {
    arrays: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    metadata: BTreeMap<String, String>,
}

fn from_safetensors(path: &Path) -> Result {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let metadata = header.metadata().clone().expect("metadata").into_iter().collect();
    let arrays = SafeTensors::deserialize(&bytes).expect("a safetensors file").tensors().into_iter();
    let arrays = arrays.map(|(name, view)| {
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        (name, (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())))
    });
    Result { arrays: arrays.collect(), metadata }
}

fn from_json(text: &str) -> Result {
    let json: Value = serde_json::from_str(text).expect("one JSON object and nothing else");
    let keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["arrays", "metadata"]);
    let elements = |value: &Value| -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    let array = |(name, value): (&String, &Value)| {
        let shape = elements(&value["shape"]).into_iter().map(|n| n as usize).collect();
        (name.clone(), (shape, elements(&value["data"]).into_iter().map(|x| x as f32).collect()))
    };
    let text = |(key, value): (&String, &Value)| (key.clone(), value.as_str().expect("a string").to_owned());
    Result {
        arrays: json["arrays"].as_object().expect("an object").iter().map(array).collect(),
        metadata: json["metadata"].as_object().expect("an object").iter().map(text).collect(),
    }
}

/// Returns the devices to test: the argument, and the executor that the result file names.
fn devices() -> Vec<(String, &'static str)> {
    let gpus = gpus().iter().map(|gpu| (gpu.device().info().name.clone(), "gpu"));
    [("host".to_owned(), "host")].into_iter().chain(gpus).collect()
}

fn check(result: &Result, case: &Case, executor: &str, tokens: &str) {
    let what = &case.arguments;
    let names: Vec<&str> = result.arrays.keys().map(String::as_str).collect();
    let mut want: Vec<&str> = case.arrays.iter().map(|a| a.0).collect();
    want.sort_unstable();
    assert_eq!(names, want, "{what:?}");
    let of =
        |key: &str| result.metadata.get(key).unwrap_or_else(|| panic!("{what:?}: no `{key}` in the metadata")).as_str();
    for (name, axes, shape) in &case.arrays {
        assert_eq!(of(&format!("axes.{name}")), *axes, "{what:?}");
        let (found, data) = &result.arrays[*name];
        assert_eq!(found, shape, "{what:?}: {name}");
        assert_eq!(data.len(), shape.iter().product::<usize>(), "{what:?}: {name}");
        assert!(data.iter().all(|x| x.is_finite()), "{what:?}: {name}");
    }
    assert_eq!([of("analysis"), of("model"), of("executor")], [what[0].as_str(), "tiny-odd", executor]);
    for key in ["model_hash", "adapter", "driver", "variants", "version", "tokens"] {
        assert!(!of(key).is_empty(), "{what:?}: {key}");
    }
    // The base run of a patch is the corrupted prompt, so `tokens` has the corrupted ones.
    let key = if ["patch", "subspace"].contains(&what[0].as_str()) { "clean_tokens" } else { "tokens" };
    assert_eq!(of(key), tokens, "{what:?}");
    for name in case.certificates {
        assert!(of(&format!("certificate.{name}")).contains(" <= "), "{what:?}: {name}");
    }
}

#[test]
fn every_command_writes_what_is_documented() {
    let golden = Golden::load("tiny-odd");
    let tokens = list(&golden.tokens);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [tensors, json] = ["out.safetensors", "out.json"].map(|name| folder.path().join(name));
    for (device, executor) in devices() {
        for case in cases(&golden) {
            let of = |more: &[&str]| {
                let arguments: Vec<&str> = case.arguments.iter().map(String::as_str).collect();
                run(&[&arguments, more, &["--model", tiny(), "--device", &device]].concat())
            };
            let printed = of(&["--json", "--out", &utf8(&tensors)]);
            assert_eq!(printed.stderr.trim_end(), format!("wrote {}", tensors.display()));
            let shown = of(&["--out", &utf8(&json)]).done();
            assert!(shown.contains("checks: ") && !shown.contains('\u{1b}'), "{shown}");
            let [a, b, c] = [
                from_safetensors(&tensors),
                from_json(&std::fs::read_to_string(&json).expect("a file")),
                from_json(&printed.done()),
            ];
            check(&a, &case, executor, &tokens);
            // Safetensors, the JSON file and the printed JSON have the same values: JSON has enough digits.
            assert_eq!(a.arrays, b.arrays, "{:?}", case.arguments);
            assert_eq!(a, c, "{:?}", case.arguments);
        }
    }
    let mut left = names(folder.path());
    left.sort();
    assert_eq!(left, ["out.json", "out.safetensors"], "temporary files are gone");
}

/// Values agree with the golden file, so that axes have the documented order.
#[test]
fn files_have_the_golden_values() {
    let golden = Golden::load("tiny-odd");
    let (tokens, (level, token)) = (list(&golden.tokens), golden.place());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| utf8(&folder.path().join(name));
    let bytes: Vec<f32> = golden.source().vector;
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![30], bytemuck::cast_slice(&bytes));
    let file = safetensors::serialize([("direction", view.expect("fits"))], None).expect("a file");
    std::fs::write(path("direction.safetensors"), file).expect("writable");
    let observable = golden.observable();
    let id = |term: &resolvent_model::Term| match term.quantity {
        resolvent_model::Quantity::Logit(id) => format!("#{id}"),
        ref other => panic!("goldens observe logits, not {other:?}"),
    };
    let (target, against) = (id(&observable.terms()[0]), id(&observable.terms()[1]));
    let position = observable.position();
    for (device, _) in devices() {
        let out = path("out.safetensors");
        let of = |arguments: &[&str]| {
            let common = ["--tokens", &tokens, "--model", tiny(), "--device", &device, "--out", &out];
            run(&[arguments, &common].concat()).done();
            from_safetensors(Path::new(&out)).arrays
        };
        let same = |got: &(Vec<usize>, Vec<f32>), want: &str| {
            let got = golden_label(&device, &got.1);
            let error = compare(&got, &Labelled::reference(golden.array(want).to_vec()), tolerance::MODEL);
            error.unwrap_or_else(|e| panic!("{device}: {want}: {e}"));
        };
        let result = of(&["run"]);
        same(&result["field"], "field");
        same(&result["logits"], "logits");
        let at = position.to_string();
        let result = of(&["sensitivity", "--target", &target, "--against", &against, "--position", &at]);
        same(&result["sensitivity"], "gradient_field");
        let (source, file) = (format!("{level},{token}"), path("direction.safetensors"));
        same(&of(&["green", "--source", &source, "--direction", &file])["response"], "jvp_field");
    }
}

fn golden_label(device: &str, values: &[f32]) -> Labelled {
    let subjects = resolvent_tests::subjects();
    let on = subjects.iter().find(|s| s.device().info().name == device).unwrap_or(&subjects[0]);
    on.label(values)
}

/// Position -1 is the last one and the default.
#[test]
fn positions_count_from_both_ends() {
    let of = |position: &[&str]| {
        let arguments = ["sensitivity", "--tokens", "1,2,3,4", "--target", "#5", "--json", "--model", tiny()];
        from_json(&run(&[&arguments[..], &["--device", "host"], position].concat()).done()).arrays
    };
    let last = of(&[]);
    assert_eq!(last, of(&["--position", "-1"]));
    assert_eq!(last, of(&["--position", "3"]));
    assert_eq!(of(&["--position", "-4"]), of(&["--position", "0"]));
    assert_ne!(last, of(&["--position", "-2"]));
}

/// `--last` writes the logits of the last position only.
#[test]
fn last_is_the_last_row() {
    let of = |more: &[&str]| {
        let arguments = ["run", "--tokens", "1,2,3,4", "--json", "--model", tiny(), "--device", "host"];
        from_json(&run(&[&arguments[..], more].concat()).done()).arrays["logits"].1.clone()
    };
    let (all, last) = (of(&[]), of(&["--last"]));
    let apart = all[3 * 53..].iter().zip(&last).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(apart < 1e-5, "{apart}");
}
