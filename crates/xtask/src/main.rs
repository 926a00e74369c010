//! The project's own verbs. `cargo xtask` alone lists them.

mod process;
mod python;
#[cfg(feature = "translate")]
mod translate;
mod verbs;
mod vulkan;

use std::process::ExitCode;

/// A verb: what is typed, what it does, and the function that does it.
struct Verb {
    name: &'static str,
    summary: &'static str,
    /// Whether what follows the verb is handed on; a verb that takes nothing refuses it.
    takes_arguments: bool,
    run: fn(&[String]) -> process::Result,
}

const VERBS: [Verb; 8] = [
    verbs::check::VERB,
    verbs::shaders::VERB,
    verbs::test::VERB,
    verbs::python::VERB,
    verbs::bench::VERB,
    verbs::golden::VERB,
    verbs::docs::VERB,
    verbs::wheel::VERB,
];

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, arguments)) = typed.split_first() else {
        return usage("no verb");
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print!("{}", verbs_listed());
        return ExitCode::SUCCESS;
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        return usage(&format!("`{name}` is no verb"));
    };
    if !arguments.is_empty() && !verb.takes_arguments {
        return usage(&format!("`{name}` takes no arguments"));
    }
    match (verb.run)(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {name}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn usage(mistake: &str) -> ExitCode {
    eprint!("xtask: {mistake}\n\n{}", verbs_listed());
    ExitCode::from(2)
}

fn verbs_listed() -> String {
    let mut text = String::from("Usage: cargo xtask VERB\n\n");
    for verb in &VERBS {
        let typed = if verb.takes_arguments { format!("{} [ARGS]", verb.name) } else { verb.name.to_owned() };
        text += &format!("  {typed:<15}{}\n", verb.summary);
    }
    text
}
