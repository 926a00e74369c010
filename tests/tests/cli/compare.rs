//! `compare` and `summary`: files and shards give the same numbers, which are those of a direct computation.

use resolvent_field::{CompareOptions, Labelled, ResultSet, compare, stats, summarise};
use tempfile::TempDir;

use super::{on_host, run, tiny, utf8};

/// Two sets of patches, of two observables, of the same twelve rows; the second one lacks two rows and has one more.
struct Sets(TempDir);

impl Sets {
    fn new() -> Self {
        let sets = Self(tempfile::tempdir().expect("a temporary folder"));
        sets.rows("rows-a.csv", 0..12);
        sets.rows("rows-b.csv", 2..13);
        for (set, observe) in [("a", "logit(#3) - logit(#11)"), ("b", "logit(#5) - logit(#11)")] {
            sets.analyse(set, &["patch", "--observe", observe]);
        }
        sets
    }

    fn rows(&self, name: &str, rows: std::ops::Range<usize>) {
        let mut text = "label,clean_tokens,corrupted_tokens,role.changed\n".to_owned();
        for i in rows {
            let row = |text: &str| text.split(',').skip(i % 2).collect::<Vec<_>>().join(",");
            text += &format!(
                "row {i},\"{}\",\"{}\",{}\n",
                row(&format!("7,{i},3,4,1")),
                row(&format!("7,{i},9,4,1")),
                2 - i % 2
            );
        }
        std::fs::write(self.0.path().join(name), text).expect("writes");
    }

    /// Writes the results of one set as shards and as a file.
    fn analyse(&self, set: &str, analysis: &[&str]) {
        let rows = self.at(&format!("rows-{set}.csv"));
        let common = [analysis, &["--model", tiny(), "--prompts", &rows, "--shard-size", "4"]].concat();
        on_host(&[&common[..], &["--out-dir", &self.at(set)]].concat()).done();
        on_host(&[&common[..], &["--out", &self.at(&format!("{set}.safetensors"))]].concat()).done();
    }

    fn at(&self, name: &str) -> String {
        utf8(&self.0.path().join(name))
    }

    fn open(&self, name: &str) -> ResultSet {
        ResultSet::open(&self.0.path().join(name)).expect("opens")
    }

    /// Returns the values of all prompts of a set at a place from the end, by the names of the prompts.
    fn values(&self, set: &str, level: usize, from_end: usize) -> Vec<(String, f64)> {
        let file = Labelled::read(&self.0.path().join(format!("{set}.safetensors"))).expect("reads");
        let names: Vec<String> = serde_json::from_str(&file.metadata["prompt_names"]).expect("JSON");
        let (effect, lengths) = (file.array("effect").expect("effects"), file.array("lengths").expect("lengths"));
        let [_, levels, tokens] = [0, 1, 2].map(|axis| effect.axes[axis].1);
        let at = |n: usize| Some((n * levels + level) * tokens + (lengths.data[n] as usize).checked_sub(from_end)?);
        let one = |(n, name): (usize, String)| Some((name, f64::from(effect.data[at(n)?])));
        names.into_iter().enumerate().filter_map(one).collect()
    }
}

fn numbers<'a>(result: &'a Labelled, name: &str) -> &'a [f32] {
    &result.array(name).unwrap_or_else(|| panic!("no {name}")).data
}

fn same(a: &Labelled, b: &Labelled, name: &str) -> bool {
    numbers(a, name).iter().zip(numbers(b, name)).all(|(a, b)| a.to_bits() == b.to_bits())
}

const EFFECT: [&str; 7] = ["difference", "low", "p", "p_holm", "p_bh", "pairs", "mean_b"];

