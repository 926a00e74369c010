//! File names of tasks. A task may have any name, but file systems restrict the names of files.

use std::collections::BTreeSet;

/// Longest task name that is used unchanged, in bytes. File systems allow 255 bytes, and the file name also contains
/// the analysis, the ending and the suffix of a temporary file.
const LONGEST: usize = 100;

/// Number of characters of a task's name that a changed name starts with.
const PREFIX: usize = 40;

/// Names that Windows reserves for devices, with any extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Returns a file name for each task. The names are unique also on file systems that ignore case.
///
/// A name that every file system accepts is unchanged. Any other name becomes its letters and digits, followed by a
/// hash, so that the result does not depend on the other tasks.
pub(super) fn stems(tasks: &[&str]) -> Vec<String> {
    let folded: Vec<String> = tasks.iter().map(|name| folded(name)).collect();
    let alone = |i: usize| folded.iter().filter(|other| **other == folded[i]).count() == 1;
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut stems = vec![String::new(); tasks.len()];
    // Unchanged names come first, so that changed names avoid them.
    let (stay, change): (Vec<usize>, Vec<usize>) = (0..tasks.len()).partition(|&i| is_portable(tasks[i]) && alone(i));
    for i in stay {
        taken.insert(folded[i].clone());
        stems[i] = tasks[i].to_owned();
    }
    for i in change {
        let hash = blake3::hash(tasks[i].as_bytes()).to_hex();
        let letters = tasks[i].chars().map(|c| if is_portable_letter(c) { c } else { '_' });
        let letters: String = letters.take(PREFIX).collect();
        let with = |digits: usize| format!("{letters}-{}", &hash[..digits]);
        let stem = [8, 16, 32].map(with).into_iter().find(|stem| !taken.contains(&self::folded(stem)));
        // The full hash is unique: two names with the same full hash are the same name.
        stems[i] = stem.unwrap_or_else(|| with(64));
        taken.insert(self::folded(&stems[i]));
    }
    stems
}

/// Returns a name in the form in which a file system that ignores case compares it.
fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

fn is_portable_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// Returns whether every file system accepts `name`, and no shell or program takes it for something else, such as an
/// option.
fn is_portable(name: &str) -> bool {
    let edges = |c: char| is_portable_letter(c) && c != '-';
    let first = name.split('.').next().unwrap_or_default().to_lowercase();
    let port = first.strip_prefix("com").or_else(|| first.strip_prefix("lpt"));
    let device = DEVICES.contains(&first.as_str()) || port.is_some_and(|rest| rest.chars().count() == 1);
    (1..=LONGEST).contains(&name.len())
        && name.chars().all(|c| is_portable_letter(c) || c == '.')
        && name.starts_with(edges)
        && name.ends_with(edges)
        && !device
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay() {
        let names = ["ioi", "greater-than", "two_digits", "v1.2", "Capitals", "Hauptstädte", "comma", "console"];
        assert_eq!(stems(&names), names);
    }

    #[test]
    fn other_names_become_names_of_files() {
        let long = "x".repeat(300);
        let names = [
            "noun/verb",
            "noun\\verb",
            "..",
            ".",
            "",
            "/etc/passwd",
            "../../up",
            "a\0b",
            &long,
            "CON",
            "con.txt",
            "COM1",
            "lpt9",
            ".hidden",
            "-flag",
            "trailing.",
            "two words",
            "new\nline",
            "a:b",
            "a*b?",
            "e\u{301}",
            "case",
            "Case",
            "CASE",
            "ß",
            "ss",
            "SS",
            "😀",
            " ",
            "tab\t",
        ];
        let stems = stems(&names);
        let folder = tempfile::tempdir().expect("a folder");
        for (name, stem) in names.iter().zip(&stems) {
            assert!(is_portable(stem) || name.starts_with(['-', '.']) || stem.len() < 20, "{name:?}: {stem}");
            assert!(stem.chars().all(|c| is_portable_letter(c) || c == '.') && stem.len() <= 170, "{name:?}: {stem}");
            let path = folder.path().join(format!("propagation.{stem}.safetensors.tmp0123456789"));
            std::fs::write(&path, name).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), names.len(), "all are unique");
        let all: BTreeSet<String> = stems.iter().map(|stem| folded(stem)).collect();
        assert_eq!(all.len(), names.len(), "without regard to case");
        assert!(stems[0].starts_with("noun_verb-") && stems[0] != stems[1]);
    }

    #[test]
    fn a_file_name_does_not_depend_on_other_tasks() {
        assert_eq!(stems(&["a/b"])[0], stems(&["ioi", "a/b", "a:b"])[1]);
        // The exception: another task has exactly that name.
        let same = stems(&["a/b"])[0].clone();
        let both = stems(&["a/b", &same]);
        assert!(both[1] == same && both[0] != same, "{both:?}");
    }
}
