//! Observables as text: `logit(#6342)@4 - logit(#5)@4`, written by `Display` and read by [`Observable::parse`].
//!
//! ```text
//! observable  =  ["-"] term { ("+" | "-") term }
//! term        =  [NUMBER "*"] quantity ["@" POSITION]
//! quantity    =  logit(TOKEN) | logprob(TOKEN) | prob(TOKEN "|" TOKEN ..) | entropy() | kl(base) | kl_from(base)
//!             |  project(LEVEL, POSITION, [NUMBER, ..] or "FILE") | continuation(TEXT) | continuation(TOKEN, TOKEN ..)
//! TOKEN       =  #ID | "text that is one token"
//! ```

use std::fmt;

use resolvent_engine::did_you_mean;

use crate::error::{Error, Result, shown};
use crate::observable::{Distribution, Observable, Quantity, Term};
use crate::prompt::from_end;
use crate::tokenizer::{Tokenizer, id_argument};

/// Returns the direction `[d]` that a file contains.
pub type ReadDirection<'a> = &'a dyn Fn(&str) -> Result<Vec<f32>>;

/// What the text of an observable refers to.
#[derive(Clone, Copy, Default)]
pub struct ObservableContext<'a> {
    /// The number of tokens of the prompt, to which positions refer.
    pub tokens: usize,
    /// Looks up tokens that are given as text.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Returns the distribution at a position of the run that `base` denotes.
    pub base: Option<&'a dyn Fn(usize) -> Result<Distribution>>,
    /// Reads a direction `[d]` from a file.
    pub direction: Option<ReadDirection<'a>>,
}

impl fmt::Debug for ObservableContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservableContext").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// Writes the observable in the grammar that [`Observable::parse`] reads, with token ids and positions from 0:
/// `0.5 * logit(#3)@4 - logprob(#5)@4`, `prob(#3|#4)@4`, `kl(base)@4`, `project(2, 4, [1, 0.5])`; without terms, `0`.
impl fmt::Display for Observable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms().is_empty() {
            return f.write_str("0");
        }
        for (i, Term { weight, quantity, position }) in self.terms().iter().enumerate() {
            f.write_str(match (i, weight.is_sign_negative()) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            })?;
            if weight.abs() != 1.0 {
                write!(f, "{} * ", weight.abs())?;
            }
            let ids = |ids: &[u32], between: &str| {
                ids.iter().map(|id| format!("#{id}")).collect::<Vec<String>>().join(between)
            };
            match quantity {
                Quantity::Logit(id) => write!(f, "logit(#{id})@{position}"),
                Quantity::LogProb(id) => write!(f, "logprob(#{id})@{position}"),
                Quantity::Prob(set) => write!(f, "prob({})@{position}", ids(set, "|")),
                Quantity::Entropy => write!(f, "entropy()@{position}"),
                Quantity::Kl(_) => write!(f, "kl(base)@{position}"),
                Quantity::KlFrom(_) => write!(f, "kl_from(base)@{position}"),
                Quantity::Continuation(all) => write!(f, "continuation({})@{position}", ids(all, ", ")),
                Quantity::Project { level, direction } => {
                    let direction: Vec<String> = direction.iter().map(f32::to_string).collect();
                    write!(f, "project({level}, {position}, [{}])", direction.join(", "))
                }
            }?;
        }
        Ok(())
    }
}

