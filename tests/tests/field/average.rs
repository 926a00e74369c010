//! Averaged operators against float64 torch (`data/make_averages.py`), and lens files of TransformerLens.

use std::path::{Path, PathBuf};

use resolvent_field::{AverageOptions, AveragedOperator, Labelled, LensOptions, average, lens};
use resolvent_model::{Model, Observable, PromptCase};
use resolvent_tests::{Golden, Subject, subjects};
use safetensors::SafeTensors;

use super::array;

const OPTIONS: AverageOptions = AverageOptions { skip_first: 2, skip_last: 1 };

fn file(ending: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/averages/atlas-nano.{ending}"))
}

struct Torch(Vec<u8>);

impl Torch {
    fn load() -> Self {
        Self(std::fs::read(file("safetensors")).expect("a golden file"))
    }

    fn array(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        bytemuck::pod_collect_to_vec::<u8, f64>(file.tensor(name).expect("is there").data())
    }

    /// The prompts, of 7, 12 and 19 tokens.
    fn cases(&self) -> Vec<PromptCase> {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        let prompt = |n: usize| {
            let ids =
                bytemuck::pod_collect_to_vec::<u8, i64>(file.tensor(&format!("tokens.{n}")).expect("is there").data());
            case(&format!("prompt {n}"), &ids.into_iter().map(|id| id as u32).collect::<Vec<_>>())
        };
        (0..3).map(prompt).collect()
    }
}

fn case(name: &str, tokens: &[u32]) -> PromptCase {
    PromptCase {
        name: name.to_owned(),
        clean: tokens.to_vec(),
        corrupted: None,
        observable: None,
        roles: [].into(),
        edits: Vec::new(),
    }
}

fn nano(on: &Subject) -> Model {
    Model::named(on.device(), "atlas-nano").expect("opens")
}

fn averaged(model: &Model, cases: &[PromptCase], options: AverageOptions) -> Labelled {
    average(model, cases, options, &mut |_, _| {}).unwrap_or_else(|e| panic!("{e}"))
}

/// Returns the largest distance of a level, relative to the norm of the level that is wanted.
fn apart(got: &[f64], want: &[f64], levels: usize) -> f64 {
    assert_eq!(got.len(), want.len());
    let size = got.len() / levels;
    let of_level = |(got, want): (&[f64], &[f64])| {
        let (apart, norm) =
            got.iter().zip(want).fold((0.0, 0.0), |(a, n), (g, w)| (a + (g - w).powi(2), n + w.powi(2)));
        // The standard error of the last level is zero.
        if norm == 0.0 { apart } else { (apart / norm).sqrt() }
    };
    got.chunks(size).zip(want.chunks(size)).map(of_level).fold(0.0, f64::max)
}

#[test]
fn operators_are_those_of_torch() {
    let torch = Torch::load();
    let (cases, operator, error) = (torch.cases(), torch.array("operator"), torch.array("standard_error"));
    for on in subjects() {
        let model = nano(on);
        let got = averaged(&model, &cases, OPTIONS);
        let found = apart(&array(&got, "operator"), &operator, 3);
        assert!(found < 1e-5, "{}: {found}", on.name());
        let found = apart(&array(&got, "standard_error"), &error, 3);
        assert!(found < 1e-5, "{}: {found}", on.name());
        assert_eq!(array(&got, "positions"), [4.0, 9.0, 16.0]);
        assert_eq!(got.metadata["positions"], "29");
        assert!(got.certificates.iter().any(|c| c.name == "tangents" && c.value > 0.0 && c.value < c.bound));
        // Other positions give another operator.
        let others = averaged(&model, &cases, AverageOptions { skip_first: 3, skip_last: 1 });
        let found = apart(&array(&others, "operator"), &operator, 3);
        assert!(found > 1e-2, "{}: {found}", on.name());
    }
}

/// The mean weighs prompts alike, whatever their lengths, and the order of prompts changes rounding only.
#[test]
fn prompts_count_alike() {
    let cases = Torch::load().cases();
    for on in subjects() {
        let model = nano(on);
        let each: Vec<Vec<f64>> = cases
            .iter()
            .map(|case| array(&averaged(&model, std::slice::from_ref(case), OPTIONS), "operator"))
            .collect();
        let mean: Vec<f64> = (0..each[0].len()).map(|i| each.iter().map(|one| one[i]).sum::<f64>() / 3.0).collect();
        let reversed: Vec<PromptCase> = cases.iter().rev().cloned().collect();
        let found = apart(&array(&averaged(&model, &reversed, OPTIONS), "operator"), &mean, 3);
        assert!(found < 1e-6, "{}: {found}", on.name());
    }
}

