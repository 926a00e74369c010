//! `shaders/variants.toml`: the only place where a text switch is declared.

use super::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const PATH: &str = "shaders/variants.toml";

/// The flags that are, besides, what the device has to offer.
pub(crate) const FEATURES: [&str; 3] = ["SUBGROUP", "F16", "COOPERATIVE"];

/// The switches of one variant of one shader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    pub(crate) variant: String,
    /// Where the manifest declares it; 0 for the variant of a shader that the manifest does not name.
    pub(crate) line: u32,
    /// Each becomes a `const NAME: u32`.
    pub(crate) numbers: Vec<(String, u32)>,
    /// The flags that are set: `#ifdef` sees these.
    pub(crate) flags: BTreeSet<String>,
}

impl Switches {
    pub(crate) fn base() -> Self {
        Self { variant: "base".to_owned(), ..Self::default() }
    }

    pub(crate) fn subgroup(&self) -> bool {
        self.flags.contains("SUBGROUP")
    }

    pub(crate) fn f16(&self) -> bool {
        self.flags.contains("F16")
    }

    pub(crate) fn cooperative(&self) -> bool {
        self.flags.contains("COOPERATIVE")
    }

    /// Whether not every device runs this text.
    fn asks(&self) -> bool {
        FEATURES.iter().any(|&feature| self.flags.contains(feature))
    }
}

/// The whole file.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    shaders: BTreeMap<String, Vec<Switches>>,
    /// Every flag that some variant mentions, set or not: an `#ifdef` of another name is a typing error.
    pub(crate) flags: BTreeSet<String>,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(0, |span| 1 + text[..span.start].matches('\n').count());
            vec![Problem::new(PATH, line as u32, error.message())]
        })?;
        let mut problems = Vec::new();
        let mut manifest = Self::default();
        manifest.flags.extend(FEATURES.map(str::to_owned));
        for (shader, variants) in &table {
            let Some(variants) = variants.as_table() else {
                problems.push(Problem::new(PATH, 0, format!("`{shader}` has to be a table of variants")));
                continue;
            };
            let mut list = Vec::new();
            for (name, switches) in variants {
                match read_variant(text, shader, name, switches) {
                    Ok((read, flags)) => {
                        manifest.flags.extend(flags);
                        list.push(read);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
            match list.iter().find(|switches| switches.variant == "base") {
                None => {
                    problems.push(
                        Problem::new(PATH, 0, format!("`{shader}` has no variant `base`"))
                            .detail("`base` is the text for devices without any feature: every shader has to have it"),
                    );
                }
                Some(base) if base.asks() => problems.push(
                    Problem::new(PATH, base.line, format!("`{shader}.base` asks for a feature"))
                        .detail("`base` is the text for devices without any feature"),
                ),
                Some(_) => {}
            }
            // `base` first, so that taking the first variant is always safe.
            list.sort_by_key(|switches| switches.variant != "base");
            manifest.shaders.insert(shader.clone(), list);
        }
        if problems.is_empty() { Ok(manifest) } else { Err(problems) }
    }

    /// The variants of a shader, `base` first.
    pub(crate) fn variants(&self, shader: &str) -> Vec<Switches> {
        self.shaders.get(shader).cloned().unwrap_or_else(|| vec![Switches::base()])
    }

    pub(crate) fn shaders(&self) -> impl Iterator<Item = &str> {
        self.shaders.keys().map(String::as_str)
    }
}

fn read_variant(
    text: &str,
    shader: &str,
    name: &str,
    switches: &toml::Value,
) -> Result<(Switches, Vec<String>), Problem> {
    let line = header_line(text, shader, name);
    let Some(table) = switches.as_table() else {
        return Err(Problem::new(PATH, line, format!("`{shader}.{name}` has to be a table of switches")));
    };
    let mut read = Switches { variant: name.to_owned(), line, ..Switches::default() };
    let mut flags = Vec::new();
    for (key, value) in table {
        if !key.starts_with(|c: char| c.is_ascii_uppercase())
            || !key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        {
            return Err(Problem::new(PATH, line, format!("switch `{key}` of `{shader}.{name}` is not UPPER_CASE")));
        }
        match value {
            toml::Value::Boolean(set) => {
                flags.push(key.clone());
                if *set {
                    read.flags.insert(key.clone());
                }
            }
            toml::Value::Integer(number) if u32::try_from(*number).is_ok() => {
                read.numbers.push((key.clone(), *number as u32));
            }
            _ => {
                let message = format!("switch `{key}` of `{shader}.{name}` has to be a bool or a u32");
                return Err(Problem::new(PATH, line, message));
            }
        }
    }
    Ok((read, flags))
}

/// The line of `[shader.variant]`, or 0 where the table is written in another form.
fn header_line(text: &str, shader: &str, variant: &str) -> u32 {
    let header = format!("[{shader}.{variant}]");
    text.lines().position(|line| line.trim_start().starts_with(&header)).map_or(0, |index| index as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[m.base]\nROWS = 8\nWIDE = false\n\n[m.subgroup]\nROWS = 16\nSUBGROUP = true\n";

    fn message(text: &str) -> String {
        Manifest::parse(text).expect_err("the manifest is wrong").remove(0).to_string()
    }

    #[test]
    fn variants_carry_numbers_flags_and_their_line() {
        let manifest = Manifest::parse(GOOD).expect("the manifest is right");
        let [base, subgroup] = manifest.variants("m").try_into().expect("two variants");
        assert_eq!((base.variant.as_str(), base.line), ("base", 1));
        assert_eq!(base.numbers, [("ROWS".to_owned(), 8)]);
        assert!(base.flags.is_empty() && manifest.flags.contains("WIDE"));
        assert!(subgroup.subgroup() && !subgroup.f16());
        assert_eq!(subgroup.line, 5);
        assert_eq!(manifest.shaders().collect::<Vec<_>>(), ["m"]);
    }

    #[test]
    fn an_unnamed_shader_has_the_base_variant() {
        let manifest = Manifest::parse("").expect("an empty manifest is right");
        assert_eq!(manifest.variants("x"), [Switches::base()]);
    }

    #[test]
    fn mistakes_name_the_file_and_the_line() {
        assert!(message("[m.base]\nROWS = \n").starts_with("shaders/variants.toml:2: "));
        assert!(message("[m.base]\nROWS = -1\n").starts_with("shaders/variants.toml:1: switch `ROWS`"));
        assert!(message("[m.base]\nROWS = 1.5\n").contains("has to be a bool or a u32"));
        assert!(message("[m.base]\nrows = 1\n").contains("is not UPPER_CASE"));
        assert!(message("[m.wide]\nROWS = 1\n").contains("has no variant `base`"));
        for feature in FEATURES {
            let text = format!("[m.base]\n{feature} = true\n");
            assert!(message(&text).contains("`m.base` asks for a feature"));
        }
        assert!(message("m = 1\n").contains("table of variants"));
        assert!(message("[m]\nbase = 1\n").contains("table of switches"));
    }
}
