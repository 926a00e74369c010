//! Where tokens end in a text, so that tokens of two tokenizers can be aligned.

use super::Tokenizer;
use crate::error::Result;

impl Tokenizer {
    /// Returns, for each token of [`Tokenizer::prompt`], the byte of the text at which it ends. Spaces at its end may
    /// not count. Tokens that share a character end where it does. Tokens that are added around the text have no end,
    /// and spaces alone may have none.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn ends(&self, text: &str) -> Result<Vec<Option<usize>>> {
        let encoded = self.encoded(text, || self.inner.encode(text, true))?;
        let own = encoded.get_offsets().iter().map(|&(start, end)| (start < end).then_some(end));
        let [before, after] = [self.around.0, self.around.1].map(|token| token.map(|_| None));
        Ok(before.into_iter().chain(own).chain(after).collect())
    }
}

#[cfg(all(test, feature = "atlas"))]
mod tests {
    use resolvent_engine::Device;

    use crate::model::Model;
    use crate::named::DEFAULT_MODEL;

    /// Ends are those of the decoded text, also where a character is several tokens.
    #[test]
    fn ends_are_those_of_the_decoded_text() {
        let model = Model::named(&Device::host(), DEFAULT_MODEL).unwrap_or_else(|e| panic!("{e}"));
        let tokenizer = model.tokenizer().unwrap_or_else(|| panic!("it has a tokenizer"));
        let mut compared = 0;
        for text in ["The capital of France is", "When Mary went,  she é gave 12 drinks", "Zürich: 日本 — ok\n\nx", ""]
        {
            let (ids, ends) = (tokenizer.prompt(text), tokenizer.ends(text));
            assert_eq!(ids.is_ok(), ends.is_ok(), "{text}");
            let (Ok(ids), Ok(ends)) = (ids, ends) else { continue };
            compared += ids.len();
            assert_eq!(ids.len(), ends.len(), "{text}");
            for (n, end) in ends.iter().enumerate() {
                let decoded = tokenizer.decode(&ids[..=n]).unwrap_or_else(|e| panic!("{e}"));
                let Some(end) = *end else {
                    assert_eq!(tokenizer.token(ids[n]).trim(), "", "{text}: token {n} has no end");
                    continue;
                };
                let is_part = decoded.ends_with('\u{fffd}');
                assert!(is_part || decoded.trim_end() == text[..end].trim_end(), "{text}: `{decoded}` ends at {end}");
            }
        }
        assert!(compared > 10, "only {compared} tokens can be compared");
    }
}