#[test]
fn differences_are_paired_by_prompt() {
    let sets = Sets::new();
    let options = CompareOptions { arrays: vec!["effect".to_owned()], ..CompareOptions::default() };
    let result = compare(&sets.open("a"), &sets.open("b"), &options).expect("compares");
    for (key, value) in
        [("prompts", "10"), ("only_in_a", "2"), ("only_in_b", "1"), ("other_tokens", "0"), ("of", "patch")]
    {
        assert_eq!(result.metadata[key], value, "{key}");
    }
    let axes = &result.array("effect.difference").expect("a map").axes;
    let (levels, tokens) = (axes[0].1, axes[1].1);
    assert_eq!((levels, tokens), (3, 5));
    for level in 0..levels {
        for from_end in 1..=tokens {
            let (a, b) = (sets.values("a", level, from_end), sets.values("b", level, from_end));
            let pair = |(name, b): &(String, f64)| a.iter().find(|(of, _)| of == name).map(|(_, a)| b - a);
            let pairs: Vec<f64> = b.iter().filter_map(pair).collect();
            let at =
                |what: &str| f64::from(numbers(&result, &format!("effect.{what}"))[level * tokens + tokens - from_end]);
            assert_eq!(at("pairs"), pairs.len() as f64, "{level} -{from_end}");
            let interval = stats::mean_interval(&pairs);
            assert!((at("difference") - interval.estimate).abs() <= 1e-6 * (1.0 + interval.estimate.abs()));
            if pairs.len() < 8 {
                assert!(from_end == 5 && at("low").is_nan() && at("p").is_nan());
                continue;
            }
            assert!((at("low") - interval.low).abs() <= 1e-5, "{} {interval:?}", at("low"));
            let p = stats::signed_rank(&pairs);
            assert!(p.is_nan() == at("p").is_nan() && (p.is_nan() || (at("p") - p).abs() < 1e-6), "{p} {}", at("p"));
        }
    }
    assert!(numbers(&result, "effect.p").iter().any(|p| *p < 0.01), "observables differ");
    let roles = result.array("effect.role_difference").expect("roles");
    assert_eq!((roles.axes[0], roles.axes[1]), (("role", 1), ("level", 3)));
    assert!(numbers(&result, "effect.role_pairs").iter().all(|n| *n == 10.0));
    // The changed token is the third one from the end of every prompt.
    assert_eq!(roles.data[0], numbers(&result, "effect.difference")[tokens - 3]);
    // Files, and memory for one place at a time, give the same numbers; so does a set with itself, which has no tests.
    for (a, b, memory) in
        [("a.safetensors", "b.safetensors", 256 << 20), ("a", "b.safetensors", 1), ("a.safetensors", "b", 100)]
    {
        let options = CompareOptions { memory, ..options.clone() };
        let other = compare(&sets.open(a), &sets.open(b), &options).expect("compares");
        assert!(EFFECT.iter().all(|what| same(&other, &result, &format!("effect.{what}"))), "{a} {b}");
    }
    let itself = compare(&sets.open("a"), &sets.open("a.safetensors"), &options).expect("compares");
    assert!(numbers(&itself, "effect.difference").iter().all(|d| *d == 0.0));
    assert!(numbers(&itself, "effect.p").iter().all(|p| p.is_nan()));
    let floor = CompareOptions { floor: 1e6, ..options };
    let floored = compare(&sets.open("a"), &sets.open("b"), &floor).expect("compares");
    assert!(numbers(&floored, "effect.p").iter().all(|p| p.is_nan()), "all differences are below the floor");
}

#[test]
fn a_summary_has_the_means_of_the_joined_file() {
    let sets = Sets::new();
    let joined = Labelled::read(&sets.0.path().join("a.safetensors")).expect("reads");
    for (set, memory) in [("a", 256 << 20), ("a", 1), ("a.safetensors", 64)] {
        let options = CompareOptions { memory, ..CompareOptions::default() };
        let result = summarise(&sets.open(set), &options).expect("summarises");
        for name in ["effect", "first_order", "clean_value"] {
            let (ours, theirs) = (numbers(&result, &format!("{name}.mean")), numbers(&joined, &format!("{name}.mean")));
            assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs())), "{set} {name}");
        }
        assert_eq!(result.array("effect.role_mean").is_some(), set == "a", "a file has no places of roles");
        let mut values: Vec<f64> = sets.values("a", 0, 3).into_iter().map(|(_, x)| x).collect();
        values.sort_by(f64::total_cmp);
        let at = |what: &str| f64::from(numbers(&result, &format!("effect.{what}"))[2]);
        assert!((at("median") - stats::quantile(&values, 0.5)).abs() < 1e-6 && at("prompts") == 12.0);
        assert!((at("deviation") - stats::deviation(&values)).abs() < 1e-6 && at("q05") < at("q95"));
    }
}

