//! Uses the page in a real browser, as a person would, and compares its numbers with those of the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::browser::Browser;
use super::compare::{BOUND, compare};
use super::{Server, build};
use crate::process::{Result, cargo, output, root, run};

/// Longest wait for a step of the page, in seconds.
const PATIENCE: u64 = 240;

/// Key of the WebDriver protocol: arrow down, and enter.
const DOWN: &str = "\u{e015}";
const ENTER: &str = "\u{e007}";
const RIGHT: &str = "\u{e014}";

/// Builds the page and the command line, and tests one against the other.
pub(crate) fn test() -> Result {
    let started = Instant::now();
    let folder = build()?;
    run(&mut cargo(&["build", "--package", "resolvent-cli"]))?;
    eprintln!("built in {:.0} s", started.elapsed().as_secs_f64());
    let broken = served(broken_copy(&folder)?)?;
    let address = served(folder)?;
    let pictures = root().join("target/web-test");
    fs::create_dir_all(&pictures).map_err(|e| format!("{}: {e}", pictures.display()))?;
    let page = Page { browser: Browser::open()?, address, pictures };
    let started = Instant::now();
    page.first_map()?;
    page.places()?;
    page.links()?;
    page.mistakes()?;
    page.own_models()?;
    page.phone()?;
    page.webgpu()?;
    page.broken_driver(&broken)?;
    eprintln!("tested in {:.0} s; pictures are in {}", started.elapsed().as_secs_f64(), page.pictures.display());
    println!("{STEPS} passed, 0 failed");
    Ok(())
}

/// Number of steps of the test.
const STEPS: usize = 8;

/// The page in a browser.
struct Page {
    browser: Browser,
    address: String,
    pictures: PathBuf,
}

impl Page {
    /// Opens the page with settings in its address, and waits until all is computed.
    fn open(&self, settings: &str) -> Result {
        // Another address with the same path would only change the settings of the open page.
        self.browser.go("about:blank")?;
        self.browser.go(&format!("{}#{settings}", self.address))?;
        self.done()
    }

    /// Waits until the page is idle, and returns its error if it shows one.
    fn done(&self) -> Result {
        let idle = "return document.querySelector('#compute').disabled === false";
        self.browser.wait("the page computes", idle, PATIENCE)?;
        match self.error()? {
            text if text.is_empty() => Ok(()),
            text => Err(format!("the page shows: {text}")),
        }
    }

    fn error(&self) -> Result<String> {
        let shown =
            self.browser.run("const e = document.querySelector('#error'); return e.hidden ? '' : e.textContent")?;
        Ok(shown.as_str().unwrap_or_default().to_owned())
    }

    /// Returns whether a condition of the page is true.
    fn is(&self, condition: &str) -> Result {
        match self.browser.run(&format!("return Boolean({condition})"))? {
            Value::Bool(true) => Ok(()),
            _ => Err(format!("not so: {condition}")),
        }
    }

