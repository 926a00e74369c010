//! The environment variables that have an effect.

use std::ffi::OsString;

/// An environment variable that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its value, or `(set)` if the value may be a secret.
    pub value: String,
}

/// Variables whose values are shown.
const SHOWN: [&str; 23] = [
    "RESOLVENT_CACHE",
    "RESOLVENT_DEVICE",
    "RESOLVENT_LOG",
    "WGPU_BACKEND",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "MESA_VK_DEVICE_SELECT",
    "CUDA_VISIBLE_DEVICES",
    "RAYON_NUM_THREADS",
    "RESOLVENT_SIMD",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "SSL_CERT_FILE",
    "NO_COLOR",
    "COLUMNS",
    "TERM",
    "LANG",
];

/// Variables whose values may contain a password: only whether they are set is shown.
const SECRET: [&str; 7] =
    ["HF_TOKEN", "HF_ENDPOINT", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"];

/// Returns the variables that are set.
pub(super) fn set(variable: impl Fn(&str) -> Option<OsString>) -> Vec<Variable> {
    let shown = SHOWN.into_iter().filter_map(|name| {
        let value = variable(name)?.to_string_lossy().into_owned();
        Some(Variable { name, value })
    });
    let secret = SECRET.into_iter().filter(|name| variable(name).is_some());
    shown.chain(secret.map(|name| Variable { name, value: "(set)".to_owned() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let all = [("HF_TOKEN", "hf_secret"), ("HTTP_PROXY", "http://me:word@proxy"), ("TERM", "dumb")];
        let found = set(|name| all.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value)));
        let text: Vec<String> = found.iter().map(|v| format!("{}={}", v.name, v.value)).collect();
        assert_eq!(text, ["TERM=dumb", "HF_TOKEN=(set)", "HTTP_PROXY=(set)"]);
    }
}
