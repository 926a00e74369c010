//! The packages for the registry: what their manifests say, and which files they contain. `cargo xtask package` builds
//! them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{files, root, text};

/// Returns the manifests of the published packages, with their folders.
fn published() -> Vec<(PathBuf, toml::Table)> {
    let read = |path: PathBuf| {
        let table: toml::Table = text(&path).parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.parent().expect("a folder").to_owned(), table)
    };
    let is_published =
        |(_, table): &(PathBuf, toml::Table)| !table["package"].as_table().expect("a table").contains_key("publish");
    files("crates", &["Cargo.toml"]).into_iter().map(read).filter(is_published).collect()
}

fn name(manifest: &toml::Table) -> &str {
    manifest["package"]["name"].as_str().expect("a package has a name")
}

#[test]
fn manifests_describe_the_packages() {
    let published = published();
    assert_eq!(published.len(), 10, "the scan itself found others");
    for (folder, manifest) in &published {
        let package = manifest["package"].as_table().expect("a table");
        let name = name(manifest);
        let description = package["description"].as_str().expect("a text");
        assert!(description.len() > 20 && !description.ends_with('.'), "{name}: {description}");
        let keywords = package["keywords"].as_array().expect("a list");
        let is_keyword = |word: &str| word.len() <= 20 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        assert!((1..=5).contains(&keywords.len()), "{name}: crates.io accepts five keywords");
        assert!(keywords.iter().all(|word| word.as_str().is_some_and(is_keyword)), "{name}: {keywords:?}");
        assert!(package["categories"].as_array().is_some_and(|all| !all.is_empty()), "{name}");
        assert_eq!(package["documentation"].as_str(), Some(&*format!("https://docs.rs/{name}")));
        assert!(package["metadata"]["docs"]["rs"].as_table().is_some_and(|rs| rs.contains_key("targets")), "{name}");
        for key in ["license", "version", "rust-version", "authors", "edition"] {
            assert!(package.contains_key(key), "{name} lacks {key}");
        }
        let readme = text(folder.join("README.md"));
        let features = manifest.get("features").and_then(toml::Value::as_table);
        for feature in features.into_iter().flat_map(|all| all.keys()).filter(|feature| *feature != "default") {
            assert!(readme.contains(&format!("| `{feature}` | ")), "{name}: README.md has no row for `{feature}`");
        }
        assert!(readme.starts_with(&format!("# {name}\n")) && readme.contains("## Features"), "{name}: README.md");
        // Links to other files of the repository lead nowhere on the registry's page.
        let relative = readme.split("](").skip(1).find(|link| !link.starts_with("http"));
        assert_eq!(relative, None, "{name}: README.md");
    }
}

/// A published package depends on published ones only, with the version that the registry needs.
#[test]
fn packages_depend_on_packages() {
    let published = published();
    let names: BTreeSet<&str> = published.iter().map(|(_, manifest)| name(manifest)).collect();
    let workspace: toml::Table = text("Cargo.toml").parse().expect("is toml");
    let shared = workspace["workspace"]["dependencies"].as_table().expect("a table");
    for name in &names {
        let version = shared.get(*name).and_then(|dependency| dependency.get("version"));
        let own = &workspace["workspace"]["package"]["version"];
        assert!(*name == "resolvent-cli" || version == Some(own), "{name}: Cargo.toml needs version = {own}");
    }
    for (_, manifest) in &published {
        for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let all = manifest.get(table).and_then(toml::Value::as_table);
            let ours = all.into_iter().flat_map(|all| all.keys()).filter(|key| key.starts_with("resolvent"));
            for other in ours {
                assert!(
                    names.contains(other.as_str()),
                    "{} depends on {other}, which is not published",
                    name(manifest)
                );
            }
        }
    }
    let order = text("crates/xtask/src/verbs/package.rs");
    let listed: BTreeSet<&str> = order.split('"').filter(|part| part.starts_with("resolvent")).collect();
    assert_eq!(listed, names, "PUBLISHED of `cargo xtask package`");
}

