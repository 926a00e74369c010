//! Windows of long texts, as rows of a prompt file.

use crate::error::{Error, Result};
use crate::model::Model;
use crate::prompt_row::{PromptRow, PromptText};
use crate::tokenizer::Tokenizer;

impl Model {
    /// Returns consecutive windows of a text, of `length` tokens each, as rows with a label.
    ///
    /// Each window has the tokens that the tokenizer's files ask for around a prompt, and they count. Tokens at the end
    /// of the text that do not fill a window are left out, unless they are the only ones.
    ///
    /// # Errors
    /// A model without a tokenizer, a text that cannot be encoded or is empty, or a length for which the model has no
    /// positions.
    pub fn windows(&self, text: &str, length: usize) -> Result<Vec<PromptRow>> {
        let most = self.sizes().n_ctx;
        let Some(tokenizer) = self.text_tokenizer()? else {
            return Err(Error::Place(format!("{} has no tokenizer; give prompts as token ids", self.name())));
        };
        let (ids, around) = split(tokenizer, text)?;
        let least = around[0].len() + around[1].len() + 1;
        if !(least..=most).contains(&length) {
            let reason = format!("windows of {length} tokens: the model has positions for {most}");
            return Err(Error::Place(format!("{reason}; give a length from {least} to {most}")));
        }
        let own = length + 1 - least;
        if ids.is_empty() {
            return Err(Error::Place("the text has no tokens; give a text that is not empty".to_owned()));
        }
        let row = |(n, window): (usize, &[u32])| PromptRow {
            clean: PromptText::Ids([&around[0], window, &around[1]].concat()),
            label: Some(format!("tokens {} to {}", n * own, n * own + window.len() - 1)),
            ..PromptRow::default()
        };
        let whole = |window: &&[u32]| window.len() == own || ids.len() < own;
        Ok(ids.chunks(own).filter(whole).enumerate().map(row).collect())
    }
}

/// Returns the tokens of a text, and those that go before and after it in a prompt.
fn split(tokenizer: &Tokenizer, text: &str) -> Result<(Vec<u32>, [Vec<u32>; 2])> {
    let (ids, prompt) = (tokenizer.encode(text)?, tokenizer.prompt(text)?);
    let more = prompt.len().saturating_sub(ids.len());
    match (0..=more).find(|&before| prompt.get(before..before + ids.len()) == Some(&ids[..])) {
        Some(before) => {
            let around = [prompt[..before].to_vec(), prompt[before + ids.len()..].to_vec()];
            Ok((ids, around))
        }
        // A prompt whose own tokens differ is cut as it is.
        None => Ok((prompt, [Vec::new(), Vec::new()])),
    }
}
