//! The variants of a shader are the same kernels for different devices: same entries, bindings and overrides.

use super::{assemble::Source, problem::Problem, reflect::Entry};

/// Compares every variant with the first, which is `base`.
pub(crate) fn check(source: &Source, variants: &[(String, Vec<Entry>)]) -> Vec<Problem> {
    let Some(((first, expected), others)) = variants.split_first() else { return Vec::new() };
    let mut problems = Vec::new();
    for (variant, entries) in others {
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
            let message =
                format!("`{}` has other {what} in variant `{variant}` than in `{first}`", entry.name);
            problems.push(
                Problem::new(&source.path, 0, message)
                    .detail(format!("{first}: {there}"))
                    .detail(format!("{variant}: {here}")),
            );
        }
    }
    problems
}

fn difference(expected: &Entry, entry: &Entry) -> Option<(&'static str, String, String)> {
    if expected.bindings != entry.bindings {
        return Some(("bindings", format!("{:?}", expected.bindings), format!("{:?}", entry.bindings)));
    }
    if expected.params_size != entry.params_size {
        return Some((
            "params",
            format!("{} bytes", expected.params_size),
            format!("{} bytes", entry.params_size),
        ));
    }
    if expected.overrides != entry.overrides {
        return Some(("overrides", format!("{:?}", expected.overrides), format!("{:?}", entry.overrides)));
    }
    if expected.workgroup != entry.workgroup {
        return Some((
            "workgroup sizes",
            format!("{:?}", expected.workgroup),
            format!("{:?}", entry.workgroup),
        ));
    }
    None
}
