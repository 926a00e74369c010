//! The variants of a shader are the same kernels for different devices: same entries, bindings and overrides.
//! Only a workgroup may differ, and then by a number of `variants.toml`, so that the host can tell which it is; and a
//! binding may be read as vectors in one variant and as their scalars in another, or as packed words instead of numbers.

use super::{
    assemble::Source,
    manifest::Switches,
    problem::Problem,
    reflect::{Entry, Extent},
};
use crate::kind::Element;

/// The entries that all variants agree on, or where they differ from the first, which is `base`.
pub(crate) fn merge(source: &Source, variants: &[(&Switches, Vec<Entry>)]) -> Result<Vec<Entry>, Vec<Problem>> {
    let Some(((base, expected), others)) = variants.split_first() else { return Ok(Vec::new()) };
    let first = &base.variant;
    let mut problems = Vec::new();
    for (switches, entries) in others {
        let variant = &switches.variant;
        let names = |entries: &[Entry]| entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
        if names(entries) != names(expected) {
            let message = format!(
                "variant `{variant}` has the entries {}, `{first}` has {}",
                names(entries).join(", "),
                names(expected).join(", ")
            );
            problems.push(Problem::new(&source.path, 0, message));
            continue;
        }
        for (entry, expected) in entries.iter().zip(expected) {
            let Some((what, there, here)) = difference(expected, entry) else { continue };
            let message = format!("`{}` has other {what} in variant `{variant}` than in `{first}`", entry.name);
            problems.push(
                Problem::new(&source.path, 0, message)
                    .detail(format!("{first}: {there}"))
                    .detail(format!("{variant}: {here}")),
            );
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut merged = expected.clone();
    for (index, entry) in merged.iter_mut().enumerate() {
        for dimension in 0..3 {
            let extents: Vec<&Extent> = variants.iter().map(|(_, all)| &all[index].workgroup[dimension]).collect();
            if extents.iter().all(|extent| *extent == extents[0]) {
                continue;
            }
            match common_number(variants, &extents) {
                Some(name) => entry.workgroup[dimension] = Extent::Number(name),
                None => problems.push(
                    Problem::new(&source.path, 0, format!("`{}` has another workgroup in every variant", entry.name))
                        .detail(format!("dimension {dimension}: {extents:?}"))
                        .detail("one that differs has to be a number of shaders/variants.toml, used as it is"),
                ),
            }
        }
    }
    if problems.is_empty() { Ok(merged) } else { Err(problems) }
}

/// The number that has the extent's value in every variant. naga folds the constant into the workgroup size, so its
/// name can only be found again by its values; two numbers that agree in all variants serve equally well.
fn common_number(variants: &[(&Switches, Vec<Entry>)], extents: &[&Extent]) -> Option<String> {
    let (base, _) = variants.first()?;
    let holds = |name: &str| {
        variants.iter().zip(extents).all(|((switches, _), extent)| {
            let value = switches.numbers.iter().find(|(key, _)| key == name);
            value.is_some_and(|(_, value)| **extent == Extent::Literal(*value))
        })
    };
    base.numbers.iter().map(|(name, _)| name).find(|name| holds(name)).cloned()
}

/// What an element is made of, as far as variants have to agree: words of four bytes hold a number or, packed, several.
fn word(element: Element) -> Element {
    match element.component() {
        Element::U32 => Element::F32,
        other => other,
    }
}

fn difference(expected: &Entry, entry: &Entry) -> Option<(&'static str, String, String)> {
    let memory = |entry: &Entry| {
        let each = entry.bindings.iter().map(|b| (b.slot, b.name.clone(), b.access, word(b.element)));
        each.collect::<Vec<_>>()
    };
    if memory(expected) != memory(entry) {
        return Some(("bindings", format!("{:?}", expected.bindings), format!("{:?}", entry.bindings)));
    }
    if expected.params_size != entry.params_size {
        let bytes = |entry: &Entry| format!("{} bytes", entry.params_size);
        return Some(("params", bytes(expected), bytes(entry)));
    }
    if expected.overrides != entry.overrides {
        return Some(("overrides", format!("{:?}", expected.overrides), format!("{:?}", entry.overrides)));
    }
    None
}
