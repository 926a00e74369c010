//! Other prompts of a set, as controls.

use resolvent_model::{EditedPrompt, Model, PromptCase, Run, Site};

use crate::error::{Error, Result};
use crate::stats::choose;

/// Draws up to `count` cases whose clean prompts have as many tokens as this one and are not this one; if there are
/// fewer than two, of those with at least as many, whose last tokens take the place. The draw depends on the prompt,
/// the set and the seed, not on the order of the set.
///
/// # Errors
/// Fewer than two cases fit.
pub(crate) fn others<'c>(
    cases: &'c [PromptCase],
    tokens: &[u32],
    (count, seed): (usize, u64),
) -> Result<Vec<&'c PromptCase>> {
    let mut others: Vec<&PromptCase> = cases.iter().filter(|case| case.clean != tokens).collect();
    others.sort_by(|a, b| (&a.clean, &a.corrupted).cmp(&(&b.clean, &b.corrupted)));
    others.dedup_by(|a, b| a.clean == b.clean);
    let of_length = |case: &&&PromptCase| case.clean.len() == tokens.len();
    match others.iter().filter(of_length).count() {
        0 | 1 => others.retain(|case| case.clean.len() >= tokens.len()),
        _ => others.retain(|case| case.clean.len() == tokens.len()),
    }
    if others.len() < 2 {
        let (n, found) = (tokens.len(), others.len());
        return Err(Error::Input(format!(
            "it needs two other prompts of {n} tokens or more, and the set has {found}; give more prompts"
        )));
    }
    let mut state = tokens.iter().fold(seed, |state, &id| state.wrapping_mul(31).wrapping_add(u64::from(id)));
    choose(&mut others, count, &mut state);
    others.truncate(count);
    Ok(others)
}

/// Runs cases that [`others`] draws, prepared for some sites: of each the clean prompt, then the corrupted one if it
/// has one. `tokens` are those of the prompt that the others are beside.
pub(super) fn other_runs(
    model: &Model,
    cases: &[PromptCase],
    (tokens, count): (&[u32], usize),
    sites: &[Site],
) -> Result<Vec<Run>> {
    let others = others(cases, tokens, (count, 0))?;
    let both = others.iter().flat_map(|other| {
        let both = [Some(&other.clean), other.corrupted.as_ref()].into_iter().flatten();
        both.map(|tokens| EditedPrompt { tokens, edits: &other.edits })
    });
    let prompts: Vec<EditedPrompt<'_>> = both.collect();
    Ok(model.run_edited(&prompts, sites)?)
}

/// Returns the cases that have a corrupted prompt of as many tokens.
pub(super) fn pairs(cases: &[PromptCase]) -> Vec<PromptCase> {
    let pairs = |case: &&PromptCase| case.corrupted.as_ref().is_some_and(|other| other.len() == case.clean.len());
    cases.iter().filter(pairs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_prompts_have_the_same_length() {
        let prompts: [&[u32]; 6] = [&[1, 2], &[1, 3], &[4, 5], &[4, 5], &[6, 7, 8], &[9, 9]];
        let case = |clean: &&[u32]| PromptCase {
            name: String::new(),
            clean: clean.to_vec(),
            corrupted: None,
            observable: None,
            roles: [].into(),
            edits: Vec::new(),
        };
        let cases: Vec<PromptCase> = prompts.iter().map(case).collect();
        let clean = |count, seed| -> Vec<&[u32]> {
            others(&cases, &[1, 2], (count, seed)).expect("three fit").iter().map(|case| &case.clean[..]).collect()
        };
        let drawn = clean(2, 0);
        assert!(drawn.len() == 2 && drawn[0] != drawn[1] && !drawn.contains(&&[1, 2][..]), "{drawn:?}");
        assert_eq!(drawn, clean(2, 0));
        assert_eq!(clean(9, 0).len(), 3);
        assert!((0..9).any(|seed| clean(2, seed) != drawn), "the seed does not matter");
        let error = others(&cases, &[6, 7, 8], (2, 0)).expect_err("it is alone").to_string();
        assert!(error.contains("two other prompts of 3 tokens or more, and the set has 0"), "{error}");
        // Where no other has one token, longer ones take the place.
        assert_eq!(others(&cases, &[5], (9, 0)).expect("longer ones").len(), 5);
    }
}
