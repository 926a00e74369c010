//! Grid files: one command for every combination of models, observables, seeds and other options.

use std::collections::BTreeMap;
use std::path::Path;

use resolvent_engine::did_you_mean;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

use crate::part::Part;

/// The keys of a grid file.
const KEYS: [&str; 3] = ["command", "options", "axes"];

/// The option of an axis, or a key of an entry, that selects the command.
const COMMAND: &str = "command";

/// Options that the grid sets itself, because each cell has a folder of its own.
const OWN: [&str; 7] = ["out-dir", "shard", "out", "plot", "json", "graph", "help"];

/// The most cells of a grid. Each has a folder and a line of the table, and a product of axes soon exceeds any memory.
const MOST: usize = 100_000;

/// One combination of a grid file: a command with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its values on the axes, such as `model=atlas-nano source=0,1`; the command, if there are no axes.
    pub name: String,
    /// The command.
    pub command: String,
    /// Values of each option by its name without dashes. A switch has none.
    pub options: BTreeMap<String, Vec<String>>,
}

impl Cell {
    /// Returns the arguments of the command line that computes this cell, without those of shards.
    pub fn arguments(&self) -> Vec<String> {
        let option = |(name, values): (&String, &Vec<String>)| match values.is_empty() {
            true => vec![format!("--{name}")],
            false => values.iter().map(|value| format!("--{name}={value}")).collect(),
        };
        std::iter::once(self.command.clone()).chain(self.options.iter().flat_map(option)).collect()
    }

    /// Returns the name of its folder: a hash of the command and its options, so that a grid that grows finds what is
    /// there.
    pub fn key(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for argument in self.arguments() {
            hash.update(&(argument.len() as u64).to_le_bytes()).update(argument.as_bytes());
        }
        hash.finalize().to_hex()[..16].to_owned()
    }
}

/// Reads a grid file: a JSON object with `command`, `options` and `axes`.
///
/// Each axis is an option with a list of values, or any name with a list of objects, each of which sets several
/// options. There is a cell for each combination. Cells of one model follow one another.
///
/// # Errors
/// A file that cannot be read, another form, an option that the grid sets itself, or two equal cells.
pub fn read_grid(path: &Path) -> Result<Vec<Cell>> {
    let fail = |reason: String| Error::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let value = serde_json::from_str(&text).map_err(|e| fail(format!("invalid grid file: {e}; write JSON")))?;
    cells(&value).map_err(|reason| fail(format!("invalid grid file: {reason}")))
}

/// Returns all combinations.
fn cells(file: &Value) -> Result<Vec<Cell>, String> {
    let file = file.as_object().ok_or("expected an object with `command`, `options` and `axes`")?;
    if let Some(key) = file.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key `{key}`; expected command, options or axes{}", did_you_mean(key, KEYS)));
    }
    let empty = Map::new();
    let object = |key: &str| match file.get(key) {
        None => Ok(&empty),
        Some(found) => found.as_object().ok_or_else(|| format!("`{key}` is not an object; write {{\"NAME\": VALUE}}")),
    };
    let (mut first, axes) = (object("options")?.clone(), object("axes")?);
    first.extend(file.get(COMMAND).map(|command| (COMMAND.to_owned(), command.clone())));
    let mut combinations = vec![(Vec::new(), first)];
    for (axis, values) in axes {
        let values = values.as_array().filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| format!("the axis `{axis}` has no list of values; write [VALUE, ..]"))?;
        if combinations.len().saturating_mul(values.len()) > MOST {
            return Err(format!("the axes have more than {MOST} combinations; divide them among several files"));
        }
        let with = |(names, options): &(Vec<String>, Map<String, Value>)| -> Vec<_> {
            let one = |(i, value): (usize, &Value)| {
                let (mut names, mut options) = (names.clone(), options.clone());
                match value {
                    Value::Object(several) => {
                        names.push(format!("{axis}={i}"));
                        options.extend(several.clone());
                    }
                    value => {
                        names.push(format!("{axis}={}", texts(value).join(",")));
                        options.insert(axis.clone(), value.clone());
                    }
                }
                (names, options)
            };
            values.iter().enumerate().map(one).collect()
        };
        combinations = combinations.iter().flat_map(with).collect();
    }
    let mut cells =
        combinations.into_iter().map(|(names, options)| cell(&names, &options)).collect::<Result<Vec<_>, _>>()?;
    cells.sort_by(|a, b| a.options.get("model").cmp(&b.options.get("model")));
    let mut keys = BTreeMap::new();
    for cell in &cells {
        if let Some(other) = keys.insert(cell.key(), &cell.name) {
            return Err(format!("the cells `{other}` and `{}` have the same options; leave one out", cell.name));
        }
    }
    Ok(cells)
}

