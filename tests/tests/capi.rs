//! The C library from the outside: a C program and a Python program, their numbers, and valgrind's opinion of the
//! memory.
//!
//! What the boundary refuses and copies is tested in `crates/capi/src/tests.rs`.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use resolvent::model::{Model, Observable, Run};
use resolvent::prelude::Device;
use resolvent_tests::fences;

use crate::architecture::root;
use crate::cli::built;
use crate::pages::output::compare;

const CLEAN: &str = "When Mary and John went to the store, John gave a drink to";
const CORRUPTED: &str = "When Mary and John went to the store, Mary gave a drink to";

/// Returns the folder of the shared library, after building it. The static library is left to `cargo xtask capi`.
fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| built("dev", &["rustc", "--package", "resolvent-capi", "--lib", "--crate-type", "cdylib"]))
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Compiles a C program with all warnings as errors, and returns its path.
fn compiled(source: &Path, folder: &Path) -> PathBuf {
    let program = folder.join("program");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-g", "-I"]);
    cc.arg(root().join("crates/capi/include")).arg(source).arg("-o").arg(&program);
    cc.arg("-L").arg(library()).arg("-lresolvent").arg(format!("-Wl,-rpath,{}", library().display()));
    let done = output(&mut cc);
    assert!(done.status.success(), "{cc:?}: {}", String::from_utf8_lossy(&done.stderr));
    program
}

/// Returns a command that runs a program under valgrind, which exits with 9 for an error of the memory or a leak.
fn under_valgrind(program: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite"]);
    // Threads of the pool live until the process ends, and valgrind takes some of their memory for possibly lost.
    valgrind.arg("--errors-for-leak-kinds=definite").arg(program);
    valgrind
}

fn has_valgrind() -> bool {
    // A compiler that optimises may test two conditions in another order than they are written, and the first of them
    // on a value that is not initialised: valgrind reports such a jump in safe code.
    if !cfg!(debug_assertions) {
        eprintln!("LEFT OUT: valgrind checks the library only as it is built for `cargo test` without `--release`");
        return false;
    }
    let found = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("LEFT OUT: valgrind is not installed, so the memory of the C library is not checked");
    }
    found
}