/// Under layer norms, a constant vector passes unchanged: the rows of each operator sum to 1. Under RMS norms they do
/// not.
#[test]
fn constant_vectors_pass_layer_norms() {
    let options = AverageOptions { skip_first: 1, skip_last: 0 };
    for (name, holds) in [("tiny-odd", true), ("families/gpt_neox", true), ("families/llama", false)] {
        let golden = Golden::load(name);
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(name)).expect("opens");
            let got = averaged(&model, &[case(name, &golden.tokens)], options);
            let d = model.sizes().d;
            let sums = array(&got, "operator");
            let most = sums.chunks(d).map(|row| (row.iter().sum::<f64>() - 1.0).abs()).fold(0.0, f64::max);
            assert_eq!(most < 1e-4, holds, "{name}, {}: {most}", on.name());
        }
    }
}

/// Every family has averaged operators, which forward mode confirms.
#[test]
fn every_family_has_averages() {
    for golden in Golden::forms() {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let cases = [case("a", &golden.tokens), case("b", &golden.corrupted)];
            let got = averaged(&model, &cases, OPTIONS);
            let (from_identity, levels) = (array(&got, "from_identity"), model.sizes().layers + 1);
            assert_eq!((from_identity.len(), from_identity[levels - 1]), (levels, 0.0), "{}", golden.name);
            assert!(from_identity[..levels - 1].iter().all(|x| *x > 1e-2), "{}: {from_identity:?}", golden.name);
        }
    }
}

#[test]
fn prompts_without_positions_are_left_out() {
    let mut cases = Torch::load().cases();
    cases[0].clean.truncate(3);
    cases.push(case("wrong", &[1, 2, 3, 4, 99_999]));
    for on in subjects() {
        let model = nano(on);
        let got = averaged(&model, &cases, OPTIONS);
        assert_eq!(array(&got, "positions"), [9.0, 16.0], "{}", on.name());
        let left_out = &got.metadata["left_out"];
        assert!(left_out.contains("3 tokens have no position to average"), "{left_out}");
        assert!(left_out.contains("token 99999 at position 4"), "{left_out}");
        let none = average(&model, &cases[..1], OPTIONS, &mut |_, _| {}).expect_err("none is left").to_string();
        assert!(none.starts_with("no prompt can be averaged; prompt 0: 3 tokens"), "{none}");
        assert!(average(&model, &[], OPTIONS, &mut |_, _| {}).is_err());
    }
}

/// A lens file that TransformerLens wrote, in f16, and one of our own.
#[test]
fn lens_files_are_read_and_written() {
    let torch = Torch::load();
    let wanted = &torch.array("operator")[64 * 64..2 * 64 * 64];
    let of = |read: &AveragedOperator| -> Vec<f64> {
        read.operator(1).expect("level 1").iter().map(|x| f64::from(*x)).collect()
    };
    let theirs = AveragedOperator::read(&file("pt")).expect("a lens file");
    assert_eq!((theirs.levels(), theirs.prompts(), theirs.width()), (vec![1], 3, 64));
    assert_eq!(theirs.metadata()["estimator"], "jacobian_lens");
    let found = apart(&of(&theirs), wanted, 1);
    assert!(found > 1e-6 && found < 1e-3, "{found}");

    let model = nano(subjects()[0]);
    let result = averaged(&model, &torch.cases(), OPTIONS);
    let folder = tempfile::tempdir().expect("a folder");
    let [pt, safetensors] = ["x.pt", "x.safetensors"].map(|name| folder.path().join(name));
    AveragedOperator::of(&result).expect("an average").write_lens(&pt).expect("writes");
    result.write(&safetensors).expect("writes");
    let ours = AveragedOperator::read(&pt).expect("reads");
    assert_eq!((ours.levels(), ours.prompts()), (vec![1], 3));
    assert_eq!(ours.metadata()["skip_first_positions"], "2");
    assert_eq!(ours.metadata()["target_layer"], "1");
    let whole = AveragedOperator::read(&safetensors).expect("reads");
    assert_eq!(whole.levels(), [0, 1, 2]);
    assert_eq!(ours.operator(1), whole.operator(1));
    // Written again, the file has the same bytes.
    let again = folder.path().join("again.pt");
    AveragedOperator::of(&result).expect("an average").write_lens(&again).expect("writes");
    assert_eq!(std::fs::read(&pt).ok(), std::fs::read(&again).ok());
}

