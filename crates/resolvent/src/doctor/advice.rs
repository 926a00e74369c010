//! What to do about the state of a machine.

use std::path::Path;

use resolvent_engine::{Kind, hidden_adapters};

use super::{Diagnosis, TestState};

/// Returns what to do, one sentence each.
pub(super) fn of(found: &Diagnosis) -> Vec<String> {
    let mut advice = Vec::new();
    let adapters: Vec<_> = found.devices.iter().filter(|d| !d.info.is_host()).collect();
    if adapters.is_empty() {
        let fix = missing_adapter();
        advice.push(format!("no GPU adapter was found; to use a GPU, {fix}; the host executor works without one"));
    } else if adapters.iter().all(|d| d.info.kind == Kind::Software) {
        let text =
            "only software adapters were found, and the host executor is faster; to use a GPU, install its driver";
        advice.push(text.to_owned());
    }
    for device in adapters {
        if let TestState::Failed(_) = device.test {
            advice.push(format!("update the driver of {}, or use --device host", device.info.name));
        }
    }
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "SSL_CERT_FILE"] {
        let value = found.variables.iter().find(|v| v.name == name).map_or("", |v| v.value.as_str());
        let is_missing = |path: &&str| !path.is_empty() && !Path::new(path).exists();
        if let Some(path) = split(value).find(is_missing) {
            advice.push(format!("{name} names {path}, which does not exist: correct it or unset it"));
        }
    }
    for cache in &found.caches {
        match &cache.path {
            Some(path) if !cache.is_writable => {
                advice.push(format!("{} cannot be written: make room, or name another folder", path.display()));
            }
            None => {
                advice.push("nothing is cached, so each process repeats its self-test: set RESOLVENT_CACHE".to_owned());
            }
            Some(_) => {}
        }
    }
    if found.is_debug {
        advice.push("this is a debug build, which is slow: build with --release".to_owned());
    }
    advice
}

/// Returns what to do where no GPU adapter is found.
pub fn missing_adapter() -> String {
    let install = match cfg!(windows) {
        true => "install the graphics driver of its maker",
        false => "install a Vulkan driver (on Debian: apt-get install mesa-vulkan-drivers)",
    };
    hidden_adapters().unwrap_or_else(|| install.to_owned())
}

/// Splits a list of paths at the platform's separator.
fn split(value: &str) -> impl Iterator<Item = &str> {
    value.split(if cfg!(windows) { ';' } else { ':' })
}

#[cfg(test)]
mod tests {
    use super::super::folders::CacheFolder;
    use super::super::variables::Variable;
    use super::super::{DeviceState, Diagnosis, TestState};
    use super::*;

    fn found(kind: Option<(Kind, TestState)>) -> Diagnosis {
        let host = resolvent_engine::Device::host().info().clone();
        let mut devices = vec![DeviceState { choice: "host".into(), info: host.clone(), test: TestState::IsReference }];
        devices.extend(kind.map(|(kind, test)| {
            let info = resolvent_engine::Info { kind, name: "card".to_owned(), ..host };
            DeviceState { choice: "0".into(), info, test }
        }));
        Diagnosis {
            version: "0",
            compiler: "rustc",
            features: Vec::new(),
            is_debug: false,
            system: String::new(),
            devices,
            auto: String::new(),
            caches: Vec::new(),
            variables: Vec::new(),
            advice: Vec::new(),
        }
    }

    #[test]
    fn a_machine_in_order_needs_nothing() {
        assert_eq!(of(&found(Some((Kind::Discrete, TestState::PassedBefore)))), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one = |found: &Diagnosis, part: &str| {
            let advice = of(found);
            assert!(advice.len() == 1 && advice[0].contains(part), "{advice:?}");
        };
        one(&found(None), "no GPU adapter was found");
        one(&found(Some((Kind::Software, TestState::NotRun))), "only software adapters");
        one(&found(Some((Kind::Discrete, TestState::Failed(String::new())))), "update the driver of card");
        let good = || found(Some((Kind::Discrete, TestState::NotRun)));
        one(&Diagnosis { is_debug: true, ..good() }, "--release");
        let value = "/no/such/driver.json".to_owned();
        one(
            &Diagnosis { variables: vec![Variable { name: "VK_DRIVER_FILES", value }], ..good() },
            "/no/such/driver.json",
        );
        let cache = |path: Option<&str>| {
            let path = path.map(Into::into);
            vec![CacheFolder { name: "c", path, exists: false, is_writable: false, parts: Vec::new() }]
        };
        one(&Diagnosis { caches: cache(None), ..good() }, "RESOLVENT_CACHE");
        one(&Diagnosis { caches: cache(Some("/c")), ..good() }, "/c cannot be written");
    }
}
