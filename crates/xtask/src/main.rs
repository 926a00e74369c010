//! The development commands ("verbs") of this project. `cargo xtask` without a verb lists them.

#[cfg(feature = "parser")]
mod api;
#[cfg(feature = "parser")]
mod header;
mod process;
mod python;
mod real;
mod toolchain;
#[cfg(feature = "translate")]
mod translate;
mod valgrind;
mod verb;
mod verbs;
mod vulkan;
#[cfg(feature = "browser")]
mod web;

use std::process::ExitCode;

use verb::Verb;

const VERBS: [Verb; 21] = [
    verbs::check::VERB,
    verbs::shaders::VERB,
    verbs::test::VERB,
    verbs::python::VERB,
    verbs::bench::VERB,
    verbs::golden::VERB,
    verbs::docs::VERB,
    verbs::wheel::VERB,
    verbs::package::VERB,
    verbs::platforms::VERB,
    verbs::windows::VERB,
    verbs::capi::VERB,
    verbs::header::VERB,
    verbs::api::VERB,
    verbs::arm::VERB,
    verbs::deny::VERB,
    verbs::sanitize::VERB,
    verbs::real::VERB,
    verbs::web::VERB,
    verbs::serve::VERB,
    verbs::web_test::VERB,
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
        return usage(&format!("unknown verb `{name}`"));
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
        text += &format!("  {typed:<18}{}\n", verb.summary);
    }
    text
}
