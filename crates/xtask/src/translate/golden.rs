//! Hashes of all translations, which are committed: a change of a kernel, or of the translator, is seen by its effect
//! on each shading language.

use std::fmt::Write as _;
use std::fs;

use super::Translated;
use crate::process::{Result, root};

/// The committed hashes, from the root.
const FILE: &str = "tests/data/translations.txt";

/// Columns of hashes.
const LANGUAGES: [&str; 3] = ["SPIR-V", "MSL", "HLSL"];

/// What has no HLSL.
const NONE: &str = "-";

/// A kernel and variant with the hash of each translation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// Kernel and variant.
    name: [String; 2],
    hashes: [String; 3],
}

impl Line {
    pub(super) fn new(kernel: &str, variant: &str, translated: &Translated) -> Self {
        let words: Vec<u8> = translated.spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
        let hlsl = translated.hlsl.as_ref().map_or_else(|| NONE.to_owned(), |text| hash(text.as_bytes()));
        let name = [kernel, variant].map(str::to_owned);
        Self { name, hashes: [hash(&words), hash(translated.msl.as_bytes()), hlsl] }
    }

    fn read(line: &str) -> Option<Self> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let [kernel, variant, spirv, msl, hlsl] = <[String; 5]>::try_from(words).ok()?;
        Some(Self { name: [kernel, variant], hashes: [spirv, msl, hlsl] })
    }

    fn title(&self) -> String {
        format!("{} ({})", self.name[0], self.name[1])
    }
}

/// FNV-1a in 64 bits: enough to see a change, and the same on every machine.
fn hash(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// Replaces the committed hashes.
pub(super) fn write(lines: &[Line]) -> Result {
    let mut text = format!(
        "# Hashes (FNV-1a, 64 bits) of the kernels as naga translates them. `cargo xtask shaders` compares them, and\n\
         # `cargo xtask shaders renew` writes them. Columns: kernel, variant, {}.\n",
        LANGUAGES.join(", ")
    );
    for line in lines {
        _ = writeln!(text, "{} {}", line.name.join(" "), line.hashes.join(" "));
    }
    fs::write(root().join(FILE), text).map_err(|e| format!("{FILE}: {e}"))?;
    eprintln!("wrote {FILE}");
    Ok(())
}

/// Compares hashes with the committed ones, and prints every kernel that differs.
pub(super) fn compare(lines: &[Line]) -> Result {
    let text = fs::read_to_string(root().join(FILE)).map_err(|e| format!("{FILE}: {e}"))?;
    let changes = changes(&text, lines)?;
    for change in &changes {
        eprintln!("{change}");
    }
    match changes.len() {
        0 => Ok(()),
        n => {
            let of = lines.len();
            Err(format!("{n} of {of} kernels differ from {FILE}; if that is intended, run `cargo xtask shaders renew`"))
        }
    }
}

/// Returns what differs between the committed text and `lines`.
fn changes(text: &str, lines: &[Line]) -> Result<Vec<String>> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| Line::read(line).ok_or_else(|| format!("{FILE}: `{line}` has not five columns"));
    let committed = rows.map(read).collect::<Result<Vec<Line>>>()?;
    let mut changes = Vec::new();
    for line in lines {
        let Some(other) = committed.iter().find(|other| other.name == line.name) else {
            changes.push(format!("{}: new", line.title()));
            continue;
        };
        let pairs = line.hashes.iter().zip(&other.hashes).zip(LANGUAGES);
        let changed: Vec<&str> = pairs.filter(|((a, b), _)| a != b).map(|(_, language)| language).collect();
        if !changed.is_empty() {
            changes.push(format!("{}: other {}", line.title(), changed.join(", ")));
        }
    }
    let gone = committed.iter().filter(|other| lines.iter().all(|line| line.name != other.name));
    changes.extend(gone.map(|other| format!("{}: removed", other.title())));
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_named() {
        let line = |kernel: &str, msl: &str, hlsl: Option<&str>| {
            let hlsl = hlsl.map(str::to_owned);
            Line::new(kernel, "base", &Translated { spirv: vec![1, 2], msl: msl.to_owned(), hlsl })
        };
        let all = [line("add.primal", "a", Some("b")), line("add.jvp", "c", None)];
        let text = |lines: &[Line]| {
            let row = |line: &Line| format!("{} {}\n", line.name.join(" "), line.hashes.join(" "));
            "# kernel\n".to_owned() + &lines.iter().map(row).collect::<String>()
        };
        assert_eq!(changes(&text(&all), &all), Ok(vec![]));
        let other = [line("add.primal", "A", Some("B")), all[1].clone()];
        assert_eq!(changes(&text(&all), &other), Ok(vec!["add.primal (base): other MSL, HLSL".to_owned()]));
        let gone = ["add.jvp (base): removed".to_owned()];
        assert_eq!(changes(&text(&all), &all[..1]), Ok(gone.to_vec()));
        assert_eq!(changes(&text(&all[..1]), &all), Ok(vec!["add.jvp (base): new".to_owned()]));
        assert!(changes("add.primal base 1\n", &all).is_err());
        // The published test vector of the hash.
        assert_eq!(hash(b"foobar"), "85944171f73967e8");
    }
}
