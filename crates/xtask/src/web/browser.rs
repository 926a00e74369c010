//! A headless browser, driven through the WebDriver protocol.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::request;
use crate::process::{Result, apt_install, is_installed};

/// Names of the browser and of its driver on various systems.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const DRIVER: &str = "chromedriver";

/// How long the driver may take to start.
const START: Duration = Duration::from_secs(30);

/// An open browser window. It is closed when this is dropped.
pub(super) struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Opens a headless browser.
    pub(super) fn open() -> Result<Self> {
        let program = installed()?;
        // The driver takes no port 0. Another process could take this one in between; then the driver fails to start.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = free.map_err(|e| format!("no free port: {e}"))?.port();
        let mut command = Command::new(DRIVER);
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().map_err(|e| format!("{DRIVER}: {e}"))?;
        let mut browser = Self { driver, port, session: String::new() };
        let started = Instant::now();
        while request(port, "GET", "/status", None).is_err() {
            if started.elapsed() > START {
                return Err(format!("{DRIVER} does not answer"));
            }
            sleep(Duration::from_millis(50));
        }
        // A container has no user namespaces for the sandbox, and a small /dev/shm. The page under test is our own.
        // The last two flags offer WebGPU without a GPU, by the browser's own software driver.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--enable-precise-memory-info",
            "--enable-unsafe-webgpu",
            "--use-webgpu-adapter=swiftshader",
        ];
        let options = json!({ "binary": path_of(program), "args": arguments });
        let logged = json!({ "browser": "ALL" });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logged });
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let opened = browser.send("POST", "/session", Some(&body))?;
        browser.session = opened["sessionId"].as_str().unwrap_or_default().to_owned();
        Ok(browser)
    }

    /// Sends a command of the protocol, and returns the value of its answer.
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut answer = request(self.port, method, path, body)?;
        let value = answer["value"].take();
        match value.get("error").and_then(Value::as_str) {
            Some(error) => {
                let message = value["message"].as_str().unwrap_or_default();
                Err(format!("browser: {error}: {}", message.lines().next().unwrap_or_default()))
            }
            None => Ok(value),
        }
    }

    fn command(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", &format!("/session/{}/{path}", self.session), Some(body))
    }

    /// Opens an address.
    pub(super) fn go(&self, address: &str) -> Result {
        self.command("url", &json!({ "url": address })).map(drop)
    }

    /// Sets the size of the page in pixels.
    pub(super) fn resize(&self, width: u32, height: u32) -> Result {
        // The window cannot be narrower than its frame allows; the emulated screen of a phone can.
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        let body = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.command("goog/cdp/execute", &body).map(drop)
    }

    /// Selects the colour scheme that the page sees: `light` or `dark`.
    pub(super) fn prefer(&self, scheme: &str) -> Result {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let body = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.command("goog/cdp/execute", &body).map(drop)
    }

    /// Ends the process that drives the GPU, as a fault of its driver does. The browser starts another one.
    pub(super) fn end_gpu(&self) -> Result {
        let body = json!({ "cmd": "Browser.crashGpuProcess", "params": {} });
        self.command("goog/cdp/execute", &body).map(drop)
    }

    /// Runs the body of a function in the page, and returns what it returns.
    pub(super) fn run(&self, script: &str) -> Result<Value> {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a script again and again until it returns something else than null or false.
    pub(super) fn wait(&self, what: &str, script: &str, seconds: u64) -> Result<Value> {
        let started = Instant::now();
        loop {
            let value = self.run(script)?;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return Ok(value);
            }
            if started.elapsed() > Duration::from_secs(seconds) {
                let said = self.run("return document.querySelector('#status').textContent")?;
                return Err(format!("{what}: nothing after {seconds} s; the page says {said}"));
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn element(&self, selector: &str) -> Result<String> {
        let found = self.command("element", &json!({ "using": "css selector", "value": selector }))?;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        Ok(id.ok_or_else(|| format!("the page has no {selector}"))?.to_owned())
    }

    /// Clicks an element, as a person would: it must be visible and not covered.
    pub(super) fn click(&self, selector: &str) -> Result {
        let id = self.element(selector)?;
        self.command(&format!("element/{id}/click"), &json!({})).map(drop)
    }

    /// Types into an element; it is cleared first if it has a value.
    pub(super) fn fill(&self, selector: &str, text: &str) -> Result {
        let id = self.element(selector)?;
        self.command(&format!("element/{id}/clear"), &json!({}))?;
        self.keys(selector, text)
    }

    /// Sends keys to an element. It gets the focus.
    pub(super) fn keys(&self, selector: &str, text: &str) -> Result {
        let id = self.element(selector)?;
        self.command(&format!("element/{id}/value"), &json!({ "text": text })).map(drop)
    }

    /// Returns the messages of warnings and errors that the page has logged since the last call.
    pub(super) fn complaints(&self) -> Result<Vec<String>> {
        let logged = self.command("se/log", &json!({ "type": "browser" }))?;
        let all = logged.as_array().into_iter().flatten();
        Ok(all.filter_map(|entry| entry["message"].as_str().map(str::to_owned)).collect())
    }

    /// Writes a picture of the whole page.
    pub(super) fn picture(&self, path: &Path) -> Result {
        let body = json!({ "cmd": "Page.captureScreenshot", "params": { "captureBeyondViewport": true } });
        let taken = self.command("goog/cdp/execute", &body)?;
        let bytes = decoded(taken["data"].as_str().unwrap_or_default());
        std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser when the session ends. Neither can be helped if it has gone already.
        let _closed = self.send("DELETE", &format!("/session/{}", self.session), None);
        let _ended = self.driver.kill();
        let _waited = self.driver.wait();
    }
}

/// Returns the browser's name. Browser and driver are installed if they are missing and this runs as root on Debian.
pub(super) fn installed() -> Result<&'static str> {
    let found = || BROWSERS.into_iter().find(|name| is_installed(name)).filter(|_| is_installed(DRIVER));
    if found().is_none() {
        let missing = Err(format!("{} and {DRIVER} are needed: install them", BROWSERS[0]));
        apt_install("a browser and its driver", &["chromium", "chromium-driver"]).unwrap_or(missing)?;
    }
    found().ok_or_else(|| "the browser that was installed does not start".to_owned())
}

/// Returns the path of a program that is found by its name.
fn path_of(program: &str) -> String {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.map_or_else(|| program.to_owned(), |path| path.display().to_string())
}

/// Decodes base64.
fn decoded(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(value).map(u32::from).collect();
    let group = |group: &[u32]| {
        let bits = group.iter().fold(0, |sum, digit| sum << 6 | digit) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..][..group.len() * 3 / 4].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE=", "fooba")] {
            assert_eq!(decoded(text), bytes.as_bytes());
        }
        assert_eq!(decoded("+/8="), [0xfb, 0xff]);
    }
}