impl Observable {
    /// Reads an observable: the inverse of `Display`.
    ///
    /// A position counts from 0, or from the end if it is negative; without one, it is -1.
    ///
    /// ```
    /// use resolvent_model::{Observable, ObservableContext};
    ///
    /// let context = ObservableContext { tokens: 5, ..Default::default() };
    /// let j = Observable::parse("logit(#2) - 0.5 * prob(#6|#7)@-2", &context)?;
    /// assert_eq!(j, Observable::logit(2, 4) - 0.5 * Observable::prob(&[6, 7], 3));
    /// assert_eq!(j.to_string(), "logit(#2)@4 - 0.5 * prob(#6|#7)@3");
    /// # Ok::<(), resolvent_model::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Observable`]: the text does not follow the grammar, or names what the context lacks.
    /// [`Error::Place`]: a position is out of range. [`Error::Token`]: a text is not one token.
    pub fn parse(text: &str, context: &ObservableContext<'_>) -> Result<Self> {
        let mut reader = Reader { text, rest: text, context };
        if text.trim() == "0" {
            return Ok(Self::default());
        }
        let found = reader.sum()?;
        match reader.peek() {
            "" => Ok(found),
            _ => Err(reader.expected("`+`, `-` or the end of the text")),
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

/// The names with which a term begins.
const QUANTITIES: [&str; 8] = ["logit", "logprob", "prob", "entropy", "kl", "kl_from", "project", "continuation"];

/// The text of an observable, and its remainder.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    context: &'a ObservableContext<'a>,
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

    /// Skips white space and returns the remainder.
    fn peek(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn take(&mut self, part: &str) -> bool {
        let after = self.peek().strip_prefix(part);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn need(&mut self, part: &str) -> Result<()> {
        if self.take(part) { Ok(()) } else { Err(self.expected(&format!("`{part}`"))) }
    }

    /// Takes the longest span of characters for which `is_part` holds.
    fn span(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.peek();
        let (span, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        self.rest = after;
        span
    }

    /// Takes an integer with an optional minus sign.
    fn integer<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let start = self.peek();
        let sign = if self.take("-") { "-" } else { "" };
        let text = format!("{sign}{}", self.span(|c| c.is_ascii_digit()));
        text.parse().map_err(|_| {
            self.rest = start;
            self.expected(what)
        })
    }

    /// Takes a finite number such as `0.5` or `-1e-3`.
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

    /// Takes a text in quotes, if one follows. A backslash makes the next character literal, or `\n`, `\t` and `\r`.
    fn quoted(&mut self) -> Result<Option<String>> {
        let Some(quote) = self.peek().chars().next().filter(|c| matches!(c, '"' | '\'')) else { return Ok(None) };
        let (mut text, mut escaped) = (String::new(), false);
        for (at, c) in self.rest.char_indices().skip(1) {
            match (escaped, c) {
                (true, 'n') => text.push('\n'),
                (true, 't') => text.push('\t'),
                (true, 'r') => text.push('\r'),
                (true, other) => text.push(other),
                (false, '\\') => {}
                (false, c) if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(Some(text));
                }
                (false, other) => text.push(other),
            }
            escaped = !escaped && c == '\\';
        }
        Err(self.fail(format!("expected `{quote}` after the text that begins at `{}`", shown(self.rest))))
    }

    fn tokenizer(&self) -> Result<&'a Tokenizer> {
        let missing = || self.fail("a token given as text requires a tokenizer; write its id, such as #1234");
        self.context.tokenizer.ok_or_else(missing)
    }

    /// Takes a token: `#ID`, or a text that is one token.
    fn token(&mut self) -> Result<u32> {
        if let Some(text) = self.quoted()? {
            return self.tokenizer()?.single(&text);
        }
        if !self.take("#") {
            return Err(self.expected("a token, #ID or \"text\","));
        }
        self.integer("a token id")
    }

    /// Takes tokens with `between` between them.
    fn tokens(&mut self, between: &str) -> Result<Vec<u32>> {
        let mut ids = vec![self.token()?];
        while self.take(between) {
            ids.push(self.token()?);
        }
        Ok(ids)
    }

    /// Takes `@POSITION`; without it, the position is the last token.
    fn position(&mut self) -> Result<usize> {
        let at = if self.take("@") { self.integer("a position")? } else { -1 };
        from_end("position", at, self.context.tokens)
    }

    fn sum(&mut self) -> Result<Observable> {
        let mut terms = Vec::new();
        loop {
            let negative = self.take("-");
            if !negative && !self.take("+") && !terms.is_empty() {
                return Ok(Observable::new(terms));
            }
            let weighted = self.peek().starts_with(|c: char| c == '.' || c.is_ascii_digit());
            let weight = if weighted { self.number()? } else { 1.0 };
            if weighted {
                self.need("*")?;
            }
            terms.push(self.term(if negative { -weight } else { weight })?);
        }
    }

    fn term(&mut self, weight: f32) -> Result<Term> {
        let start = self.peek();
        let name = self.span(|c| c.is_ascii_alphabetic() || c == '_');
        if !QUANTITIES.contains(&name) {
            self.rest = start;
            let error = self.expected(
                "logit(TOKEN), logprob(TOKEN), prob(TOKEN|TOKEN), entropy(), kl(base), kl_from(base), \
                 continuation(TEXT) or project(LEVEL, POSITION, [..])",
            );
            return Err(match error {
                Error::Observable { text, reason } => {
                    Error::Observable { text, reason: reason + &did_you_mean(name, QUANTITIES) }
                }
                other => other,
            });
        }
        self.need("(")?;
        if name == "project" {
            return self.projection(weight);
        }
        let quantity = match name {
            "logit" => Quantity::Logit(self.token()?),
            "logprob" => Quantity::LogProb(self.token()?),
            "prob" => Quantity::Prob(self.tokens("|")?),
            "continuation" => Quantity::Continuation(self.continuation()?),
            "kl" => return self.divergence((name, Quantity::Kl), weight),
            "kl_from" => return self.divergence((name, Quantity::KlFrom), weight),
            _ => Quantity::Entropy,
        };
        self.need(")")?;
        Ok(Term { weight, quantity, position: self.position()? })
    }

    /// Takes `base)`, after the opening parenthesis of a divergence, and its position.
    fn divergence(&mut self, (name, quantity): (&str, fn(Distribution) -> Quantity), weight: f32) -> Result<Term> {
        self.need("base")?;
        self.need(")")?;
        let position = self.position()?;
        let base = self.context.base.ok_or_else(|| self.fail(format!("{name}(base) requires a base run")))?;
        Ok(Term { weight, quantity: quantity(base(position)?), position })
    }

    /// Takes the tokens of a continuation: a text of any number of tokens, or a list.
    fn continuation(&mut self) -> Result<Vec<u32>> {
        let start = self.peek();
        match self.quoted()? {
            Some(text) if self.peek().starts_with(')') => {
                let ids = self.tokenizer()?.encode(&text)?;
                if ids.is_empty() {
                    return Err(self.fail("a continuation needs a text of at least one token"));
                }
                Ok(ids)
            }
            _ => {
                self.rest = start;
                self.tokens(",")
            }
        }
    }

    /// Takes the arguments of `project`, after the opening parenthesis.
    fn projection(&mut self, weight: f32) -> Result<Term> {
        let level = self.integer("a level")?;
        self.need(",")?;
        let position = from_end("position", self.integer("a position")?, self.context.tokens)?;
        self.need(",")?;
        let direction = match self.quoted()? {
            Some(file) => {
                let read = self.context.direction.ok_or_else(|| self.fail("a direction in a file is not read here"))?;
                read(&file)?
            }
            None => self.numbers()?,
        };
        self.need(")")?;
        Ok(Term { weight, quantity: Quantity::Project { level, direction }, position })
    }

    /// Takes a list of numbers in brackets.
    fn numbers(&mut self) -> Result<Vec<f32>> {
        self.need("[")?;
        let mut numbers = Vec::new();
        if self.take("]") {
            return Ok(numbers);
        }
        loop {
            numbers.push(self.number()?);
            if self.take("]") {
                return Ok(numbers);
            }
            self.need(",")?;
        }
    }
}

#[cfg(test)]
#[path = "observable_text_tests.rs"]
mod tests;
