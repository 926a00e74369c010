//! embed:  h[0, t] = wte[token_t] + wpe[t].

use crate::Scalar;

/// Adds token and position embeddings. `wte [V, d]`, `wpe [P, d]`, `tokens [T]` -> `[T, d]`.
pub fn embed<S: Scalar>(wte: &[S], wpe: &[S], d: usize, tokens: &[usize]) -> Vec<S> {
    let (vocab, positions) = (wte.len() / d, wpe.len() / d);
    assert!(tokens.len() <= positions, "embed: {} tokens but {positions} positions", tokens.len());
    let mut h = Vec::with_capacity(tokens.len() * d);
    for (t, &token) in tokens.iter().enumerate() {
        assert!(token < vocab, "embed: token {token} at position {t} is outside the vocabulary of {vocab}");
        for i in 0..d {
            h.push(wte[token * d + i] + wpe[t * d + i]);
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_the_row_of_the_token_and_the_row_of_the_position() {
        let wte = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let wpe = [10.0, 20.0, 30.0, 40.0];
        assert_eq!(embed(&wte, &wpe, 2, &[2, 0]), [15.0, 26.0, 31.0, 42.0]);
    }

    #[test]
    #[should_panic(expected = "token 3 at position 1 is outside the vocabulary of 3")]
    fn an_unknown_token_is_named() {
        embed(&[0.0; 6], &[0.0; 4], 2, &[0, 3]);
    }
}