/// Returns the files of a package, as Cargo lists them.
fn listed(package: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["package", "--list", "--allow-dirty", "--offline", "--package", package]).current_dir(root());
    let output = cargo.output().unwrap_or_else(|e| panic!("{cargo:?}: {e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(|line| line.replace('\\', "/")).collect()
}

/// Packages contain what lies outside of their folders: kernels and licences. Links lead there, so they are the same
/// files.
#[cfg(unix)]
#[test]
fn packages_contain_kernels_weights_and_licences() {
    let all = listed("resolvent-shaders");
    let kernels = files("shaders", &[".wgsl", ".toml"]);
    assert!(kernels.len() > 20, "the scan itself found {}", kernels.len());
    for path in kernels {
        let inside = path.to_str().expect("UTF-8");
        assert!(all.contains(inside), "resolvent-shaders lacks {inside}");
        let [linked, own] = [Path::new("crates/shaders").join(&path), path].map(text);
        assert_eq!(linked, own);
    }
    let model = listed("resolvent-model");
    for needed in
        ["atlas/nano/model.safetensors", "atlas/micro/config.json", "atlas/tokenizer.json", "atlas/prompts.json"]
    {
        assert!(model.contains(needed), "resolvent-model lacks {needed}");
    }
    let is_extra = |file: &&String| file.starts_with("atlas/") && (file.ends_with(".py") || file.contains("small"));
    assert_eq!(model.iter().find(is_extra), None, "resolvent-model needs no scripts and no second copy");
    assert!(listed("resolvent-atlas").contains("small/model.safetensors"));
    for (folder, manifest) in published() {
        let licence = manifest["package"]["license"].as_str().unwrap_or("workspace");
        for file in ["LICENSE-MIT", "LICENSE-APACHE"].iter().filter(|_| licence != "CC0-1.0") {
            assert_eq!(text(folder.join(file)), text(file), "{}", folder.display());
        }
    }
}

/// Archives stay below the registry's limit of 10 MB: the weights, which compress little, do.
#[test]
fn weights_fit_the_registry() {
    for folder in ["crates/atlas", "crates/model"] {
        // `files` follows links, and a package of `crates/model` leaves the linked folder out.
        let data = files(folder, &[".safetensors"]);
        let own = data.iter().filter(|path| !path.ends_with("goldens.safetensors"));
        let own = own.filter(|path| folder == "crates/atlas" || !path.starts_with("crates/model/atlas/small"));
        let bytes: u64 = own.map(|path| root().join(path).metadata().expect("a file").len()).sum();
        assert!((500_000..9_000_000).contains(&bytes), "{folder}: {bytes}");
    }
}

/// The recipe for conda has the versions of the package's manifest.
#[test]
fn the_conda_recipe_agrees_with_the_package() {
    let (recipe, workspace) = (text("crates/python/conda/recipe.yaml"), text("Cargo.toml"));
    let workspace: toml::Table = workspace.parse().expect("is toml");
    let package: toml::Table = text("crates/python/pyproject.toml").parse().expect("is toml");
    let version = workspace["workspace"]["package"]["version"].as_str().expect("a version");
    assert!(recipe.contains(&format!("\n  version: \"{version}\"\n")), "{version}");
    let python = package["project"]["requires-python"].as_str().expect("a range");
    let least = python.strip_prefix(">=").expect("a least version");
    assert!(recipe.contains(&format!("\n  python_min: \"{least}\"\n")), "{least}");
    let lists = [&package["project"]["dependencies"], &package["build-system"]["requires"]];
    let needed = lists.into_iter().flat_map(|list| list.as_array().expect("a list"));
    let mut count = 0;
    for needed in needed.filter_map(toml::Value::as_str) {
        let (name, range) = needed.split_once('>').expect("a least version");
        assert!(recipe.contains(&format!("- {name} >{range}\n")), "{needed}");
        count += 1;
    }
    assert_eq!(count, 2, "the scan itself found others");
}

/// Returns a version as numbers: `1.90` is before `1.90.1` and `1.100`.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or_else(|e| panic!("{version}: {e}"))).collect()
}

/// No dependency needs a newer compiler than the one that `rust-version` promises.
#[test]
fn dependencies_have_the_minimum_rust_version() {
    let workspace: toml::Table = text("Cargo.toml").parse().expect("is toml");
    let promised = workspace["workspace"]["package"]["rust-version"].as_str().expect("a version");
    let mut rustc = Command::new("rustc");
    let about = String::from_utf8(rustc.arg("-vV").output().expect("runs").stdout).expect("UTF-8");
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host]).current_dir(root());
    let output = cargo.output().unwrap_or_else(|e| panic!("{cargo:?}: {e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    let packages = all["packages"].as_array().expect("a list");
    let needed =
        packages.iter().filter_map(|package| Some((package["name"].as_str()?, package["rust_version"].as_str()?)));
    let newer: Vec<_> = needed.clone().filter(|(_, version)| numbers(version) > numbers(promised)).collect();
    assert!(newer.is_empty(), "these need a newer compiler than {promised}: {newer:?}");
    assert!(needed.count() > 50, "the scan itself found few packages");
    assert!(numbers("1.100") > numbers("1.90.1") && numbers("1.90.1") > numbers("1.90"));
}
