//! The first result of a demonstration, and descriptions of the steps of a study.

use resolvent::model::{Model, PromptRow, PromptText, TokenPair, token_text};

use crate::Failure;
use crate::output::{checks, heatmap};
use crate::terminal::print;

/// The first pair of prompts of a demonstration: clean, corrupted, target, against.
const FIRST: [&str; 4] = ["The capital of France is", "The capital of Italy is", " Paris", " Rome"];

/// Patches the first pair and prints the map: a result within seconds, before the study begins.
pub(crate) fn first_look(model: &Model) -> Result<(), Failure> {
    let [clean_text, corrupted_text, target, against] = FIRST;
    let [clean, corrupted] = [clean_text, corrupted_text].map(|text| PromptText::Text(text.to_owned()));
    let [target, against] = [target, against].map(str::to_owned);
    let row = PromptRow {
        clean,
        corrupted: Some(corrupted),
        target: Some(target.clone()),
        against: Some(against.clone()),
        ..PromptRow::default()
    };
    // The pair may not fit a model with another vocabulary. The demonstration is then the study alone.
    let Ok(TokenPair { clean, corrupted, observable: j }) = row.pair(model) else { return Ok(()) };
    let (clean, corrupted) = (model.run(&clean, &[])?, model.run(&corrupted, &[])?);
    let result = resolvent::patch(&clean, &corrupted, &j)?;
    let value = |name| result.array(name).map_or(f32::NAN, |a| a.data[0]);
    let (from, to) = (value("corrupted_value"), value("clean_value"));
    let title = "change of J, by level (upwards) and token";
    let map = heatmap(&corrupted, &result, "effect", title);
    let text = format!(
        "\nWhere does {name} hold the answer?\n\
         J = logit({target}) - logit({against}) is {to:.1} for `{}`\n\
         and {from:.1} for `{}`. The table says how J of the second\n\
         prompt changes when one vector h[level, token] of the first is put into it.\n\n{map}{checks}\n",
        clean_text,
        corrupted_text,
        name = model.name(),
        target = token_text(&target),
        against = token_text(&against),
        checks = checks(&result),
    );
    // The study continues and writes its page even if stdout cannot be written.
    let _unread = print(&text);
    Ok(())
}

/// Describes what a step of a study does, given its name, such as `patching.ioi`.
pub(crate) fn in_words(step: &str) -> String {
    let (analysis, task) = step.split_once('.').unwrap_or((step, ""));
    let words = match analysis {
        "answers" => "what the model answers, and which pairs of prompts can be used",
        "regimes" => "how large a source may be before its first-order response is wrong",
        "patching" => "what each place carries, by patching, beside its first-order prediction",
        "predictors" => "which cheap predictions of patches are right, and what they cost",
        "superposed" => "whether the responses to two sources add up",
        "propagation" => "where the response to a source goes, and in how many directions",
        "reduction" => "how few directions of one level predict the effects of patches",
        "transfers" => "how much of an answer one vector carries to another prompt",
        "inverse" => "which sources of least energy change the answer as asked",
        "circuits" => "whether a few edges carry the answer in other prompts",
        "locating" => "whether the place of a source is found from its effect",
        "flows" => "by which tokens of each level an effect reaches the answer",
        "scaling" => "whether the responses of smaller models predict those of this one",
        other => other,
    };
    if task.is_empty() { words.to_owned() } else { format!("{task}: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_described_in_words() {
        assert_eq!(in_words("transfers.ioi"), "ioi: how much of an answer one vector carries to another prompt");
        assert!(in_words("scaling").starts_with("whether the responses of smaller models"));
        assert_eq!(in_words("new.ioi"), "ioi: new", "an analysis without words has its name");
    }
}
