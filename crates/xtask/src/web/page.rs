//! The page in a real browser: what all steps of its test do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;

use super::Server;
use super::browser::Browser;
use super::compare::{BOUND, compare};
use crate::process::{Result, output, root};

/// Longest wait for a step of the page, in seconds. A software driver compiles the kernels of the check for minutes.
pub(super) const PATIENCE: u64 = 900;

/// Where pictures and files of the test are, below the root.
const FILES: &str = "target/web-test";

/// The page in a browser.
pub(super) struct Page {
    pub(super) browser: Browser,
    /// The folder of the page.
    folder: PathBuf,
    address: String,
}

impl Page {
    /// Serves the page of a folder, and opens a browser.
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        let files = root().join(FILES);
        fs::create_dir_all(&files).map_err(|e| format!("{}: {e}", files.display()))?;
        let address = served(folder.clone())?;
        Ok(Self { browser: Browser::open()?, folder, address })
    }

    /// Returns the folder of the page.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of a file of the test.
    pub(super) fn file(name: &str) -> PathBuf {
        root().join(FILES).join(name)
    }

    /// Writes a file of the test, and returns its path.
    pub(super) fn write(name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = Self::file(name);
        fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// Serves a copy of the page whose worker is altered, and opens it with settings in its address.
    pub(super) fn altered(&self, name: &str, settings: &str, alter: impl Fn(String) -> String) -> Result {
        let copy = Self::file(name);
        copy_all(&self.folder, &copy)?;
        let worker = copy.join("worker.js");
        let failed = |e: std::io::Error| format!("{}: {e}", worker.display());
        let text = fs::read_to_string(&worker).map_err(failed)?;
        let altered = alter(text.clone());
        if altered == text {
            return Err(format!("{name}: the worker is not altered"));
        }
        fs::write(&worker, altered).map_err(failed)?;
        self.browser.go(&format!("{}#{settings}", served(copy)?))
    }

    /// Sets size and colours of the screen, and forgets what other pages have logged.
    pub(super) fn reset(&self) -> Result {
        self.browser.resize(1280, 900)?;
        self.browser.prefer("light")?;
        self.browser.complaints().map(drop)
    }

    /// Begins to open the page with settings in its address.
    pub(super) fn begin(&self, settings: &str) -> Result {
        // Another address with the same path would only change the settings of the open page.
        self.browser.go("about:blank")?;
        self.browser.go(&format!("{}#{settings}", self.address))
    }

    /// Opens the page with settings in its address, and waits until all is computed.
    pub(super) fn open(&self, settings: &str) -> Result {
        self.begin(settings)?;
        self.done()
    }

    /// Waits until the page is idle, and returns its error if it shows one.
    pub(super) fn done(&self) -> Result {
        match self.idle()? {
            text if text.is_empty() => Ok(()),
            text => Err(format!("the page shows: {text}")),
        }
    }

    /// Returns whether the page is open on a GPU, whose self-test takes long.
    pub(super) fn on_gpu(&self) -> Result<bool> {
        let shown = self.browser.run("return document.querySelector('#runs-on')?.textContent.startsWith('WebGPU')")?;
        Ok(shown == true)
    }

    /// Waits until the page is idle, and returns the message that it shows.
    pub(super) fn idle(&self) -> Result<String> {
        let idle = "return document.querySelector('#compute').disabled === false";
        self.browser.wait("the page computes", idle, PATIENCE)?;
        self.error()
    }

    /// Waits until the page is idle. Fails if it does not show a message with all `parts`.
    pub(super) fn refuses(&self, what: &str, parts: &[&str]) -> Result {
        let shown = self.idle()?;
        match parts.iter().all(|part| shown.contains(part)) {
            true => Ok(()),
            false => Err(format!("{what}: the page shows `{shown}` instead of {parts:?}")),
        }
    }

    fn error(&self) -> Result<String> {
        let shown =
            self.browser.run("const e = document.querySelector('#error'); return e.hidden ? '' : e.textContent")?;
        Ok(shown.as_str().unwrap_or_default().to_owned())
    }

    /// Returns whether a condition of the page is true.
    pub(super) fn is(&self, condition: &str) -> Result {
        match self.browser.run(&format!("return Boolean({condition})"))? {
            Value::Bool(true) => Ok(()),
            _ => Err(format!("not so: {condition}")),
        }
    }

    /// Compares every result that the page shows with what the command prints that the page names for it.
    pub(super) fn compare_all(&self, expected: &[&str]) -> Result {
        self.compare_with(expected, &|command| command)
    }

    /// Compares as [`Self::compare_all`], with commands that are changed before they run.
    pub(super) fn compare_with(&self, expected: &[&str], change: &dyn Fn(String) -> String) -> Result {
        let commands = self.browser.run("return explorer.commands()")?;
        let texts = self
            .browser
            .run("return Object.fromEntries(Object.entries(explorer.answers()).map(([k, a]) => [k, a.text]))")?;
        let texts = texts.as_object().cloned().unwrap_or_default();
        if !expected.iter().all(|name| texts.contains_key(*name)) || texts.len() != expected.len() {
            return Err(format!("the page has results {:?}, and {expected:?} are expected", texts.keys()));
        }
        for (name, text) in &texts {
            let command = commands[name].as_str().ok_or_else(|| format!("the page names no command for {name}"))?;
            let ours = parsed(text.as_str().unwrap_or_default())?;
            let theirs = parsed(&printed(&change(command.to_owned()))?)?;
            let worst = compare(name, &ours, &theirs)?;
            eprintln!("{name:<12} equal to the command line's to {worst:.1e} (at most {BOUND:e})");
        }
        Ok(())
    }

    /// Fails if the page has logged warnings or errors.
    pub(super) fn quiet(&self) -> Result {
        match self.browser.complaints()? {
            all if all.is_empty() => Ok(()),
            all => Err(format!("the page logs {}", all.join("; "))),
        }
    }
}

/// Serves a folder, and returns its address.
fn served(folder: PathBuf) -> Result<String> {
    let server = Server::bind(0)?;
    let address = format!("http://{}/", server.address());
    thread::spawn(move || server.serve(&folder));
    Ok(address)
}

/// Copies a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) -> Result {
    let failed = |e: std::io::Error| format!("{}: {e}", to.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)?.flatten() {
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy_all(&path, &copy)?,
            false => fs::copy(&path, &copy).map(drop).map_err(failed)?,
        }
    }
    Ok(())
}

/// Runs a command as the page shows it, and returns the JSON that it prints.
pub(super) fn printed(command: &str) -> Result<String> {
    let mut shell = Command::new("sh");
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut path = vec![root().join("target/debug")];
    path.extend(std::env::split_paths(&folders));
    let path = std::env::join_paths(path).map_err(|e| e.to_string())?;
    output(shell.args(["-c", &format!("{command} --json")]).env("PATH", path).current_dir(root()))
}

pub(super) fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))
}
