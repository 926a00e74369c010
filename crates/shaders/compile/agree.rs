//! Checks that the variants of a shader are the same kernels for different devices: same entries, bindings, overrides.
//!
//! Two things may differ. A workgroup size may differ by a number of `variants.toml`, from which the host can tell it.
//! A binding may be read as vectors or as their scalars, as packed words or as f32.

use super::{
    assemble::Source,
    manifest::Switches,
    problem::Problem,
    reflect::{Entry, Extent},
};
use crate::kind::Element;

/// Returns the entries on which all variants agree, or their differences from the first variant, which is `base`.
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
                    Problem::new(
                        &source.path,
                        0,
                        format!("the workgroup of `{}` differs between variants", entry.name),
                    )
                    .detail(format!("dimension {dimension}: {extents:?}"))
                    .detail("a size that differs has to be a number of shaders/variants.toml, used unchanged"),
                ),
            }
        }
    }
    if problems.is_empty() { Ok(merged) } else { Err(problems) }
}

/// Returns the number of `variants.toml` that has the extent's value in every variant. naga folds the constant into the
/// workgroup size, so only its values identify it. Two numbers that agree in all variants are equivalent.
fn common_number(variants: &[(&Switches, Vec<Entry>)], extents: &[&Extent]) -> Option<String> {
    let (base, _) = variants.first()?;
    let fits = |name: &str| {
        variants.iter().zip(extents).all(|((switches, _), extent)| {
            let value = switches.numbers.iter().find(|(key, _)| key == name);
            value.is_some_and(|(_, value)| **extent == Extent::Literal(*value))
        })
    };
    base.numbers.iter().map(|(name, _)| name).find(|name| fits(name)).cloned()
}

/// Returns the type on which variants must agree: a word of four bytes contains one f32 or, packed, several elements.
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
    let params = |entry: &Entry| (entry.params_size, entry.fields.clone());
    if params(expected) != params(entry) {
        return Some(("params", format!("{:?}", params(expected)), format!("{:?}", params(entry))));
    }
    if expected.overrides != entry.overrides {
        return Some(("overrides", format!("{:?}", expected.overrides), format!("{:?}", entry.overrides)));
    }
    None
}
