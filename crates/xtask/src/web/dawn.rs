//! The module on another implementation of WebGPU: Dawn as a package for Node, without a browser.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::compare::{BOUND, compare};
use super::page::{Page, parsed, printed};
use crate::process::{Result, is_installed, output, root, run};

/// Dawn for Node.
const DAWN: &str = "webgpu@0.6.2";

/// A Node that can suspend WebAssembly, for systems whose own is older.
const NODE: &str = "node@24";

/// The first version of Node that can.
const LEAST: u32 = 24;

/// Where browsers put their software driver. Dawn for Node has none of its own.
const DRIVERS: [&str; 4] = [
    "/usr/lib/chromium/vk_swiftshader_icd.json",
    "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
    "/usr/lib64/chromium-browser/vk_swiftshader_icd.json",
    "/opt/google/chrome/vk_swiftshader_icd.json",
];

/// Selects another driver, as for every program that uses Vulkan.
const VARIABLE: &str = "VK_DRIVER_FILES";

/// Prompts of one length.
const CLEAN: &str = "The capital of France is";
/// The prompt that receives vectors of the other.
const CORRUPTED: &str = "The capital of Italy is";

/// The analyses that are compared, each with the command that does the same.
const ANALYSES: [(&str, &str); 4] = [
    ("run", "resolvent run --last 'The capital of France is'"),
    ("sensitivity", "resolvent sensitivity 'The capital of Italy is' --target ' Paris' --against ' Rome'"),
    (
        "patch",
        "resolvent patch 'The capital of France is' --corrupted 'The capital of Italy is' --target ' Paris' --against ' Rome'",
    ),
    (
        "green",
        "resolvent green 'The capital of Italy is' --source=1,3 --direction displacement --donor 'The capital of France is' \
         --geometry --target ' Paris' --against ' Rome'",
    ),
];

impl Page {
    /// The module in Node, with Dawn as its WebGPU: whole results of the smallest model, and every kernel against its
    /// host body.
    pub(super) fn dawn(&self) -> Result {
        let node = installed()?;
        let mut messages = vec![
            json!({ "work": "device", "device": "gpu" }),
            json!({ "work": "load", "model": "atlas-nano", "bytes": 1 }),
        ];
        let request = |analysis: &str| {
            json!({ "analysis": analysis, "clean": CLEAN, "corrupted": CORRUPTED, "target": " Paris", "against": " Rome",
                    "place": [1, 3] })
        };
        messages.extend(ANALYSES.map(|(analysis, _)| json!({ "work": "ask", "request": request(analysis) })));
        messages.push(json!({ "work": "kernels" }));
        let file = Self::write("dawn.json", json!(messages).to_string().as_bytes())?;

        let mut command = Command::new(node);
        command.arg(root().join("crates/xtask/src/web/dawn.mjs")).arg(self.folder()).arg(packages()).arg(file);
        if std::env::var_os(VARIABLE).is_none() {
            command.env(VARIABLE, driver()?);
        }
        let lines = output(&mut command)?;
        let answers = lines.lines().map(parsed).collect::<Result<Vec<Value>>>()?;
        let [device, _, results @ .., kernels] = answers.as_slice() else {
            return Err("Dawn gives no answers".to_owned());
        };
        eprintln!("Dawn on {}, opened and tested in {:.1} s", device["device"]["name"], device["seconds"]);
        if device["device"]["host"] != false || results.len() != ANALYSES.len() {
            return Err(format!("Dawn gives {} results, with {}", results.len(), device["device"]));
        }
        for ((name, command), answer) in ANALYSES.iter().zip(results) {
            let theirs = parsed(&printed(&format!("{command} --model atlas-nano --device host"))?)?;
            let worst = compare(name, &answer["result"], &theirs)?;
            eprintln!("{name:<12} equal to the command line's to {worst:.1e} (at most {BOUND:e})");
        }
        kernels_are_right(&parsed(kernels["text"].as_str().unwrap_or_default())?)
    }
}

/// Fails if the check of kernels has found a wrong one, or has compared too few.
fn kernels_are_right(check: &Value) -> Result {
    let compared = check["compared"].as_array().map_or(&[][..], Vec::as_slice);
    let wrong: Vec<String> =
        compared.iter().filter(|kernel| kernel["right"] != true).map(|kernel| kernel["kernel"].to_string()).collect();
    match (wrong.is_empty(), compared.len()) {
        (true, 81..) => {
            eprintln!("{} variants of kernels are right", compared.len());
            Ok(())
        }
        (_, all) => Err(format!("of {all} variants of kernels on Dawn, these are wrong: {}", wrong.join(", "))),
    }
}

/// Returns the folder of the npm packages.
fn packages() -> PathBuf {
    root().join("target/web-toolchain/dawn/node_modules")
}

/// Returns a driver for Dawn.
fn driver() -> Result<&'static str> {
    let found = DRIVERS.into_iter().find(|path| std::path::Path::new(path).is_file());
    found.ok_or_else(|| format!("Dawn for Node finds no software driver: set {VARIABLE} to the JSON file of one"))
}

/// Returns a Node that can suspend WebAssembly. What is missing is installed below `target`.
fn installed() -> Result<PathBuf> {
    let own = output(Command::new("node").arg("--version"));
    let version = own.ok().and_then(|version| version.trim_start_matches('v').split('.').next()?.parse().ok());
    let is_recent = version.is_some_and(|version: u32| version >= LEAST);
    let node = if is_recent { PathBuf::from("node") } else { packages().join(".bin/node") };
    let is_there = is_recent || is_installed(&node.display().to_string());
    if !is_there || !packages().join("webgpu").is_dir() {
        let mut install = Command::new("npm");
        install
            .args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
            .arg(packages().with_file_name(""));
        run(install.arg(DAWN).args((!is_recent).then_some(NODE)))?;
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_kernel_and_too_few_kernels_fail() {
        let check = |right: usize, wrong: usize| {
            let kernel = |right| json!({ "kernel": "gelu.jvp", "right": right });
            let all: Vec<Value> = (0..right + wrong).map(|i| kernel(i < right)).collect();
            json!({ "compared": all })
        };
        assert_eq!(kernels_are_right(&check(81, 0)), Ok(()));
        assert!(kernels_are_right(&check(80, 0)).is_err());
        assert!(kernels_are_right(&check(100, 1)).is_err_and(|e| e.contains("gelu.jvp")));
        assert!(kernels_are_right(&json!({})).is_err());
    }
}