/// The lens of averaged operators against torch, and that of a file without level 0.
#[test]
fn the_head_reads_through_averages() {
    let torch = Torch::load();
    let (cases, log_p) = (torch.cases(), torch.array("log_p"));
    let tokens = &cases[1].clean;
    let (last, vocab) = (tokens.len() - 1, log_p.len() / 3);
    let most = |p: &[f64]| (0..vocab).fold(0, |best, i| if p[i] > p[best] { i } else { best });
    let answer = most(&log_p[2 * vocab..]);
    let theirs = AveragedOperator::read(&file("pt")).expect("a lens file");
    for on in subjects() {
        let model = nano(on);
        let run = model.run(tokens, &[]).expect("runs");
        let operators = AveragedOperator::of(&averaged(&model, &cases, OPTIONS)).expect("an average");
        let j = Observable::logit_diff(answer as u32, 5, last);
        let through = |averaged| {
            let options = LensOptions { top: 1, averaged };
            lens(&run, Some(&j), options).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
        };
        let got = through(Some(&operators));
        let (p, value, top) = (array(&got, "answer"), array(&got, "value"), array(&got, "top_tokens"));
        for level in 0..3 {
            let want = &log_p[level * vocab..][..vocab];
            let at = level * tokens.len() + last;
            assert!((p[at] - want[answer].exp()).abs() < 2e-5, "{} {level}", on.name());
            assert!((value[level] - (want[answer] - want[5])).abs() < 1e-3, "{} {level}: {value:?}", on.name());
            assert_eq!(top[at] as usize, most(want), "{} {level}", on.name());
        }
        // The logit lens is another one.
        let logit = array(&through(None), "answer");
        assert!((logit[last] - p[last]).abs() > 1e-3 || (array(&through(None), "value")[0] - value[0]).abs() > 0.1);
        // Their file has level 1 in f16; level 0 is not read, and the last level is its own.
        let got = through(Some(&theirs));
        let found = array(&got, "answer");
        assert!(found[..tokens.len()].iter().all(|x| x.is_nan()) && array(&got, "value")[0].is_nan());
        assert!((found[tokens.len() + last] - p[tokens.len() + last]).abs() < 1e-2);
        assert_eq!(found[2 * tokens.len() + last], p[2 * tokens.len() + last]);
        assert!(got.metadata["not_finite.answer"].contains("NaN at levels without an averaged operator"));
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let theirs = AveragedOperator::read(&file("pt")).expect("a lens file");
    let fails = |operators: &AveragedOperator, model: &Model| {
        let run = model.run(&[3, 1, 4], &[]).expect("runs");
        let options = LensOptions { top: 0, averaged: Some(operators) };
        lens(&run, None, options).expect_err("does not fit").to_string()
    };
    let micro = Model::named(subjects()[0].device(), "atlas-micro").expect("opens");
    let message = fails(&theirs, &micro);
    assert!(message.contains("atlas-nano.pt: they have width 64, and the model 128; give operators of"), "{message}");
    // The same shape with other weights.
    let [a, b] = [1, 2].map(|seed| Model::named(subjects()[0].device(), &format!("random:{seed}")).expect("opens"));
    let of_a = averaged(&a, &[case("x", &[3, 1, 4, 1, 5])], OPTIONS);
    let of_a = AveragedOperator::of(&of_a).expect("an average");
    assert!(fails(&of_a, &b).contains("they are of a model with other weights"), "{}", fails(&of_a, &b));

    let bytes = std::fs::read(file("pt")).expect("a file");
    let cut = folder.path().join("cut.pt");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("writes");
    let error = |path: &Path| AveragedOperator::read(path).expect_err("refused").to_string();
    assert!(error(&cut).contains("cut.pt: is not a lens file: it is not a zip archive"), "{}", error(&cut));
    assert!(error(Path::new("x.npz")).contains("ends in .safetensors or .pt"));
    assert!(error(Path::new("missing.pt")).contains("cannot be read"));
    assert!(error(&file("safetensors")).contains("is not a result file of this program"));
    let path = folder.path().join("other.safetensors");
    Labelled::default().with("x", &[("value", 1)], vec![1.0]).write(&path).expect("writes");
    assert!(error(&path).contains("has no array `operator` [L+1, d, d]"), "{}", error(&path));
    let wrong = theirs.write_lens(&folder.path().join("x.safetensors")).expect_err("refused").to_string();
    assert!(wrong.ends_with("a lens file ends in .pt"), "{wrong}");
}
