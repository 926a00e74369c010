//! The commands of the pages: the program parses each of them. Commands of blocks without `no_run` are run, and their
//! output is compared with the page.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Output;

use resolvent_tests::fences::{self, Fence};

use super::{figures, output::compare};
use crate::architecture::{files, root, text};
use crate::cli::command;

/// A command of a page.
struct Line {
    place: String,
    /// Program and arguments.
    words: Vec<String>,
    /// The lines that the page shows below it.
    shown: String,
    /// Whether the block is marked `no_run`.
    is_no_run: bool,
}

impl Line {
    /// Returns the arguments of `resolvent`, if the command runs it.
    fn arguments(&self) -> Option<&[String]> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        match words[..] {
            ["resolvent", ..] => Some(&self.words[1..]),
            ["cargo", "run", "--release", "--", ..] => Some(&self.words[4..]),
            _ => None,
        }
    }
}

/// Programs of others, whose arguments are not checked.
const OTHERS: [&str; 4] = ["apt-get", "dnf", "pacman", "pip"];

/// Commands that take no device, or that write before they open one.
const WITHOUT_DEVICE: [&str; 8] = ["devices", "doctor", "completions", "man", "merge", "grid", "compare", "summary"];

/// Options of other programs: cargo, xtask, `benches/peers/run` and SLURM.
const OTHER_OPTIONS: [&str; 12] = [
    "--array",
    "--cpus-per-task",
    "--dependency",
    "--example",
    "--help",
    "--locked",
    "--only",
    "--path",
    "--release",
    "--short",
    "--version",
    "--workspace",
];

/// Pages with blocks that are marked `no_run`: they download, need a device, or take minutes.
const NOT_RUN: [&str; 17] = [
    "README.md",
    "docs/src/browser.md",
    "docs/src/command-line.md",
    "docs/src/devices.md",
    "docs/src/recipes/bench.md",
    "docs/src/recipes/circuits.md",
    "docs/src/recipes/gguf.md",
    "docs/src/recipes/hub.md",
    "docs/src/recipes/large-runs.md",
    "docs/src/recipes/locate.md",
    "docs/src/recipes/model-directory.md",
    "docs/src/recipes/peers.md",
    "docs/src/recipes/real-model.md",
    "docs/src/recipes/reduce.md",
    "docs/src/recipes/scale.md",
    "docs/src/recipes/scaling.md",
    "docs/src/recipes/study.md",
];

/// Splits a shell line into words, and replaces `$NAME` by its value in `names`. A word that begins with `#` begins a
/// comment, and one that begins with `>` or `|` ends the command.
fn words(line: &str, names: &HashMap<String, String>) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            ('#' | '>' | '|', None) if word.is_none() => break,
            (' ' | '\t', None) => all.extend(word.take()),
            ('$', None | Some('"')) => {
                let mut name = String::new();
                while let Some(c) = characters.next_if(char::is_ascii_uppercase) {
                    name.push(c);
                }
                *word.get_or_insert_default() += names.get(&name).map_or("", |value| value);
            }
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

/// Returns the commands of a block. If the block begins with `$ `, they are the lines after `$ `, with the output below
/// them. Otherwise they are all lines that begin with a known program.
fn lines(fence: &Fence) -> Vec<Line> {
    let is_session = fence.text.starts_with("$ ");
    let is_shell = ["", "sh", "console", "text"].contains(&fence.language());
    let (mut found, mut names): (Vec<Line>, _) = (Vec::new(), HashMap::new());
    let text = fence.text.replace("\\\n", " ");
    for line in text.lines().filter(|_| is_shell) {
        let command = if is_session { line.strip_prefix("$ ") } else { Some(line) };
        let Some(command) = command else {
            if let Some(last) = found.last_mut() {
                last.shown += line;
                last.shown.push('\n');
            }
            continue;
        };
        let words = words(command, &names);
        match words.first().map(|first| (first.as_str(), first.split_once('='))) {
            Some((_, Some((name, value)))) => _ = names.insert(name.to_owned(), value.to_owned()),
            Some((program, None)) if is_session || is_program(program) => {
                let (place, is_no_run) = (fence.place.clone(), fence.is_no_run());
                found.push(Line { place, words, shown: String::new(), is_no_run });
            }
            _ => {}
        }
    }
    found
}

