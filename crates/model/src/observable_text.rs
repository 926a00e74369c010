//! Observables as text: `logit(#6342)@4 - logit(#5)@4`, written by `Display` and read by [`Observable::parse`].

use std::fmt;

use crate::error::{Error, Result, shown};
use crate::observable::{Distribution, Observable};
use crate::prompt::from_end;
use crate::tokenizer::id_argument;

/// Writes the observable in the grammar that [`Observable::parse`] reads, with token ids and positions from 0:
/// `0.5 * logit(#3)@4 - logit(#5)@4`, `logprob(#3)@4`, `kl(base)@4`, `project(2, 4, [1, 0.5])`.
impl fmt::Display for Observable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logits { position, terms } => {
                for (i, (id, weight)) in terms.iter().enumerate() {
                    let sign = match (i, weight.is_sign_negative()) {
                        (0, false) => "",
                        (0, true) => "-",
                        (_, false) => " + ",
                        (_, true) => " - ",
                    };
                    f.write_str(sign)?;
                    if weight.abs() != 1.0 {
                        write!(f, "{} * ", weight.abs())?;
                    }
                    write!(f, "logit(#{id})@{position}")?;
                }
                Ok(())
            }
            Self::LogProb { position, target } => write!(f, "logprob(#{target})@{position}"),
            Self::Divergence { position, .. } => write!(f, "kl(base)@{position}"),
            Self::Field { level, token, direction } => {
                let direction: Vec<String> = direction.iter().map(f32::to_string).collect();
                write!(f, "project({level}, {token}, [{}])", direction.join(", "))
            }
        }
    }
}

impl Observable {
    /// Reads an observable of a prompt of `tokens` tokens: the inverse of `Display`.
    ///
    /// `base` is the distribution that `kl(base)` denotes. A position counts from 0, or from the end if it is negative;
    /// without one, it is -1. Tokens are ids.
    ///
    /// ```
    /// use resolvent_model::Observable;
    ///
    /// let j = Observable::parse("logit(#2) - logit(#6)", 5, None)?;
    /// assert_eq!(j, Observable::logit_diff(2, 6, 4));
    /// assert_eq!(j.to_string(), "logit(#2)@4 - logit(#6)@4");
    /// # Ok::<(), resolvent_model::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Observable`]: the text does not follow the grammar, or has `kl(base)` without a base.
    /// [`Error::Place`]: a position is out of range.
    pub fn parse(text: &str, tokens: usize, base: Option<&Distribution>) -> Result<Self> {
        let mut reader = Reader { text, rest: text, tokens };
        let found = match reader.take("project") {
            true => reader.projection()?,
            false => reader.sum(base)?,
        };
        match reader.peek() {
            "" => Ok(found),
            _ => Err(reader.expected("the end of the text")),
        }
    }
}

/// Returns a token argument as the text of an observable shows it: an id as `#1234`, a text in quotes.
pub fn token_text(argument: &str) -> String {
    match id_argument(argument) {
        Some(Some(id)) => format!("#{id}"),
        _ => format!("{argument:?}"),
    }
}

/// The text of an observable, and the part of it that is still unread.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    tokens: usize,
}

impl<'a> Reader<'a> {
    fn fail(&self, reason: impl Into<String>) -> Error {
        Error::Observable { text: shown(self.text), reason: reason.into() }
    }

    fn expected(&mut self, what: &str) -> Error {
        match self.peek() {
            "" => self.fail(format!("expected {what} at its end")),
            rest => self.fail(format!("expected {what} at `{}`", shown(rest))),
        }
    }

