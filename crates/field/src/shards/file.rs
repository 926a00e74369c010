//! The file of a shard: a safetensors file with the arrays of each prompt, `N.NAME`, and with everything else in its
//! metadata.
//!
//! The metadata has a hash of the whole file, in which the hash itself counts as zeros. So a file that a crash of the
//! machine or a network folder has torn is told from a complete one, and nothing waits for the disk.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::labelled::{Array, Labelled};
use crate::prompts::Prompts;
use crate::read::{from_safetensors, interned};
use crate::study::left_out;

/// The contents of a shard.
pub(super) struct Shard {
    pub(super) results: Prompts,
    /// Rows of the shard that do not fit the model.
    pub(super) rows_left_out: usize,
}

/// Why there is no shard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Damage {
    Missing,
    Broken,
}

/// Writes what follows the number of the shard in a list of missing ones.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "",
            Self::Broken => " (damaged)",
        })
    }
}

/// The key of the hash, and what precedes its digits in the header.
const HASH: &str = "hash";
const BEFORE: &[u8] = br#""hash":""#;
const DIGITS: usize = 64;

/// Returns the bytes of a shard's file.
pub(super) fn to_bytes(results: &Prompts, rows_left_out: usize, facts: Map<String, Value>) -> Result<Vec<u8>> {
    let mut file = Labelled::default();
    let mut about = Vec::with_capacity(results.results.len());
    for (n, one) in results.results.iter().enumerate() {
        one.finite()?;
        let strings: BTreeMap<String, String> =
            one.strings().into_iter().filter(|(key, _)| !key.starts_with("axes.")).collect();
        let roles: BTreeMap<&String, [usize; 2]> =
            results.roles[n].iter().map(|(name, role)| (name, [role.start, role.end])).collect();
        about.push(json!({
            "name": results.names[n], "length": results.lengths[n], "roles": roles, "metadata": strings,
        }));
        let named = |array: &Array| Array { name: interned(&format!("{n}.{}", array.name)), ..array.clone() };
        file.arrays.extend(one.arrays.iter().map(named));
    }
    file = left_out::write(file, &results.left_out)
        .note("prompts", Value::from(about).to_string())
        .note("rows_left_out", rows_left_out.to_string())
        .note("work", Value::from(facts).to_string())
        .note(HASH, "0".repeat(DIGITS));
    let mut bytes = file.to_safetensors()?;
    if let Some(at) = digits(&bytes) {
        let hash = blake3::hash(&bytes).to_hex();
        bytes[at..at + DIGITS].copy_from_slice(hash.as_bytes());
    }
    Ok(bytes)
}

/// Reads the contents of a shard's file, and the facts of its work.
///
/// # Errors
/// A file that is not whole.
pub(super) fn from_bytes(mut bytes: Vec<u8>) -> Result<(Shard, Map<String, Value>), Damage> {
    let at = digits(&bytes).ok_or(Damage::Broken)?;
    let stored = bytes[at..at + DIGITS].to_vec();
    bytes[at..at + DIGITS].fill(b'0');
    if blake3::hash(&bytes).to_hex().as_bytes() != stored {
        return Err(Damage::Broken);
    }
    let file = from_safetensors(&bytes).map_err(|_| Damage::Broken)?;
    let read = |key: &str| serde_json::from_str::<Value>(file.metadata.get(key)?).ok();
    let whole = || {
        let facts = read("work")?.as_object()?.clone();
        let mut results = Prompts { left_out: left_out::read(&file), ..Prompts::default() };
        let mut arrays = by_prompt(&file.arrays)?;
        for (n, about) in read("prompts")?.as_array()?.iter().enumerate() {
            let strings: BTreeMap<String, String> = serde_json::from_value(about["metadata"].clone()).ok()?;
            let roles: BTreeMap<String, [usize; 2]> = serde_json::from_value(about["roles"].clone()).ok()?;
            let mut result = Labelled::about(&strings).ok()?;
            result.arrays = arrays.remove(&n).unwrap_or_default();
            results.results.push(result);
            results.names.push(about["name"].as_str()?.to_owned());
            results.lengths.push(about["length"].as_u64()? as usize);
            results.roles.push(roles.into_iter().map(|(name, [start, end])| (name, start..end)).collect());
        }
        let rows_left_out = file.metadata.get("rows_left_out")?.parse().ok()?;
        Some((Shard { results, rows_left_out }, facts))
    };
    whole().ok_or(Damage::Broken)
}

/// Returns the arrays of each prompt under their own names, in their order.
fn by_prompt(arrays: &[Array]) -> Option<BTreeMap<usize, Vec<Array>>> {
    let mut found: BTreeMap<usize, Vec<Array>> = BTreeMap::new();
    for array in arrays {
        let (n, name) = array.name.split_once('.')?;
        found.entry(n.parse().ok()?).or_default().push(Array { name: interned(name), ..array.clone() });
    }
    Some(found)
}

/// Returns where the digits of the hash are. Quotes in other texts of the header are escaped, so they are not mistaken
/// for it.
fn digits(bytes: &[u8]) -> Option<usize> {
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let end = usize::try_from(length).ok()?.checked_add(8)?;
    let header = bytes.get(..end)?;
    let at = header.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    (at + DIGITS <= end).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Certificate;
    use crate::study::left_out::LeftOut;

    fn prompts() -> Prompts {
        let mut prompts = Prompts {
            left_out: vec![LeftOut::from_error("bad", &crate::Error::Input("no".into()))],
            ..Prompts::default()
        };
        for n in 0..3 {
            let gaps = [1.0 / 3.0, f32::NAN, -f32::INFINITY];
            let map = gaps.into_iter().cycle().take(n + 1).collect();
            let result = Labelled::default()
                .with("map.z", &[("token", n + 1)], map)
                .with("value", &[("value", 1)], vec![n as f32])
                .note("analysis", "test")
                // This is not the hash of the file, whatever it looks like.
                .note("text", r#""hash":"x"#)
                .certify(Certificate::new("same", 1e-6 / 3.0, 1e-5).with_noise(1e-7 / 7.0))
                .expect("passes");
            prompts.results.push(result);
            prompts.names.push(format!(r#"{n} "hash":""#));
            prompts.lengths.push(n + 1);
            prompts.roles.push([("first".to_owned(), 0..1)].into());
        }
        prompts
    }

    fn facts() -> Map<String, Value> {
        [("version".to_owned(), Value::from("1"))].into_iter().collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let written = prompts();
        let bytes = to_bytes(&written, 2, facts()).expect("bytes");
        assert_eq!(bytes, to_bytes(&written, 2, facts()).expect("bytes"), "equal results have equal bytes");
        let Ok((read, of)) = from_bytes(bytes) else { panic!("it is whole") };
        assert_eq!((read.rows_left_out, of), (2, facts()));
        assert_eq!((&read.results.names, &read.results.left_out), (&written.names, &written.left_out));
        // NaN does not equal itself, so the bytes of the stacked results are compared.
        let [a, b] =
            [&written, &read.results].map(|all| all.stack().and_then(|all| all.to_safetensors()).expect("bytes"));
        assert_eq!(a, b);
    }

    #[test]
    fn every_damaged_byte_is_seen() {
        let bytes = to_bytes(&prompts(), 0, facts()).expect("bytes");
        assert!(from_bytes(bytes.clone()).is_ok());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(from_bytes(damaged).is_err(), "byte {at}");
            assert!(from_bytes(bytes[..at].to_vec()).is_err(), "cut at {at}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(from_bytes(longer).is_err());
    }
}
