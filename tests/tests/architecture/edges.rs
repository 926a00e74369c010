//! The dependencies that are allowed between the crates.

use super::{files, text};

/// Each package of the workspace, with all packages of the workspace that it may depend on.
const EDGES: [(&str, &[&str]); 18] = [
    ("resolvent-unify", &[]),
    ("resolvent-atlas", &[]),
    ("resolvent-shaders", &["resolvent-unify"]),
    ("resolvent-reference", &[]),
    ("xtask", &["resolvent-shaders"]),
    ("resolvent-engine", &["resolvent-shaders"]),
    ("resolvent-ops", &["resolvent-engine", "resolvent-shaders"]),
    ("resolvent-model", &["resolvent-ops", "resolvent-engine", "resolvent-atlas"]),
    ("resolvent-field", &["resolvent-model", "resolvent-ops", "resolvent-engine"]),
    ("resolvent-report", &["resolvent-field"]),
    ("resolvent", &["resolvent-field", "resolvent-model", "resolvent-ops", "resolvent-engine"]),
    ("resolvent-cli", &["resolvent", "resolvent-report"]),
    ("resolvent-python", &["resolvent", "resolvent-report"]),
    ("resolvent-web", &["resolvent", "resolvent-report"]),
    ("resolvent-capi", &["resolvent"]),
    ("resolvent-tests", ALL),
    ("resolvent-benches", ALL),
    ("resolvent-peer-burn", &[]),
];

const ALL: &[&str] = &[
    "resolvent-shaders",
    "resolvent-reference",
    "resolvent-engine",
    "resolvent-ops",
    "resolvent-model",
    "resolvent-field",
    "resolvent-report",
    "resolvent",
    "resolvent-web",
];

/// Returns all packages in the dependency tables of a manifest, including `[target.….dependencies]`.
fn dependencies(table: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                found.extend(inner.iter().map(|(name, spec)| {
                    // `package` names the package of a renamed dependency.
                    let renamed = spec.get("package").and_then(toml::Value::as_str);
                    renamed.unwrap_or(name).to_owned()
                }));
            }
            "target" => found.extend(inner.values().filter_map(toml::Value::as_table).flat_map(dependencies)),
            _ => {}
        }
    }
    found
}

/// Returns each package of the workspace with its dependencies in the workspace.
fn packages() -> Vec<(String, Vec<String>)> {
    let manifests = ["crates", "tests", "benches"].into_iter().flat_map(|folder| files(folder, &["Cargo.toml"]));
    let package = |path: std::path::PathBuf| {
        let table: toml::Table = text(&path).parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = table["package"]["name"].as_str().expect("a package has a name").to_owned();
        let mut ours = dependencies(&table);
        ours.retain(|name| name.starts_with("resolvent") || name == "xtask");
        (name, ours)
    };
    manifests.map(package).collect()
}

fn allowed(package: &str) -> Option<&'static [&'static str]> {
    EDGES.iter().find(|(name, _)| *name == package).map(|&(_, to)| to)
}

#[test]
fn crates_have_only_allowed_dependencies() {
    for (name, ours) in packages() {
        let allowed = allowed(&name).unwrap_or_else(|| panic!("`{name}` has no line in EDGES"));
        for other in ours {
            assert!(allowed.contains(&other.as_str()), "`{name}` may not depend on `{other}`");
        }
    }
}

/// Only tests and benches depend on the reference, so that the code that it checks cannot use it.
#[test]
fn only_tests_and_benches_use_the_reference() {
    let users = EDGES.iter().filter(|(_, to)| to.contains(&"resolvent-reference"));
    assert_eq!(users.map(|(name, _)| *name).collect::<Vec<_>>(), ["resolvent-tests", "resolvent-benches"]);
}

/// `EDGES` lists every package of the workspace, and no others.
#[test]
fn the_list_of_edges_is_complete() {
    let packages = packages();
    for (name, _) in EDGES {
        assert!(packages.iter().any(|(other, _)| other == name), "`{name}` is in EDGES and nowhere else");
    }
    assert_eq!(packages.len(), EDGES.len());
}

/// Renamed, target-specific, build and dev dependencies are found.
#[test]
fn dependencies_of_all_tables_are_found() {
    let manifest = r#"
        [dependencies]
        engine = { package = "resolvent-engine", path = ".." }
        [target.'cfg(unix)'.dependencies]
        resolvent-ops.workspace = true
        [build-dependencies]
        resolvent-model = "1"
        [dev-dependencies]
        resolvent-field = "1"
    "#;
    let mut found = dependencies(&manifest.parse().expect("is toml"));
    found.sort();
    assert_eq!(found, ["resolvent-engine", "resolvent-field", "resolvent-model", "resolvent-ops"]);
}