#[test]
fn sets_are_compared_on_the_command_line() {
    let sets = Sets::new();
    let out = sets.at("difference.safetensors");
    let text =
        run(&["compare", &sets.at("a"), &sets.at("b"), "--arrays", "effect", "--top", "2", "--out", &out]).done();
    assert!(text.starts_with("10 prompts in both, 2 only in A, 1 only in B; B - A; tokens from the end\n"), "{text}");
    for part in ["mean difference of effect\n", "effect: ", " by Holm, ", "effect, by role: ", "\nchanged level 0 "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(Labelled::read(std::path::Path::new(&out)).expect("reads").array("effect.p_bh").is_some());
    let text = run(&["summary", &sets.at("a"), "--arrays", "effect"]).done();
    assert!(text.starts_with("12 prompts; tokens from the end\n") && text.contains("median"), "{text}");
    // What cannot be compared.
    let error = |arguments: &[&str]| run(arguments).failed();
    assert!(
        error(&["compare", &sets.at("a"), &sets.at("b"), "--arrays", "efect"]).ends_with("; did you mean `effect`?")
    );
    assert!(
        error(&["compare", &sets.at("a"), &sets.at("b"), "--floor=-1"])
            .contains("a floor of -1; give a number of 0 or more")
    );
    assert!(error(&["compare", &sets.at("a"), &sets.at("rows-a.csv")]).contains("is not a result file"));
    assert!(error(&["summary", &out]).contains("has no prompts; give a .safetensors file"));
    sets.rows("rows-c.csv", 20..22);
    sets.analyse("c", &["patch", "--observe", "logit(#3)"]);
    let line = error(&["compare", &sets.at("a"), &sets.at("c")]);
    assert!(line.contains("have no prompt with the same name; compare results of one prompt set"), "{line}");
    sets.rows("rows-e.csv", 0..8);
    let rows = sets.at("rows-e.csv");
    let other =
        ["patch", "--observe", "logit(#3)", "--prompts", &rows, "--model", "random", "--out-dir", &sets.at("e")];
    on_host(&other).done();
    let line = error(&["compare", &sets.at("a"), &sets.at("e"), "--arrays", "effect"]);
    assert!(
        line.contains("`effect` is [level=3, token=5] in A and [level=") && line.contains("models of one shape"),
        "{line}"
    );
    let text = run(&["compare", &sets.at("a"), &sets.at("e")]).done();
    assert!(text.contains("clean_value: 1 of 1 places are tested") && !text.contains("effect"), "{text}");
    sets.rows("rows-d.csv", 0..2);
    sets.analyse("d", &["sensitivity", "--observe", "logit(#3)"]);
    let line = error(&["compare", &sets.at("a"), &sets.at("d")]);
    assert!(line.contains("no array of one set is in the other; compare results of one analysis"), "{line}");
}

/// Prompts without labels are paired by their lines, and the output says so.
#[test]
fn pairs_by_line_are_named() {
    let sets = Sets(tempfile::tempdir().expect("a temporary folder"));
    let rows: String = (0..9).map(|i| format!("\"7,{i},3\",\"7,{i},9\"\n")).collect();
    for set in ["a", "b"] {
        let labelled = "label,clean_tokens,corrupted_tokens\nx,\"1,2,3\",\"1,2,4\"\n";
        let rows = if set == "a" { rows.clone() } else { rows.replace("7,", "5,") };
        let text = format!("{labelled}{}", rows.lines().map(|row| format!(",{row}\n")).collect::<String>());
        std::fs::write(sets.at(&format!("rows-{set}.csv")), text).expect("writes");
        sets.analyse(set, &["patch", "--observe", "logit(#3)"]);
    }
    let [a, b, out] = ["a", "b", "out.safetensors"].map(|name| sets.at(name));
    let printed = run(&["compare", &a, &b, "--out", &out]).done();
    assert!(printed.contains("9 prompts without labels are paired by their lines; tokens from the end"), "{printed}");
    let found = Labelled::read(&sets.0.path().join("out.safetensors")).expect("reads");
    assert_eq!((&found.metadata["prompts"][..], &found.metadata["by_line"][..]), ("10", "9"));
    let labelled = Sets::new();
    let printed = run(&["compare", &labelled.at("a"), &labelled.at("b")]).done();
    assert!(!printed.contains("labels"), "{printed}");
}