fn is_program(word: &str) -> bool {
    ["cargo", "resolvent"].contains(&word) || OTHERS.contains(&word)
}

fn all() -> Vec<Line> {
    fences::all(&root()).iter().flat_map(lines).collect()
}

/// Returns the arguments with `device` in place of their own device, if they have one.
fn with_device(arguments: &[String], device: &str) -> Vec<String> {
    let mut all = arguments.to_vec();
    if arguments.first().is_some_and(|command| WITHOUT_DEVICE.contains(&command.as_str())) {
        return all;
    }
    match all.iter().position(|word| word == "--device" || word == "-d") {
        Some(at) if at + 1 < all.len() => device.clone_into(&mut all[at + 1]),
        _ => all.extend(["--device", device].map(str::to_owned)),
    }
    all
}

/// Checks that the program accepts these arguments. With a device that does not exist, valid arguments fail only when
/// the device is opened.
fn parse(arguments: &[String]) -> Result<(), String> {
    const NOWHERE: &str = "no-such-adapter";
    let ran = match arguments {
        // A command without a device would run.
        [command, ..] if WITHOUT_DEVICE.contains(&command.as_str()) => {
            run(&[arguments, &["--help".to_owned()]].concat(), &root())
        }
        _ => run(&with_device(arguments, NOWHERE), &root()),
    };
    let stderr = String::from_utf8_lossy(&ran.stderr);
    let is_parsed = match ran.status.code() {
        Some(0) => true,
        Some(1) => stderr.contains(NOWHERE),
        _ => false,
    };
    if is_parsed { Ok(()) } else { Err(stderr.into_owned()) }
}

