//! First minutes: what `resolvent` alone says, help, completions, man pages, suggestions for mistyped names, and
//! `doctor`.

use super::directory::Directory;
use super::{command, names, on_host, run, tiny, utf8};

#[test]
fn the_program_alone_names_commands_that_run() {
    let shown = run(&[]).done();
    let tries: Vec<&str> = shown.lines().filter(|line| line.starts_with("  resolvent ")).collect();
    assert_eq!(tries.len(), 3, "{shown}");
    for (line, name) in tries.iter().zip(["demo", "run", "patch"]) {
        assert!(line.starts_with(&format!("  resolvent {name} ")), "{line}");
    }
    for part in ["resolvent --help", "resolvent COMMAND --help", "resolvent doctor"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "stdout is no terminal");
    // The lines fit a narrow terminal's usual 80 to 100 columns.
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    let patch = "--corrupted \"The capital of Italy is\"";
    assert!(shown.contains(patch), "{shown}");
    let arguments = ["run", "The capital of France is", "--top", "1"];
    assert!(on_host(&arguments).done().contains("\" Paris\""));
}

#[test]
fn commands_are_listed_in_groups() {
    let shown = run(&["--help"]).done();
    let at = |part: &str| shown.find(part).unwrap_or_else(|| panic!("`{part}` is not in: {shown}"));
    let order =
        ["Usage: resolvent [COMMAND]", "Try it:\n  demo ", "Two prompts:\n  patch ", "Inverse problems:\n  invert "];
    assert!(order.map(at).is_sorted(), "{shown}");
    assert!(at("Inverse problems:") < at("  doctor ") && at("  doctor ") < at("Options:\n  -h, --help"), "{shown}");
    for line in shown.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn help_of_a_command_ends_with_examples() {
    let shown = run(&["patch", "--help"]).done();
    let parts = ["Options:", "Prompts:", "Observable J:", "Model and device:", "Output:", "Examples:\n  # "];
    let places = parts.map(|part| shown.find(part).unwrap_or_else(|| panic!("`{part}` is not in: {shown}")));
    assert!(places.is_sorted(), "{shown}");
    assert!(shown[places[5]..].contains("\n  resolvent patch \"The capital of France is\" --corrupted "), "{shown}");
}

/// What a command refuses is not offered, and is refused before the work.
#[test]
fn help_lists_only_what_a_command_takes() {
    for (command, refused, taken) in [
        ("patch", &["--text ", "--window "][..], "--prompts "),
        ("subspace", &["--text ", "--window ", "--plot "], "--prompts "),
        ("identities", &["--plot "], "--text "),
        ("circuit", &["--out-dir ", "--shard ", "--queue"], "--prompts "),
        ("run", &["--queue"], "--shard "),
        ("study", &["--queue"], "--shard <I/N>"),
        ("grid", &["--queue"], "--shard <I/N>"),
    ] {
        let shown = run(&[command, "--help"]).done();
        assert!(shown.contains(taken) && !refused.iter().any(|part| shown.contains(part)), "{command}: {shown}");
    }
    // Completions and the manual list what help lists.
    for arguments in [&["completions", "bash"][..], &["man", "study"]] {
        let text = run(arguments).done().replace("\\-", "-");
        let of_study = text.split("resolvent__subcmd__study)").last().unwrap_or_default();
        let of_study = of_study.split(";;").next().unwrap_or_default();
        assert!(of_study.contains("--shard") && !of_study.contains("--out-dir"), "{arguments:?}: {of_study}");
    }
    let pair = ["identities", "--tokens", "1,2", "--target", "#1", "--plot", "x.svg", "--model", "/no/such/model"];
    assert!(run(&pair).failed().contains("this analysis has no figures; leave --plot out"));
    let pair = ["scale", "atlas-nano", "/no/such/model", "--operators", "--plot", "x.svg"];
    assert!(run(&pair).failed().contains("this analysis has no figures; leave --plot out"));
}

/// Help is as wide as `COLUMNS` says where stdout is no terminal.
#[test]
fn help_is_as_wide_as_the_terminal() {
    let widest = |columns: &str| {
        let output = command(&["invert", "--help"]).env("COLUMNS", columns).output().expect("runs");
        let shown = String::from_utf8(output.stdout).expect("help is UTF-8");
        let options = shown.split("Examples:").next().unwrap_or_default();
        // The line of the usage is not broken.
        let lines = options.lines().filter(|line| !line.starts_with("Usage: "));
        lines.map(|line| line.chars().count()).max().unwrap_or(0)
    };
    let (narrow, wide) = (widest("70"), widest("110"));
    assert!(narrow <= 70 && wide > 90 && wide <= 110, "{narrow}, {wide}");
}

/// Colours go where they are wanted: never into a pipe, unless they are forced.
#[test]
fn colours_are_forced_or_left_out() {
    let shown = |variables: &[(&str, &str)]| {
        let arguments = ["sensitivity", "--tokens", "1,2", "--target", "#3", "--device", "host", "--model", tiny()];
        let mut command = command(&arguments);
        for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        let output = command.envs(variables.iter().copied()).output().expect("runs");
        String::from_utf8(output.stdout).expect("UTF-8").contains('\u{1b}')
    };
    assert!(!shown(&[]));
    assert!(shown(&[("CLICOLOR_FORCE", "1")]));
    assert!(!shown(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn completions_name_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).done();
        for part in ["sensitivity", "predictors", "doctor"] {
            assert!(script.contains(part), "{shell} lacks {part}");
        }
    }
    let wrong = run(&["completions", "fsh"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("fish"), "{}", wrong.stderr);
}

/// bash accepts the script, and completes with it.
#[cfg(unix)]
#[test]
fn bash_completes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("resolvent.bash");
    std::fs::write(&script, run(&["completions", "bash"]).done()).expect("writable");
    let line = format!(
        "source {}; COMP_WORDS=(resolvent sens); COMP_CWORD=1; _resolvent resolvent sens resolvent; echo ${{COMPREPLY[@]}}",
        script.display()
    );
    let Ok(output) = std::process::Command::new("bash").args(["--norc", "-c", &line]).output() else { return };
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(found.trim(), "sensitivity", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn man_pages_are_printed_or_written() {
    let page = run(&["man", "patch"]).done();
    for part in [".TH", "resolvent\\-patch", "\\-\\-corrupted", "Examples:"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(run(&["man"]).done().contains("resolvent\\-sensitivity"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ran = run(&["man", "--out", &utf8(&folder.path().join("man1"))]);
    assert!(ran.stderr.starts_with("wrote 36 pages to "), "{}", ran.stderr);
    ran.done();
    let written = names(&folder.path().join("man1"));
    assert!(written.len() == 36 && written.contains(&"resolvent-doctor.1".to_owned()), "{written:?}");
    assert!(run(&["man", "ptach"]).failed().ends_with("; did you mean `patch`?"));
    assert!(run(&["man", "--out", "/proc/nowhere/x"]).failed().contains("cannot be created"));
}

/// A mistyped name is answered with the name that was probably meant.
#[test]
fn mistyped_names_are_answered() {
    let says = |arguments: &[&str], meant: &str| {
        let line = on_host(arguments).failed();
        assert!(line.contains(&format!("did you mean `{meant}`?")), "{arguments:?}: {line}");
    };
    says(&["run", "x", "--model", "atlas-smal"], "atlas-small");
    says(&["run", "--tokens", "1", "--model", "randm"], "random");
    let line = on_host(&["run", "--tokens", "1", "--model", "permuted@random:2"]).failed();
    assert!(line.contains("the weights of random:2 were generated, so nothing can replace them"), "{line}");
    says(&["run", "--prompts", "embedded", "--task", "capitels"], "capitals");
    says(&["sensitivity", "The capital of France is", "--target", " Parris"], " Paris");
    says(&["sensitivity", "The capital of France is", "--observe", "logporb(\" Paris\")"], "logprob");
    let with_tiny = |arguments: &[&str], meant: &str| says(&[arguments, &["--model", tiny()]].concat(), meant);
    with_tiny(&["green", "--tokens", "1,2", "--source", "0,0", "--direction", "sensitivty"], "sensitivity");
    with_tiny(&["slice", "--tokens", "1,2", "--basis", "krilov"], "krylov");
    // A path beside the folder that was meant.
    let model = Directory::copy();
    let wrong = format!("{}x", model.argument());
    let line = on_host(&["run", "--tokens", "1", "--model", &wrong]).failed();
    assert!(line.contains(&format!("did you mean `{}`?", model.argument())), "{line}");
    let line = run(&["run", "--tokens", "1", "--device", "hosst", "--model", tiny()]).failed();
    assert!(line.contains("did you mean `host`?"), "{line}");
    // Names that clap parses.
    let patch = ["patch", "--tokens", "1,2", "--corrupted-tokens", "1,3", "--target", "#1"];
    for (wrong, meant) in [(["--sites", "mlpout"], "mlp_out"), (["--predictors", "integratd"], "integrated")] {
        let ran = run(&[&patch[..], &wrong].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(&format!("did you mean `{meant}`?")), "{}", ran.stderr);
    }
    for (wrong, meant) in [("sensitivty", "sensitivity"), ("rnu", "run")] {
        let ran = run(&[wrong]);
        assert!(ran.code == Some(2) && ran.stderr.contains(&format!("'{meant}'")), "{}", ran.stderr);
    }
    // A name that is like none gets no suggestion.
    let line = on_host(&["run", "x", "--model", "no/such/model"]).failed();
    assert!(!line.contains("did you mean"), "{line}");
}

#[test]
fn doctor_describes_the_machine() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (cache, home) = (folder.path().join("cache"), folder.path().join("home"));
    std::fs::create_dir_all(cache.join("tuned")).expect("a folder");
    std::fs::write(cache.join("tuned/one"), [0; 1500]).expect("a file");
    let doctor = |arguments: &[&str]| {
        let mut command = command(&[&["doctor", "--no-test"], arguments].concat());
        command.env("RESOLVENT_CACHE", &cache).env("HOME", &home).env("HF_TOKEN", "hf_secret");
        command.env("VK_ICD_FILENAMES", "/no/such/driver.json").env("HF_HUB_CACHE", home.join("hub"));
        super::Ran::from(command.output().expect("runs"))
    };
    let shown = doctor(&[]).done();
    for part in [
        &format!("resolvent {}, ", env!("CARGO_PKG_VERSION"))[..],
        "compiler: rustc 1.",
        "system: ",
        "host  host executor, ",
        "auto is ",
        "tuned: 1 file, 1.5 kB",
        "models of the hub: ~/hub (",
        "HF_TOKEN=(set)",
        "what to do\n",
        "VK_ICD_FILENAMES names /no/such/driver.json, which does not exist: correct it or unset it",
    ] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    assert!(!shown.contains("hf_secret"), "{shown}");
    let json = doctor(&["--json"]).done();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["compiler"].as_str().is_some_and(|version| version.starts_with("rustc 1.")), "{json}");
    assert_eq!(json["variables"]["HF_TOKEN"], "(set)");
    assert_eq!(json["caches"][0]["parts"][0]["bytes"], 1500);
    let devices = json["devices"].as_array().expect("devices");
    assert_eq!(devices.last().map(|device| &device["self_test"]), Some(&"reference".into()));
    assert!(json["advice"].as_array().is_some_and(|advice| !advice.is_empty()), "{json}");
}

/// The self-test of an adapter is run, and its outcome is told apart from none.
#[test]
fn doctor_tests_adapters() {
    let state = |arguments: &[&str]| {
        let json = run(&[&["doctor", "--json"], arguments].concat()).done();
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let devices = json["devices"].as_array().expect("devices").clone();
        devices.into_iter().filter(|device| device["choice"] != "host").collect::<Vec<_>>()
    };
    if resolvent_tests::gpus().is_empty() {
        return;
    }
    let tested = state(&[]);
    assert!(!tested.is_empty() && tested.iter().all(|device| device["self_test"] == "passed"), "{tested:?}");
    assert!(tested[0]["error"].as_f64().is_some_and(|error| error < 2e-5), "{tested:?}");
    let not = state(&["--no-test"]);
    assert!(not.iter().all(|device| device["self_test"] != "passed" && device["error"].is_null()), "{not:?}");
}
