//! Token arguments and prompts, checked against the model that they are for.

use crate::arch::Sizes;
use crate::error::{Error, Result, shown};
use crate::tokenizer::{Tokenizer, id_argument};

/// Returns the id of an argument that must be one token of a model.
///
/// The argument is text, if the model has a tokenizer, or an id written `#1234`, which needs none. See
/// [`Tokenizer::single`].
///
/// # Errors
/// [`Error::Token`]: text without a tokenizer, text that is not one token, or an id outside the vocabulary.
pub fn parse_token(tokenizer: Option<&Tokenizer>, vocab_size: usize, arg: &str) -> Result<u32> {
    let fail = |message: String| Err(Error::Token { message });
    let id = match (id_argument(arg), tokenizer) {
        (Some(id), _) => id,
        (None, Some(tokenizer)) => Some(tokenizer.single(arg)?),
        (None, None) => {
            let text = shown(arg);
            return fail(format!("`{text}` is text, and this model has no tokenizer; write the token as an id: #123"));
        }
    };
    match id.filter(|&id| (id as usize) < vocab_size) {
        Some(id) => Ok(id),
        None => fail(format!("token `{}` is outside the vocabulary; {}", shown(arg), ids_of(vocab_size))),
    }
}

/// Returns the ids of a list such as `5,9,12`. Blanks around an id, and a `#` before it, are allowed.
///
/// # Errors
/// [`Error::Tokens`]: the list or an entry is empty, or an entry is not an id of the vocabulary.
pub fn parse_tokens(arg: &str, vocab_size: usize) -> Result<Vec<u32>> {
    let fail = |message: String| Error::Tokens { message };
    if arg.trim().is_empty() {
        return Err(fail("the list of tokens is empty; write ids with commas between them: 5,9,12".to_owned()));
    }
    let entry = |(position, text): (usize, &str)| {
        let text = text.trim();
        let digits = text.strip_prefix('#').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            let text = shown(text);
            return Err(fail(format!("invalid token id `{text}` at position {position}: expected ids such as 5,9,12")));
        }
        match digits.parse().ok().filter(|&id: &u32| (id as usize) < vocab_size) {
            Some(id) => Ok(id),
            None => Err(fail(format!(
                "token {} at position {position} is outside the vocabulary; {}",
                shown(digits),
                ids_of(vocab_size)
            ))),
        }
    };
    arg.split(',').enumerate().map(entry).collect()
}

/// Checks that a model can run a prompt.
///
/// # Errors
/// [`Error::Prompt`]: it is empty, longer than `n_positions`, or contains an id outside the vocabulary.
pub fn check_prompt(sizes: &Sizes, tokens: &[u32]) -> Result<()> {
    let fail = |message: String| Err(Error::Prompt { message });
    if tokens.is_empty() {
        return fail("the prompt is empty; at least one token is needed".to_owned());
    }
    let (n, most) = (tokens.len(), sizes.n_ctx);
    if n > most {
        return fail(format!("the prompt has {n} tokens; the model has positions for {most}: shorten it"));
    }
    match tokens.iter().enumerate().find(|(_, id)| **id as usize >= sizes.vocab) {
        None => Ok(()),
        Some((position, id)) => fail(format!(
            "token {id} at position {position} of the prompt is outside the vocabulary; {} \
             (does the tokenizer belong to this model?)",
            ids_of(sizes.vocab)
        )),
    }
}

/// Returns a position, level or the like as an index below `end`.
///
/// `at` counts from 0, or backwards from -1, which is the last. `what` names it in messages.
///
/// # Errors
/// [`Error::Place`]: it is out of range.
pub fn from_end(what: &str, at: i64, end: usize) -> Result<usize> {
    let from_start = if at < 0 { at.saturating_add(end as i64) } else { at };
    usize::try_from(from_start).ok().filter(|&p| p < end).ok_or_else(|| {
        Error::Place(match end {
            0 => format!("{what} {at} is out of range; there are none"),
            _ => format!("{what} {at} is out of range; there are {end}, 0 to {} or -1 to -{end}", end - 1),
        })
    })
}

fn ids_of(vocab_size: usize) -> String {
    format!("this model's ids are 0 to {}", vocab_size.saturating_sub(1))
}

#[cfg(test)]
#[path = "prompt_tests.rs"]
mod tests;