fn run(arguments: &[String], folder: &Path) -> Output {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = command(&arguments);
    command.current_dir(folder).env("COLUMNS", "120").output().unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_command_of_the_pages_is_valid() {
    let verbs: String = files("crates/xtask/src/verbs", &[".rs"]).iter().map(text).collect();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for line in all() {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let checked = match (line.arguments(), &words[..]) {
            (Some(arguments), _) => {
                seen += 1;
                parse(arguments)
            }
            (None, ["cargo", "xtask", verb, ..]) => match verbs.contains(&format!("name: \"{verb}\"")) {
                true => Ok(()),
                false => Err("there is no such verb".to_owned()),
            },
            (None, ["cargo", "run", "-p", package, "--example", name, ..]) => {
                let folder = package.strip_prefix("resolvent-").unwrap_or(package);
                let places = [format!("crates/{folder}/examples/{name}.rs"), format!("{folder}/{name}.rs")];
                match places.iter().any(|place| root().join(place).is_file()) {
                    true => Ok(()),
                    false => Err("there is no such example".to_owned()),
                }
            }
            (None, [program, ..]) if OTHERS.contains(program) || root().join(program).is_file() => Ok(()),
            _ => Err("neither the project's nor known".to_owned()),
        };
        if let Err(reason) = checked {
            wrong.push(format!("{}: {}: {reason}", line.place, words.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 20, "the pages have lost their commands: {seen}");
}

#[test]
fn what_the_pages_show_is_printed() {
    let (mut folder, mut page, mut wrong, mut compared) = (None, String::new(), Vec::new(), 0);
    for line in all().iter().filter(|line| !line.is_no_run) {
        let Some(arguments) = line.arguments() else { continue };
        // Commands of one page share a folder, because one may read a file that another has written.
        let of = line.place.split(':').next().unwrap_or_default();
        if of != page || folder.is_none() {
            of.clone_into(&mut page);
            folder = Some(tempfile::tempdir().expect("a temporary folder"));
        }
        // Paths of files of the repository are relative to its root.
        let from_root = |word: &String| match root().join(word) {
            path if word.contains('/') && path.exists() => crate::cli::utf8(&path),
            _ => word.clone(),
        };
        let arguments: Vec<String> = arguments.iter().map(from_root).collect();
        let ran = run(&with_device(&arguments, "host"), folder.as_ref().expect("made above").path());
        let [stdout, stderr] = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let outcome = match ran.status.success() {
            true => compare(&line.shown, &(stderr + &stdout))
                .and_then(|()| figures::compare_drawn(of, &arguments, folder.as_ref().expect("made above").path())),
            false => Err(stderr),
        };
        compared += usize::from(!line.shown.is_empty());
        if let Err(reason) = outcome {
            wrong.push(format!("{}: {}: {reason}", line.place, arguments.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 5, "the pages have lost their outputs: {compared}");
}

/// `NOT_RUN` lists the pages with blocks that are parsed but not run, so that `no_run` does not spread unnoticed.
#[test]
fn commands_that_do_not_run_are_counted() {
    let mut marked: Vec<String> = fences::all(&root()).into_iter().filter(|f| f.is_no_run()).map(|f| f.place).collect();
    for place in &mut marked {
        place.truncate(place.find(':').unwrap_or(place.len()));
    }
    marked.dedup();
    assert_eq!(marked, NOT_RUN);
}

/// Every option that a page names exists in the program.
#[test]
fn options_of_the_pages_exist() {
    let commands = ["run", "sensitivity", "patch", "green", "slice", "regime", "invert", "transfer", "scale"];
    let more =
        ["flow", "identities", "lens", "locate", "reduce", "attribute", "features", "edges", "circuit", "subspace"];
    let rest = [
        "generate",
        "study",
        "demo",
        "devices",
        "bench",
        "average",
        "reach",
        "growth",
        "quadratic",
        "doctor",
        "completions",
        "man",
        "merge",
        "grid",
        "compare",
        "summary",
    ];
    let help = |command: &&str| {
        let output = run(&[(*command).to_owned(), "--help".to_owned()], &root());
        String::from_utf8(output.stdout).expect("help is UTF-8")
    };
    let known: String = commands.iter().chain(&more).chain(&rest).map(help).collect();
    let known: BTreeSet<&str> = options(&known).collect();
    let mut wrong = Vec::new();
    for page in fences::pages(&root()) {
        let text = text(&page);
        for named in options(&text).filter(|named| !known.contains(named) && !OTHER_OPTIONS.contains(named)) {
            wrong.push(format!("{}: {named}", page.display()));
        }
    }
    assert!(wrong.is_empty(), "no command has these options:\n{}", wrong.join("\n"));
}

/// Returns the words of the form `--name` of a text.
fn options(text: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit();
    text.split(move |c: char| !word(c))
        .filter(|word| word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase())))
}

#[test]
fn shell_blocks_are_parsed() {
    let names = HashMap::from([("M".to_owned(), "gpt2".to_owned())]);
    let line = "run \"a b\" --model $M --target '#3' --x=\"\" '' # and so on";
    assert_eq!(words(line, &names), ["run", "a b", "--model", "gpt2", "--target", "#3", "--x=", ""]);
    assert_eq!(words("man patch | man -l -", &names), ["man", "patch"]);
    let fence = |text: &str| fences::fences("p.md", &format!("```\n{text}```\n")).remove(0);
    let found = lines(&fence("$ resolvent run \\\n   x\nshown\n$ resolvent devices\n"));
    assert_eq!(found.iter().map(|l| l.words.len()).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(found.iter().map(|l| l.shown.as_str()).collect::<Vec<_>>(), ["shown\n", ""]);
    let found = lines(&fence("M=gpt2   # or another\ncargo run --release -- run --model $M\n"));
    assert_eq!(found[0].arguments().expect("it is resolvent's"), ["run", "--model", "gpt2"]);
    assert!(lines(&fence("crates/engine    devices\n   |\n")).is_empty());
}

#[test]
fn wrong_commands_are_found() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(parse(&words("run x --model gpt2")), Ok(()));
    assert_eq!(parse(&words("devices")), Ok(()));
    for wrong in ["run x --modle gpt2", "runs x", "run", "devices --gpu", "patch x --corrupted y"] {
        assert!(parse(&words(wrong)).is_err(), "{wrong}");
    }
}
