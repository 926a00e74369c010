//! A text of each of many prompts, of which memory has one as long as all are equal.

use std::io;

use serde_json::Value;

use crate::store::{Room, Spool};

/// The texts of all prompts so far; a prompt may have none.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    first: Option<String>,
    count: usize,
    /// All texts as JSON, once they differ.
    list: Option<Spool<'a>>,
}

impl<'a> Texts<'a> {
    /// Returns the texts of `count` prompts that have none.
    pub(super) fn absent(count: usize) -> Self {
        Self { first: None, count, list: None }
    }

    /// Returns the same as a list, which it stays even if all texts are equal.
    pub(super) fn list(count: usize, room: Room<'a>) -> io::Result<Self> {
        let mut list = Spool::new(room);
        (0..count).try_for_each(|_| list.push("null"))?;
        Ok(Self { first: None, count, list: Some(list) })
    }

    pub(super) fn push(&mut self, text: Option<&str>, room: Room<'a>) -> io::Result<()> {
        if self.count == 0 {
            self.first = text.map(str::to_owned);
        }
        if self.list.is_none() && self.first.as_deref() != text {
            let (mut list, first) = (Spool::new(room), Value::from(self.first.as_deref()).to_string());
            (0..self.count).try_for_each(|_| list.push(&first))?;
            self.list = Some(list);
        }
        self.count += 1;
        self.list.as_mut().map_or(Ok(()), |list| list.push(&Value::from(text).to_string()))
    }

    /// Returns whether all prompts have this text.
    pub(super) fn is(&self, text: &str) -> bool {
        self.list.is_none() && self.first.as_deref() == Some(text)
    }

    /// Returns the text of all prompts, or the list of their texts.
    pub(super) fn into(self) -> Result<String, Spool<'a>> {
        self.list.map_or_else(|| Ok(self.first.unwrap_or_default()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_others_a_list() {
        let of = |texts: &[Option<&str>], mut all: Texts<'static>| {
            texts.iter().for_each(|text| all.push(*text, Room::MEMORY).expect("memory"));
            all.into().map_err(|list| {
                let mut lines = Vec::new();
                list.each(&mut |line| {
                    lines.push(line.to_owned());
                    Ok(())
                })
                .expect("memory");
                lines.join(",")
            })
        };
        assert_eq!(of(&[Some("a"); 3], Texts::absent(0)), Ok("a".to_owned()));
        assert_eq!(of(&[Some("a"), Some("a"), None], Texts::absent(0)), Err("\"a\",\"a\",null".to_owned()));
        assert_eq!(of(&[Some("a\n")], Texts::absent(2)), Err("null,null,\"a\\n\"".to_owned()));
        assert_eq!(
            of(&[Some("a"); 2], Texts::list(1, Room::MEMORY).expect("memory")),
            Err("null,\"a\",\"a\"".to_owned())
        );
    }
}