fn printed(done: Output) -> String {
    let [stdout, stderr] = [done.stdout, done.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
    assert!(done.status.success(), "{}: {stderr}", done.status);
    stdout
}

/// Returns all numbers of a line.
fn numbers(line: &str) -> Vec<f64> {
    line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
}

fn is_near(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 2e-5 * (1.0 + theirs.abs())
}

/// Runs of both prompts, by the facade.
fn runs() -> ([Run; 2], Observable) {
    let model = Model::named(&Device::host(), "atlas-nano").expect("is embedded");
    let tokens = |text: &str| model.tokenizer().expect("has one").prompt(text).expect("has tokens");
    let runs = [CLEAN, CORRUPTED].map(|text| model.run(&tokens(text), &[]).expect("runs"));
    let token = |text: &str| model.token(text).expect("is one");
    let j = Observable::logit_diff(token(" Mary"), token(" John"), runs[0].tokens().len() - 1);
    (runs, j)
}

/// Checks what the C program prints against the facade.
fn check_program(printed: &str) {
    let ([clean, corrupted], j) = runs();
    let lines: Vec<&str> = printed.lines().filter(|line| !line.contains(" of ")).collect();
    let values = numbers(lines[0].trim_start_matches("J: "));
    let expected = [&clean, &corrupted].map(|run| run.value(&j).expect("is finite"));
    assert!(values.len() == 2 && values.iter().zip(expected).all(|(a, b)| is_near(*a, b)), "{values:?} {expected:?}");
    let patched = resolvent::patch(&clean, &corrupted, &j).expect("passes its checks");
    let effect = patched.array("effect").expect("there is one");
    let (levels, tokens) = (effect.axes[0].1, effect.axes[1].1);
    let shown: Vec<f64> = lines[1..=levels].iter().flat_map(|line| numbers(line)).collect();
    assert_eq!(shown.len(), levels * tokens, "{printed}");
    for (i, (ours, theirs)) in shown.iter().zip(&effect.data).enumerate() {
        assert!(is_near(*ours, f64::from(*theirs)), "place {i}: {ours} and {theirs}");
    }
    let chi = resolvent::sensitivity(&corrupted, &j).expect("passes its checks");
    let [norm, field] = ["norm", "sensitivity"].map(|name| &chi.array(name).expect("there is one").data);
    let at = (0..tokens).max_by(|&a, &b| norm[a].total_cmp(&norm[b])).expect("there are tokens");
    let width = field.len() / norm.len();
    let response = resolvent::green(&corrupted, 0, at, &field[at * width..][..width]).expect("passes its checks");
    let end = response.array("norm").and_then(|norm| norm.data.last()).expect("has elements");
    let sensitivity = numbers(lines[levels + 1].rsplit_once(": ").expect("a figure").1);
    assert!(is_near(sensitivity[0], f64::from(norm[at])) && sensitivity[1] == at as f64, "{printed}");
    assert!(is_near(numbers(lines[levels + 2])[0], f64::from(*end)), "{printed}");
    assert!(numbers(lines[levels + 3])[0] > 0.0 && lines.len() == levels + 4, "{printed}");
}

#[test]
fn a_c_program_has_the_numbers_of_the_facade() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = compiled(&root().join("crates/capi/examples/patch.c"), folder.path());
    let shown = printed(output(&mut Command::new(&program)));
    check_program(&shown);
    // A wrong number is found.
    let wrong = shown.replacen("J: 1", "J: 2", 1);
    assert!(wrong != shown && std::panic::catch_unwind(|| check_program(&wrong)).is_err());
    let refused = output(Command::new(&program).arg("no/such/model"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("status 3: no model `no/such/model`"));
    if has_valgrind() {
        check_program(&printed(output(&mut under_valgrind(&program))));
    }
}

/// valgrind finds a model that is not freed, and one that is freed twice.
#[test]
fn wrong_programs_are_found() {
    if !has_valgrind() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let with = |end: &str| {
        let text = format!(
            "#include \"resolvent.h\"\n\
             static int opened(void) {{\n\
             resolvent_options options = {{.size = sizeof options, .device = \"host\"}};\n\
             resolvent_model *model;\n\
             int status = (int)resolvent_model_open(\"random:7\", &options, NULL, &model);\n\
             {end} return status; }}\n\
             int main(void) {{ return opened(); }}\n"
        );
        let source = folder.path().join("program.c");
        std::fs::write(&source, text).expect("can be written");
        output(&mut under_valgrind(&compiled(&source, folder.path()))).status.code()
    };
    assert_eq!(with("resolvent_model_free(model);"), Some(0));
    assert_eq!(with(""), Some(9));
    assert_ne!(with("resolvent_model_free(model); resolvent_model_free(model);"), Some(0));
}

#[test]
fn a_python_program_has_the_numbers_of_the_facade() {
    let python = ["python3", "python"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()));
    let Some(python) = python else {
        eprintln!("LEFT OUT: Python is not installed, so the example for ctypes does not run");
        return;
    };
    let name = format!("{}resolvent{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = root().join("crates/capi/examples/patch.py");
    let shown = printed(output(Command::new(python).arg(program).arg(library().join(name))));
    let ([_, corrupted], j) = runs();
    let chi = resolvent::sensitivity(&corrupted, &j).expect("passes its checks");
    let norm = &chi.array("norm").expect("there is one").data;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(is_near(numbers(lines[0])[0], corrupted.value(&j).expect("is finite")), "{shown}");
    let ours: Vec<f64> = lines[1..lines.len() - 1].iter().flat_map(|line| numbers(line)).collect();
    assert_eq!(ours.len(), norm.len());
    assert!(ours.iter().zip(norm).all(|(a, b)| is_near(*a, f64::from(*b))), "{shown}");
    assert!(lines[lines.len() - 1].starts_with("refused: invalid observable `logit(`"), "{shown}");
}

/// The C blocks of the pages compile without warnings, and print what the pages show below them.
#[test]
fn the_c_of_the_pages_runs() {
    let all = fences::all(&root());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut seen = 0;
    for (i, fence) in all.iter().enumerate().filter(|(_, fence)| fence.language() == "c") {
        let source = folder.path().join("page.c");
        std::fs::write(&source, &fence.text).expect("can be written");
        let shown = all.get(i + 1).filter(|next| next.language() == "output").map_or("", |next| &next.text);
        let printed = printed(output(&mut Command::new(compiled(&source, folder.path()))));
        compare(shown, &printed).unwrap_or_else(|e| panic!("{}: {e}", fence.place));
        assert_eq!(shown.lines().count(), printed.lines().count(), "{}", fence.place);
        seen += 1;
    }
    assert_eq!(seen, 1, "the pages have lost their C");
}