    /// Skips blanks, and returns the unread rest.
    fn peek(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    /// Skips `part` and returns true, if it is next.
    fn take(&mut self, part: &str) -> bool {
        let after = self.peek().strip_prefix(part);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn need(&mut self, part: &str) -> Result<()> {
        if self.take(part) { Ok(()) } else { Err(self.expected(&format!("`{part}`"))) }
    }

    /// Reads the longest run of characters for which `is_part` is true.
    fn span(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.peek();
        let (span, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        self.rest = after;
        span
    }

    /// Reads an integer, with an optional minus sign.
    fn integer<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let start = self.peek();
        let sign = if self.take("-") { "-" } else { "" };
        let text = format!("{sign}{}", self.span(|c| c.is_ascii_digit()));
        text.parse().map_err(|_| {
            self.rest = start;
            self.expected(what)
        })
    }

    /// Reads a finite number such as `0.5` or `-1e-3`.
    fn number(&mut self) -> Result<f32> {
        let start = self.peek();
        let sign = if self.take("-") { -1.0 } else { 1.0 };
        let digits = self.span(|c| c == '.' || c.is_ascii_digit());
        let mut text = digits.to_owned();
        if !digits.is_empty() && self.rest.starts_with(['e', 'E']) {
            self.rest = &self.rest[1..];
            let sign = if self.take("-") { "-" } else { "" };
            text += &format!("e{sign}{}", self.span(|c| c.is_ascii_digit()));
        }
        match text.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(sign * number),
            _ => {
                self.rest = start;
                Err(self.expected("a finite number"))
            }
        }
    }

    /// Reads `(#ID)`.
    fn id(&mut self) -> Result<u32> {
        self.need("(")?;
        if self.peek().starts_with(['"', '\'']) {
            return Err(self.fail("a token as text needs a tokenizer; write its id, such as #1234"));
        }
        self.need("#")?;
        let id = self.integer("a token id")?;
        self.need(")")?;
        Ok(id)
    }

    /// Reads `@POSITION`; without one, the position is the last.
    fn position(&mut self) -> Result<usize> {
        let at = if self.take("@") { self.integer("a position")? } else { -1 };
        from_end("position", at, self.tokens)
    }

    /// Reads a weighted sum of logits, or a single `logprob` or `kl`.
    fn sum(&mut self, base: Option<&Distribution>) -> Result<Observable> {
        let (mut terms, mut all_at) = (Vec::new(), None);
        loop {
            let negative = self.take("-");
            if !negative && !self.take("+") && !terms.is_empty() {
                break;
            }
            let weighted = self.peek().starts_with(|c: char| c == '.' || c.is_ascii_digit());
            let weight = if weighted { self.number()? } else { 1.0 };
            if weighted {
                self.need("*")?;
            }
            let is_alone = terms.is_empty() && !negative && !weighted;
            let start = self.peek();
            match self.span(|c| c.is_ascii_alphabetic()) {
                "logit" => {
                    let (id, at) = (self.id()?, self.position()?);
                    let position = *all_at.get_or_insert(at);
                    if position != at {
                        return Err(self.fail(format!(
                            "logits at positions {position} and {at}; write one position for all of them"
                        )));
                    }
                    terms.push((id, if negative { -weight } else { weight }));
                }
                "logprob" if is_alone => {
                    let target = self.id()?;
                    return Ok(Observable::LogProb { target, position: self.position()? });
                }
                "kl" if is_alone => {
                    self.need("(")?;
                    self.need("base")?;
                    self.need(")")?;
                    let position = self.position()?;
                    let base = base.ok_or_else(|| self.fail("kl(base) needs the distribution of a base run"))?;
                    return Ok(Observable::Divergence { position, base: base.clone() });
                }
                _ => {
                    self.rest = start;
                    let what = match is_alone {
                        true => "logit(#ID), logprob(#ID), kl(base) or project(LEVEL, TOKEN, [..])",
                        false => "logit(#ID), since a weighted sum contains only logits,",
                    };
                    return Err(self.expected(what));
                }
            }
        }
        let position = all_at.ok_or_else(|| self.expected("logit(#ID)"))?;
        Ok(Observable::Logits { position, terms })
    }

    /// Reads what follows `project`.
    fn projection(&mut self) -> Result<Observable> {
        self.need("(")?;
        let level = self.integer("a level")?;
        self.need(",")?;
        let token = from_end("position", self.integer("a position")?, self.tokens)?;
        self.need(",")?;
        self.need("[")?;
        let mut direction = Vec::new();
        if !self.take("]") {
            loop {
                direction.push(self.number()?);
                if self.take("]") {
                    break;
                }
                self.need(",")?;
            }
        }
        self.need(")")?;
        Ok(Observable::Field { level, token, direction })
    }
}

#[cfg(test)]
#[path = "observable_text_tests.rs"]
mod tests;