fn cell(names: &[String], options: &Map<String, Value>) -> Result<Cell, String> {
    let command = options.get(COMMAND).and_then(Value::as_str);
    let command = command.ok_or("there is no command; write \"command\": \"sensitivity\" or another one")?.to_owned();
    let mut found = BTreeMap::new();
    for (name, value) in options.iter().filter(|(name, _)| *name != COMMAND) {
        let name = name.replace('_', "-");
        if OWN.contains(&name.as_str()) {
            return Err(format!("the option `{name}` is not of a cell; leave it out: the grid sets folders and files"));
        }
        match value {
            Value::Bool(true) => drop(found.insert(name, Vec::new())),
            Value::Bool(false) | Value::Null => drop(found.remove(&name)),
            Value::Object(_) => {
                return Err(format!("the option `{name}` is an object; write a text, a number or a list"));
            }
            // Without a value it would be a switch.
            Value::Array(values) if values.is_empty() => drop(found.remove(&name)),
            value => drop(found.insert(name, texts(value))),
        }
    }
    let name = if names.is_empty() { command.clone() } else { names.join(" ") };
    Ok(Cell { name, command, options: found })
}

/// Returns the texts of a value, one for each element of a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        other => vec![other.to_string()],
    }
}

impl Part {
    /// Returns this process's part of the cell with a number: shard s of cell c belongs to the process (c + s) modulo
    /// N. So cells of one shard are shared among all processes too.
    #[must_use]
    pub fn of_cell(self, cell: usize) -> Self {
        Self { index: (self.index + self.of - cell % self.of) % self.of, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_grid_has_all_combinations() {
        let file = json!({
            "command": "green",
            "options": {"prompts": "rows.csv", "task": ["a", "b"], "strict": true, "unit": false},
            "axes": {
                "direction": ["random:0", "random:1"],
                "model": ["y", "x"],
                "size": [{"shard_size": 4, "rows": 8}, {"command": "sensitivity", "shard-size": 2}],
            },
        });
        let found = cells(&file).expect("a grid");
        assert_eq!(found.len(), 8);
        assert_eq!(found[0].name, "direction=random:0 model=x size=0");
        let wanted = ["green", "--direction=random:0", "--model=x", "--prompts=rows.csv", "--rows=8", "--shard-size=4"];
        assert_eq!(found[0].arguments(), [&wanted[..], &["--strict", "--task=a", "--task=b"]].concat());
        assert_eq!((&found[1].command[..], found[4].options["model"][0].as_str()), ("sensitivity", "y"));
        // A grid that grows has its cells in the same folders.
        let less = json!({"command": "run", "axes": {"model": ["x"]}});
        let more = json!({"command": "run", "axes": {"model": ["a", "x"]}});
        assert_eq!(cells(&less).expect("a grid")[0].key(), cells(&more).expect("a grid")[1].key());
    }

    #[test]
    fn an_empty_list_is_no_option() {
        let file = json!({"command": "run", "options": {"task": ["a"]}, "axes": {"set": [{"task": []}, {"rows": 1}]}});
        let found = cells(&file).expect("a grid");
        assert_eq!((found[0].arguments(), found[1].arguments().len()), (vec!["run".to_owned()], 3));
    }

    #[test]
    fn other_forms_are_refused() {
        let many: Vec<usize> = (0..400).collect();
        for (file, part) in [
            (json!({"command": "run", "axes": {"rows": many, "seed": many}}), "more than 100000 combinations"),
            (json!([1]), "expected an object"),
            (
                json!({"command": "run", "axis": {}}),
                "unknown key `axis`; expected command, options or axes; did you mean",
            ),
            (json!({"axes": {"model": ["x"]}}), "there is no command"),
            (json!({"command": "run", "axes": {"model": "x"}}), "the axis `model` has no list of values"),
            (json!({"command": "run", "axes": {"model": []}}), "the axis `model` has no list of values"),
            (json!({"command": "run", "options": []}), "`options` is not an object"),
            (json!({"command": "run", "options": {"out_dir": "x"}}), "the option `out-dir` is not of a cell"),
            (json!({"command": "run", "options": {"rows": {}}}), "the option `rows` is an object"),
            (
                json!({"command": "run", "axes": {"model": ["x", "x"]}}),
                "the cells `model=x` and `model=x` have the same",
            ),
        ] {
            let error = cells(&file).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn processes_share_cells_of_one_shard() {
        let part = |index: usize| Part { index, of: 3 };
        for (cells, shards) in [(5, 1), (2, 4)] {
            let of = |index| {
                let one = move |cell| part(index).of_cell(cell).shards(shards).map(move |shard| (cell, shard));
                (0..cells).flat_map(one).collect::<Vec<_>>()
            };
            let mut all: Vec<_> = (0..3).flat_map(of).collect();
            assert!((0..3).all(|index| !of(index).is_empty()));
            all.sort_unstable();
            assert_eq!(all, (0..cells).flat_map(|c| (0..shards).map(move |s| (c, s))).collect::<Vec<_>>());
        }
    }
}