    /// Compares every result that the page shows with what the command prints that the page names for it.
    fn compare_all(&self, expected: &[&str]) -> Result {
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
            let theirs = parsed(&printed(command)?)?;
            let worst = compare(name, &ours, &theirs)?;
            eprintln!("{name:<12} equal to the command line's to {worst:.1e} (at most {BOUND:e})");
        }
        Ok(())
    }

    /// The default prompts: times, sizes, numbers.
    fn first_map(&self) -> Result {
        self.browser.resize(1280, 900)?;
        self.open("")?;
        let figures = self.browser.run(
            "return [document.body.dataset.first, explorer.answers().patch.seconds, \
             Math.max(...Object.values(explorer.answers()).map((a) => a.memory)) / 2 ** 20]",
        )?;
        eprintln!("first map after {} s, patch {} s, memory of the engine {} MiB", figures[0], figures[1], figures[2]);
        self.is("document.querySelectorAll('#map [role=gridcell]').length === 9 * 14")?;
        self.is("document.querySelector('#scatter svg')")?;
        self.is("/^host executor.*the GPU of this browser is software/.test(document.querySelector('#runs-on').textContent)")?;
        self.compare_all(&["patch", "sensitivity"])
    }

    /// Choices by click and by keys: response, lens, amplitudes, directions, code.
    fn places(&self) -> Result {
        let browser = &self.browser;
        browser.click("#map [data-place='4,9']")?;
        self.done()?;
        self.is("location.hash.includes('place=4%2C9')")?;
        self.is("document.querySelectorAll('#cone [role=gridcell]').length === 9 * 14")?;
        self.is("document.querySelectorAll('#lens tbody tr').length === 9")?;
        self.compare_all(&["patch", "sensitivity", "green", "lens", "regime", "writers"])?;
        // The displacement with amplitude 1 is the patch.
        let [finite, effect] = [
            "const a = explorer.answers(); return a.regime.result.arrays.finite.data[19]",
            "return explorer.answers().patch.result.arrays.effect.data[4 * 14 + 9]",
        ]
        .map(|script| browser.run(script).map(|x| x.as_f64().unwrap_or(f64::NAN)));
        let (finite, effect) = (finite?, effect?);
        if (finite - effect).abs() > 1e-4 * effect.abs() || !finite.is_finite() {
            return Err(format!("the source of amplitude 1 changes J by {finite}, and the patch by {effect}"));
        }
        browser.picture(&self.pictures.join("desktop.png"))?;

        let before = browser.run("return document.querySelector('#finite').textContent")?;
        browser.keys("#amplitude", RIGHT)?;
        self.is(&format!("document.querySelector('#finite').textContent !== {before}"))?;
        self.is("location.hash.includes('amplitude=1.1')")?;
        browser.click("#map [data-place='4,9']")?;
        self.done()?;
        browser.keys("#map [data-place='4,9']", DOWN)?;
        self.is("document.activeElement.dataset.place === '3,9'")?;
        browser.keys("#map [data-place='3,9']", ENTER)?;
        self.done()?;
        self.is("document.querySelector('#place-title').textContent.includes('h[3,9]')")?;
        browser.click("input[name=map][value=sensitivity]")?;
        self.is("document.querySelector('#map [role=gridcell]').getAttribute('aria-label').includes('dJ/dh')")?;
        for language in ["python", "rust"] {
            browser.click(&format!("input[name=language][value={language}]"))?;
            self.is("document.querySelector('#code').textContent.includes('atlas-small')")?;
        }
        // Another source: what the strongest writer changes.
        let writer = browser.run("return document.querySelector('#writers button').dataset.writer")?;
        let writer = writer.as_str().unwrap_or_default().to_owned();
        browser.click("#writers button")?;
        self.done()?;
        self.is(&format!("location.hash.includes('direction=writer%3A{writer}')"))?;
        self.compare_all(&["patch", "sensitivity", "green", "lens", "regime", "writers"])?;
        self.is("document.querySelectorAll('#downloads a[href^=blob]').length >= 15")?;
        self.is("document.querySelectorAll('#checks li').length >= 10")?;
        let size = "const a = document.querySelector('#downloads a[download=\"patch.safetensors\"]'); \
                    const r = new XMLHttpRequest(); r.open('GET', a.href, false); r.overrideMimeType('text/plain; \
                    charset=x-user-defined'); r.send(); return r.response.length === explorer.answers().patch.file.length";
        self.is(&format!("(() => {{ {size} }})()"))?;
        self.quiet()
    }

    /// A link shows what its sender saw; other directions and models.
    fn links(&self) -> Result {
        let settings = "model=atlas-nano&place=2%2C4&direction=sensitivity&amplitude=0.5&map=first_order&language=rust&\
                        clean=The+capital+of+France+is&corrupted=The+capital+of+Italy+is&target=+Paris&against=+Rome";
        self.open(settings)?;
        self.is("document.querySelector('#clean').value === 'The capital of France is'")?;
        self.is("document.querySelector('#direction').value === 'sensitivity'")?;
        self.is("document.querySelector('#code').textContent.includes('Observable::logit_diff')")?;
        self.is("document.querySelector('input[name=map]:checked').value === 'first_order'")?;
        self.compare_all(&["patch", "sensitivity", "green", "lens", "regime", "writers"])?;
        self.quiet()
    }

    /// Wrong input: the message of the library is shown, and the page goes on.
    fn mistakes(&self) -> Result {
        let browser = &self.browser;
        let wrong = |selector: &str, text: &str, message: &str| {
            let before = browser.run(&format!("return document.querySelector('{selector}').value"))?;
            browser.fill(selector, text)?;
            browser.click("#compute")?;
            let idle = "return document.querySelector('#compute').disabled === false";
            browser.wait("a mistake is found", idle, PATIENCE)?;
            let shown = self.error()?;
            if !shown.contains(message) {
                return Err(format!("`{text}` in {selector} shows `{shown}` instead of `{message}`"));
            }
            browser.fill(selector, before.as_str().unwrap_or_default())
        };
        wrong("#corrupted", "The capital is", "give prompts of the same length")?;
        wrong("#target", "Paris is", "a target must be one token")?;
        wrong("#clean", "", "the prompt is empty")?;
        browser.click("#compute")?;
        self.done()?;
        self.quiet()
    }

    /// Own models: a directory, a GGUF file, and files that are none.
    fn own_models(&self) -> Result {
        let browser = &self.browser;
        let atlas = root().join("crates/model/atlas");
        let paths = ["nano/config.json", "nano/model.safetensors", "tokenizer.json"].map(|name| atlas.join(name));
        browser.keys("#files", &paths.map(|path| path.display().to_string()).join("\n"))?;
        self.done()?;
        self.is("document.body.dataset.model.includes('own-model')")?;
        let hash = browser.run("return explorer.answers().patch.result.metadata.model_hash")?;
        let command = "resolvent run x --model atlas-nano --device host";
        if parsed(&printed(command)?)?["metadata"]["model_hash"] != hash {
            return Err("the model of the user's files has another hash than the same model of the program".to_owned());
        }
        // Otherwise the driver adds files to those that were chosen before.
        browser.run("document.querySelector('#files').value = ''")?;
        let hostile = self.pictures.join("hostile.gguf");
        fs::write(&hostile, b"not a model").map_err(|e| format!("{}: {e}", hostile.display()))?;
        browser.keys("#files", &hostile.display().to_string())?;
        let shown =
            "return !document.querySelector('#error').hidden && document.querySelector('#compute').disabled === false";
        browser.wait("a hostile file is refused", shown, PATIENCE)?;
        match self.error()? {
            text if text.contains("hostile") && text.contains("does not begin with GGUF") => Ok(()),
            text => Err(format!("a hostile file shows `{text}`")),
        }
    }

    /// The page on a phone and in the dark.
    fn phone(&self) -> Result {
        self.browser.resize(390, 844)?;
        self.browser.prefer("dark")?;
        self.open("model=atlas-micro&place=2%2C9")?;
        // Maps scroll; the page itself does not.
        self.is("document.documentElement.scrollWidth <= innerWidth")?;
        self.browser.picture(&self.pictures.join("phone.png"))?;
        self.browser.resize(1280, 900)?;
        self.browser.picture(&self.pictures.join("dark.png"))
    }

    /// The same analyses on the browser's WebGPU.
    fn webgpu(&self) -> Result {
        self.open("device=gpu&place=4%2C9")?;
        let figures = self.browser.run(
            "return [document.querySelector('#runs-on').textContent, document.body.dataset.first, \
             explorer.answers().patch.seconds]",
        )?;
        eprintln!("{}: first map after {} s, patch {} s", figures[0], figures[1], figures[2]);
        self.is("document.querySelector('#runs-on').textContent.startsWith('WebGPU')")?;
        self.compare_all(&["patch", "sensitivity", "green", "lens", "regime", "writers"])?;
        self.quiet()
    }

    /// A driver that computes a function wrongly is refused by the self-test.
    fn broken_driver(&self, address: &str) -> Result {
        self.browser.go(&format!("{address}#device=gpu"))?;
        let shown =
            "return !document.querySelector('#error').hidden && document.querySelector('#compute').disabled === false";
        self.browser.wait("a broken driver is refused", shown, PATIENCE)?;
        match self.error()? {
            text if text.contains("fails its self-test") => Ok(()),
            text => Err(format!("a broken driver shows `{text}`")),
        }
    }

    /// Fails if the page has logged warnings or errors.
    fn quiet(&self) -> Result {
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

/// Copies the page, without its models, for a browser whose driver computes square roots wrongly.
fn broken_copy(folder: &Path) -> Result<PathBuf> {
    const BREAK: &str = "const whole = GPUDevice.prototype.createShaderModule;
        GPUDevice.prototype.createShaderModule = function (text) {
          return whole.call(this, { ...text, code: text.code.replaceAll('sqrt(', '0.999 * sqrt(') });
        };\n";
    let copy = root().join("target/web-test/broken");
    let failed = |e: std::io::Error| format!("{}: {e}", copy.display());
    fs::create_dir_all(&copy).map_err(failed)?;
    for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
        let path = entry.path();
        if path.is_file() {
            fs::copy(&path, copy.join(entry.file_name())).map_err(failed)?;
        }
    }
    let worker = copy.join("worker.js");
    let text = fs::read_to_string(&worker).map_err(failed)?;
    fs::write(&worker, BREAK.to_owned() + &text).map_err(failed)?;
    Ok(copy)
}

/// Runs a command as the page shows it, and returns the JSON that it prints.
fn printed(command: &str) -> Result<String> {
    let mut shell = Command::new("sh");
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut path = vec![root().join("target/debug")];
    path.extend(std::env::split_paths(&folders));
    let path = std::env::join_paths(path).map_err(|e| e.to_string())?;
    output(shell.args(["-c", &format!("{command} --json")]).env("PATH", path).current_dir(root()))
}

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))
}
