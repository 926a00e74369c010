//! Random arguments: lists, places, tokens, observables, directions and bases, most of them valid.
//!
//! No call panics or hangs, and every file that is written can be read.
//!
//! `RESOLVENT_FUZZ_CASES` sets the number of calls of the binary.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;
use resolvent_field::{Basis, Direction, Predictor, SiteKind};
use resolvent_model::{Model, Site, parse_token, parse_tokens};

use super::directory::Directory;
use super::readable::readable;
use super::{command, tiny, utf8};

/// Time after which a call counts as hanging. All of these calls take far less, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(120);

fn cases(least: u32) -> u32 {
    std::env::var("RESOLVENT_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(least)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 64, ..ProptestConfig::default() }
}

type Text = BoxedStrategy<String>;

/// Draws one of `sensible` in most cases, otherwise a text that a typing error or another program could produce.
fn typed(sensible: Vec<String>) -> Text {
    let odd = [
        "",
        " ",
        ",",
        ",,",
        "-",
        "--",
        "-1",
        "#",
        "#-1",
        "#99999999999999999999",
        "1e400",
        "NaN",
        "inf",
        "-0",
        "0x1",
        "١",
        "\u{feff}",
        "\u{202e}",
        "\n",
        "\u{1b}[31m",
        "é",
        "😀",
        "a,b",
        "1,2,3",
        ":",
        "random:",
        "token:",
        "unembed:,",
        "/",
        "..",
    ];
    let garbage = "[-#:,.0-9a-z \n\t\u{1b}é😀]{0,12}".prop_map(String::from);
    prop_oneof![60 => select(sensible), 1 => select(odd.map(str::to_owned).to_vec()), 1 => garbage].boxed()
}

fn words(words: &str) -> Text {
    typed(words.split(' ').map(str::to_owned).collect())
}

/// Draws one to four entries, separated by commas. Entries may be repeated.
fn list(entry: Text) -> Text {
    prop::collection::vec(entry, 1..5).prop_map(|entries| entries.join(",")).boxed()
}

fn tokens() -> Text {
    list(words("0 1 2 3 4 5 #6 52"))
}

fn place() -> Text {
    let both = (-4i64..4, -5i64..5).prop_map(|(l, t)| format!("{l},{t}"));
    prop_oneof![8 => both, 1 => words("0 1 2 -1"), 1 => words("1,1")].boxed()
}

fn number() -> Text {
    words("0 1 2 3 -1 0.1 -0.5 1e-3 1e3 1e38 1e-40 3.5e38")
}

fn count() -> Text {
    words("0 1 2 3")
}

fn direction() -> Text {
    words("random random:7 token:#5 sensitivity displacement nowhere.safetensors")
}

fn basis() -> Text {
    let tokens = list(words("#1 #2 #3 #52"));
    let listed = (select(vec!["unembed", "embed"]), tokens).prop_map(|(name, ids)| format!("{name}:{ids}"));
    prop_oneof![3 => words("pca unembed embed sensitivity displacement krylov krylov:3 random random:2"), 1 => listed]
        .boxed()
}

/// Draws `--name value` as two arguments, `--name=value` as one, or nothing. In a few cases the option is given twice,
/// which is an error.
fn option(name: &'static str, value: Text) -> BoxedStrategy<Vec<String>> {
    times(name, value, prop_oneof![12 => Just(0), 8 => Just(1), 1 => Just(2)].boxed())
}

/// Draws zero to three occurrences of an option that may be given several times.
fn many(name: &'static str, value: Text) -> BoxedStrategy<Vec<String>> {
    times(name, value, (0usize..4).boxed())
}

fn times(name: &'static str, value: Text, count: BoxedStrategy<usize>) -> BoxedStrategy<Vec<String>> {
    let given = (value, any::<bool>()).prop_map(move |(value, joined)| match joined {
        true => vec![format!("{name}={value}")],
        false => vec![name.to_owned(), value],
    });
    let all = count.prop_flat_map(move |count| prop::collection::vec(given.clone(), count));
    all.prop_map(|all| all.concat()).boxed()
}

/// Draws an option that the command requires: given once in most cases, and missing in a few.
fn needed(name: &'static str, value: Text) -> BoxedStrategy<Vec<String>> {
    let given = value.prop_map(move |value| vec![format!("{name}={value}")]);
    prop_oneof![15 => given, 1 => Just(Vec::new())].boxed()
}

fn flag(name: &'static str) -> BoxedStrategy<Vec<String>> {
    any::<bool>().prop_map(move |given| if given { vec![name.to_owned()] } else { Vec::new() }).boxed()
}

fn call(name: &'static str, options: Vec<BoxedStrategy<Vec<String>>>) -> BoxedStrategy<Vec<String>> {
    options.prop_map(move |options| [vec![name.to_owned()], options.concat()].concat()).boxed()
}

/// Draws a call of a command with some of its options.
fn calls() -> BoxedStrategy<Vec<String>> {
    let prompt = || needed("--tokens", tokens());
    let same = |name| needed(name, words("1,2,3 1,9,3 4,2,3"));
    let three = || needed("--tokens", words("1,2,3 3,1,4 5,5,5"));
    let observables = "logprob(#3) entropy()@0 kl(base) kl_from(base)@-1 prob(#1|#2|#3) -0.5*logit(#1)+entropy() \
                       continuation(#3,#4) continuation(#3,#4)@0 project(1,0,[0.5]) logit(#3)@9 2*logprob(#99)";
    let target = move || {
        let observe = needed("--observe", words(observables));
        prop_oneof![1 => needed("--target", words("#1 #3 #3 #52")), 1 => observe].boxed()
    };
    let read = || {
        let position = words("0 1 -1 2");
        [option("--against", words("#4 #5")), option("--position", position)]
    };
    let with = |mut options: Vec<BoxedStrategy<Vec<String>>>| {
        options.extend(read());
        options
    };
    let kinds = list(words("resid mid attn_out mlp_out q k v z resid z"));
    let predictors = list(words("curvature hvp integrated relp first_order curvature"));
    prop_oneof![
        call(
            "run",
            vec![
                prompt(),
                flag("--last"),
                option("--top", words("0 3 99 18446744073709551615")),
                option("--memory", words("1M 2g 512M 1MiB 16E 0 99999999999999999999G"))
            ]
        ),
        call("sensitivity", with(vec![prompt(), target(), option("--direction", direction())])),
        call(
            "patch",
            with(vec![
                three(),
                same("--corrupted-tokens"),
                target(),
                many("--sites", kinds),
                many("--predictors", predictors),
                option("--steps", count()),
                option("--interactions", count()),
            ])
        ),
        call(
            "green",
            with(vec![
                three(),
                needed("--source", place()),
                option("--direction", direction()),
                option("--target", words("#3")),
                option("--donor-tokens", words("1,9,3 1,2")),
                option("--norms", words("exact 2 4 1 0")),
                option("--directions", count()),
                option("--nodes", words("0 1 3 17")),
                flag("--geometry"),
                flag("--unit"),
            ])
        ),
        call(
            "slice",
            with(vec![
                three(),
                option("--basis", basis()),
                option("--readout", basis()),
                option("-k", words("1 2 0 30 31 18446744073709551615")),
                many("--from", place()),
                many("--to", place()),
                option("--target", words("#3")),
                option("--donor-tokens", words("1,9,3 1,2")),
            ])
        ),
        call(
            "slice",
            vec![
                three(),
                Just(vec!["--svd".to_owned()]).boxed(),
                needed("--from", place()),
                needed("--to", place()),
                option("-k", words("1 2 0 99")),
                option("--power", count()),
            ]
        ),
        call(
            "regime",
            with(vec![
                three(),
                target(),
                many("--sites", place()),
                many("--amplitudes", list(number())),
                option("--direction", direction()),
                flag("--absolute"),
                flag("--field"),
            ])
        ),
        call(
            "quadratic",
            with(vec![
                three(),
                target(),
                needed("--at", place()),
                option("--basis", prop_oneof![basis(), words("curvature curvature:7")].boxed()),
                option("-k", words("1 2 0 30 31 18446744073709551615")),
                many("--amplitudes", list(number())),
                option("--samples", words("1 3 0 18446744073709551615")),
                option("--probes", words("0 2 18446744073709551615")),
                option("--donor-tokens", words("1,9,3 1,2")),
            ])
        ),
        call(
            "invert",
            with(vec![
                three(),
                target(),
                many("--goal", prop_oneof![number(), words("#3:1 #4:0 #52:-2")].boxed()),
                many("--field-goal", (place(), number()).prop_map(|(at, x)| format!("{at}:{x}")).boxed()),
                many("--from", place()),
                option("--sparse", count()),
                option("--limit", number()),
                option("--damp", number()),
                option("--refine", count()),
            ])
        ),
        call(
            "locate",
            with(vec![
                three(),
                option("--hide", place()),
                flag("--finite"),
                many("--levels", count()),
                option("--noise", number()),
                option("--length", number()),
                option("--draws", words("0 1 2")),
                option("--share", number()),
            ])
        ),
        call(
            "transfer",
            with(vec![
                three(),
                same("--donor-tokens"),
                target(),
                option("--scale", number()),
                option("--controls", count()),
            ])
        ),
    ]
    .boxed()
}

/// Runs the binary, and returns its exit code and stderr.
fn ended(arguments: &[&str], stderr: &std::path::Path) -> (Option<i32>, String) {
    let file = File::create(stderr).expect("a file");
    let mut child = command(arguments).stdout(Stdio::null()).stderr(file).spawn().unwrap_or_else(|e| panic!("{e}"));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("is a child") {
            Some(status) => break status,
            None if begun.elapsed() > TIME_LIMIT => {
                child.kill().and_then(|()| child.wait().map(|_| ())).expect("ends");
                panic!("{arguments:?} hangs");
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    (status.code(), fs::read_to_string(stderr).expect("UTF-8"))
}

#[test]
fn no_call_panics_or_hangs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [out, stderr] = ["out.safetensors", "stderr"].map(|name| folder.path().join(name));
    let path = utf8(&out);
    let codes = std::cell::RefCell::new(std::collections::BTreeMap::new());
    let mut runner = proptest::test_runner::TestRunner::new(config(cases(200)));
    let ran = runner.run(&calls(), |call| {
        let _none = fs::remove_file(&out);
        let words: Vec<&str> = call.iter().map(String::as_str).collect();
        let common = ["--model", tiny(), "--device", "host", "--out", &path];
        let (code, said) = ended(&[&words[..], &common].concat(), &stderr);
        prop_assert!(matches!(code, Some(0..=2)), "{words:?}: {code:?}: {said}");
        let line = said.strip_suffix('\n').unwrap_or(&said);
        match code {
            Some(0) => drop(readable(&out)),
            Some(1) => {
                prop_assert!(line.starts_with("error: ") && !line.contains(char::is_control), "{words:?}: {said:?}");
            }
            _ => {}
        }
        prop_assert_eq!(out.exists(), code == Some(0), "{:?}: {}", words, said);
        *codes.borrow_mut().entry(code).or_insert(0) += 1;
        Ok(())
    });
    ran.unwrap_or_else(|e| panic!("{e}"));
    let codes = codes.into_inner();
    println!("exit codes {codes:?}");
    let all: i32 = codes.values().sum();
    // About 22 % of random calls work; of 200, fewer than a tenth do by chance once in 10^5 runs.
    assert!(codes.get(&Some(0)).is_some_and(|worked| 10 * worked > all), "too few calls get through: {codes:?}");
}

proptest! {
    #![proptest_config(config(cases(256)))]

    /// Types that are parsed without a model never panic, and a parsed value is displayed as it can be typed.
    #[test]
    fn names_are_read_or_refused(text in "\\PC{0,16}|[-#:,.0-9a-z\n ]{0,16}") {
        for read in [
            text.parse::<SiteKind>().map(|kind| kind.to_string()).ok(),
            text.parse::<Predictor>().map(|predictor| predictor.to_string()).ok(),
            text.parse::<Site>().map(|site| site.to_string()).ok(),
        ] {
            prop_assert!(read.is_none_or(|shown| shown == text));
        }
        if let Ok(choice) = text.parse::<resolvent_engine::Choice>() {
            prop_assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        if let Ok(ids) = parse_tokens(&text, 53) {
            prop_assert!(!ids.is_empty() && ids.iter().all(|&id| id < 53));
        }
    }
}

/// Tokens, directions and bases, which are parsed with a model, never panic.
#[test]
fn tokens_directions_and_bases_are_read_or_refused() {
    let directory = Directory::copy().with_tokenizer();
    let device = resolvent_engine::Device::host();
    let model = Model::named(&device, &directory.argument()).expect("opens");
    let texts = prop_oneof![direction(), basis(), tokens(), words("a ab #3"), "\\PC{0,16}".prop_map(String::from)];
    let mut runner = proptest::test_runner::TestRunner::new(config(cases(256)));
    let ran = runner.run(&texts, |text| {
        if let Ok(id) = parse_token(model.tokenizer(), model.sizes().vocab, &text) {
            prop_assert!((id as usize) < model.sizes().vocab);
        }
        if let Ok(Basis::Unembed(ids) | Basis::Embed(ids)) = Basis::parse(&text, &model) {
            let distinct: std::collections::BTreeSet<u32> = ids.iter().copied().collect();
            prop_assert_eq!(distinct.len(), ids.len());
        }
        let _read = Direction::parse(&text, &model);
        Ok(())
    });
    ran.unwrap_or_else(|e| panic!("{e}"));
}
