//! The instructions with which host bodies compute: the widest that the processor has, or fewer.
//!
//! `RESOLVENT_SIMD` limits them, so that one processor can test and time what others run.

use std::sync::OnceLock;

use pulp::Arch;

use crate::error::{Error, Result};

/// The variable that names the widest instructions to use.
const VARIABLE: &str = "RESOLVENT_SIMD";

/// What the variable accepts here, from the widest on. `baseline` are those that every processor of the target has.
#[cfg(target_arch = "x86_64")]
const NAMES: &[&str] = &["avx512", "avx2", "baseline"];
#[cfg(target_arch = "aarch64")]
const NAMES: &[&str] = &["neon", "baseline"];
#[cfg(target_arch = "wasm32")]
const NAMES: &[&str] = &["simd128", "baseline"];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "wasm32")))]
const NAMES: &[&str] = &["baseline"];

/// Returns the instructions of host bodies: the widest that the processor has and that `RESOLVENT_SIMD` allows.
///
/// A variable that names none of them is ignored here; opening a device refuses it.
pub fn instructions() -> Arch {
    static CHOSEN: OnceLock<Arch> = OnceLock::new();
    *CHOSEN.get_or_init(|| limited(variable().as_deref()).unwrap_or_default())
}

/// Returns the name of these instructions, as `RESOLVENT_SIMD` accepts it.
pub(super) fn name(arch: Arch) -> &'static str {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => "avx2",
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(_) => "neon",
        #[cfg(target_arch = "wasm32")]
        Arch::Simd128(_) => "simd128",
        _ => "baseline",
    }
}

/// Checks the variable.
pub(crate) fn check() -> Result<()> {
    match variable() {
        Some(text) if limited(Some(&text)).is_none() => Err(unknown(text)),
        _ => Ok(()),
    }
}

fn unknown(text: String) -> Error {
    Error::Instructions { text, names: NAMES.join(", ") }
}

/// Returns the value of the variable; an empty one is none.
fn variable() -> Option<String> {
    std::env::var_os(VARIABLE).map(|text| text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// Returns the widest instructions of this processor that `most` allows, or `None` for an unknown name.
fn limited(most: Option<&str>) -> Option<Arch> {
    let Some(most) = most else { return Some(Arch::new()) };
    let most = NAMES.iter().position(|name| name.eq_ignore_ascii_case(most))?;
    all().into_iter().find(|&arch| NAMES.iter().position(|known| *known == name(arch)) >= Some(most))
}

/// Returns all instructions of this processor, from the widest on.
pub(super) fn all() -> Vec<Arch> {
    let mut all = vec![Arch::new()];
    #[cfg(target_arch = "x86_64")]
    all.extend(pulp::x86::V3::try_new().map(Arch::V3));
    all.push(Arch::Scalar);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_allowed_instructions_are_chosen() {
        let widest = name(Arch::new());
        assert_eq!(limited(None).map(name), Some(widest));
        assert_eq!(limited(Some("baseline")).map(name), Some("baseline"));
        assert_eq!(limited(Some("Baseline")).map(name), Some("baseline"));
        assert_eq!(limited(Some(NAMES[0])).map(name), Some(widest), "more than the processor has");
        for name in ["sse9", "AVX 2", "none"] {
            assert!(limited(Some(name)).is_none(), "{name}");
        }
        #[cfg(target_arch = "x86_64")]
        if pulp::x86::V3::try_new().is_some() {
            assert_eq!(limited(Some("avx2")).map(name), Some("avx2"));
        }
        let said = unknown("sse9".to_owned()).to_string();
        assert!(said.starts_with("RESOLVENT_SIMD=sse9 names no instructions: expected "), "{said}");
    }
}
