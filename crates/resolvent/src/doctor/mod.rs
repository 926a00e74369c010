//! Describes this machine and this program, for bug reports: devices, caches, environment variables, and what to do.

mod advice;
mod folders;
mod variables;

use resolvent_engine::{Choice, Device, Info, Options, adapters};
use resolvent_ops::tuning;
use serde_json::{Value, json};

pub use advice::missing_adapter;
pub use folders::{CacheFolder, CachePart};
pub use variables::Variable;

use crate::open::{SelfTest, open_tuned, passed_before, self_test, with_cache};

/// Version of the JSON format.
const SCHEMA: u64 = 1;

/// What is known about the self-test of an adapter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TestState {
    /// It has passed just now.
    Passed(SelfTest),
    /// It was not run; an earlier process has passed it, with the same driver and kernel variants.
    PassedBefore,
    /// It was not run, neither now nor before. The first use of the adapter runs it.
    NotRun,
    /// It has failed, or the adapter does not open.
    Failed(String),
    /// The host executor has none: the self-test compares adapters with it.
    IsReference,
}

/// An adapter of this machine, or the host executor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceState {
    /// What `--device` accepts for it: its index, or `host`.
    pub choice: String,
    /// Name, driver and abilities.
    pub info: Info,
    /// The state of its self-test.
    pub test: TestState,
}

/// The description of a machine and of this program.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The version of this program.
    pub version: &'static str,
    /// The version of the compiler that built it, as `rustc --version` prints it.
    pub compiler: &'static str,
    /// The features of Cargo that it was built with.
    pub features: Vec<&'static str>,
    /// Whether it was built without optimisation.
    pub is_debug: bool,
    /// The processor's architecture, the operating system and, on Linux, its release.
    pub system: String,
    /// All devices, adapters first.
    pub devices: Vec<DeviceState>,
    /// The name of the device that `auto` selects, or why it selects none.
    pub auto: String,
    /// The folders of cached files.
    pub caches: Vec<CacheFolder>,
    /// The environment variables that are set, of those that have an effect.
    pub variables: Vec<Variable>,
    /// What to do, one sentence each; empty if nothing is wrong.
    pub advice: Vec<String>,
}

/// Describes this machine and this program. With `test`, the self-test of each adapter runs, which takes seconds.
pub fn diagnose(test: bool) -> Diagnosis {
    let mut devices: Vec<DeviceState> =
        adapters().into_iter().enumerate().map(|(i, info)| state(i, info, test)).collect();
    let host = Device::host().info().clone();
    devices.push(DeviceState { choice: "host".to_owned(), info: host, test: TestState::IsReference });
    let auto = match Device::open(&Options::default()) {
        Ok(device) => device.info().name.clone(),
        Err(error) => error.to_string(),
    };
    let (caches, variables) = (folders::caches(), variables::set(|name| std::env::var_os(name)));
    let mut found = Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        compiler: env!("RESOLVENT_COMPILER"),
        features: features(),
        is_debug: cfg!(debug_assertions),
        system: system(),
        devices,
        auto,
        caches,
        variables,
        advice: Vec::new(),
    };
    found.advice = advice::of(&found);
    found
}

fn state(index: usize, info: Info, test: bool) -> DeviceState {
    let options = with_cache(&Options::new(Choice::Index(index)));
    let test = match open_tuned(&options) {
        Err(error) => TestState::Failed(error.to_string()),
        Ok(device) if test => match self_test(&device) {
            Ok(passed) => TestState::Passed(passed),
            Err(fault) => TestState::Failed(fault.to_string()),
        },
        Ok(device) if passed_before(&device, &tuning::describe(&device)) => TestState::PassedBefore,
        Ok(_) => TestState::NotRun,
    };
    DeviceState { choice: index.to_string(), info, test }
}

fn features() -> Vec<&'static str> {
    let all = [("atlas", cfg!(feature = "atlas")), ("hub", cfg!(feature = "hub"))];
    all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}

fn system() -> String {
    let machine = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    // Other systems may have a file of this name that describes another one, as under Wine.
    let release = cfg!(target_os = "linux").then(|| std::fs::read_to_string("/etc/os-release").unwrap_or_default());
    let release = release.unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    match name.map(|name| name.trim_matches('"')).filter(|name| !name.is_empty()) {
        Some(name) => format!("{machine}, {name}"),
        None => machine,
    }
}

impl TestState {
    /// Returns its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::PassedBefore => "passed before",
            Self::NotRun => "not run",
            Self::Failed(_) => "failed",
            Self::IsReference => "reference",
        }
    }
}

impl std::fmt::Display for TestState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed(test) => {
                write!(f, "self-test passed: {:.1e} from the host, adjoint {:.1e}", test.worst(), test.adjoint)
            }
            Self::PassedBefore => f.write_str("self-test passed before, and not repeated"),
            Self::NotRun => f.write_str("self-test not run yet: the first use runs it"),
            Self::Failed(reason) => write!(f, "self-test FAILED: {reason}"),
            Self::IsReference => f.write_str("the reference of the self-test"),
        }
    }
}

impl Diagnosis {
    /// Returns the description as JSON.
    pub fn to_json(&self) -> Value {
        let device = |d: &DeviceState| {
            let (error, adjoint) = match &d.test {
                TestState::Passed(test) => (json!(test.worst()), json!(test.adjoint)),
                _ => (Value::Null, Value::Null),
            };
            json!({
                "choice": d.choice, "name": d.info.name, "kind": d.info.kind.to_string(), "backend": d.info.backend,
                "driver": d.info.driver, "subgroups": d.info.subgroups, "f16": d.info.f16,
                "cooperative": d.info.cooperative, "timestamps": d.info.timestamps, "max_binding": d.info.max_binding,
                "self_test": d.test.name(), "self_test_text": d.test.to_string(), "error": error, "adjoint": adjoint,
            })
        };
        let cache = |c: &CacheFolder| {
            let parts = c.parts.iter().map(|p| json!({ "name": p.name, "files": p.files, "bytes": p.bytes }));
            json!({
                "name": c.name, "path": c.path, "exists": c.exists, "writable": c.is_writable,
                "parts": parts.collect::<Vec<_>>(),
            })
        };
        let variables = self.variables.iter().map(|v| (v.name.to_owned(), json!(v.value)));
        json!({
            "schema": SCHEMA,
            "version": self.version,
            "compiler": self.compiler,
            "features": self.features,
            "debug": self.is_debug,
            "system": self.system,
            "devices": self.devices.iter().map(device).collect::<Vec<_>>(),
            "auto": self.auto,
            "caches": self.caches.iter().map(cache).collect::<Vec<_>>(),
            "variables": variables.collect::<serde_json::Map<_, _>>(),
            "advice": self.advice,
        })
    }
}
