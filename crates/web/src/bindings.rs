//! What JavaScript calls. Errors become exceptions with the same message.

use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{Answer, Explorer};

#[wasm_bindgen]
extern "C" {
    /// Tells the worker why the engine stopped. After a panic no call returns, so the message cannot be an exception.
    #[wasm_bindgen(js_namespace = globalThis, js_name = engineStopped)]
    fn engine_stopped(message: &str);
}

/// The engine, as JavaScript sees it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Engine {
    explorer: Explorer,
    files: Vec<(String, Vec<u8>)>,
}

#[wasm_bindgen]
#[expect(deprecated, reason = "wasm-bindgen marks its support of suspension so, because it is new")]
impl Engine {
    /// Creates the engine, without a model.
    #[wasm_bindgen(constructor)]
    #[expect(clippy::new_without_default, reason = "JavaScript has no defaults")]
    pub fn new() -> Self {
        std::panic::set_hook(Box::new(|info| engine_stopped(&info.to_string())));
        Self { explorer: Explorer::new(), files: Vec::new() }
    }

    /// Opens another device; see [`Explorer::choose`].
    #[wasm_bindgen(jspi)]
    pub fn choose(&mut self, device: &str) -> Result<String, JsError> {
        Ok(self.explorer.choose(device)?)
    }

    /// Describes the device.
    pub fn device(&self) -> String {
        self.explorer.device()
    }

    /// Adds a file of the next model.
    pub fn file(&mut self, name: String, bytes: Vec<u8>) {
        self.files.push((name, bytes));
    }

    /// Opens the model of the files that were added; see [`Explorer::open`].
    #[wasm_bindgen(jspi)]
    pub fn open(&mut self, name: &str) -> Result<String, JsError> {
        Ok(self.explorer.open(name, std::mem::take(&mut self.files))?)
    }

    /// Returns the texts of a prompt's tokens; see [`Explorer::tokens`].
    pub fn tokens(&self, prompt: &str) -> Result<String, JsError> {
        Ok(self.explorer.tokens(prompt)?)
    }

    /// Returns the texts of token ids; see [`Explorer::texts`].
    pub fn texts(&self, ids: &[u32]) -> Result<String, JsError> {
        Ok(self.explorer.texts(ids)?)
    }

    /// Returns tokens that begin with a text; see [`Explorer::completions`].
    pub fn completions(&self, prefix: &str, most: usize) -> Result<String, JsError> {
        Ok(self.explorer.completions(prefix, most)?)
    }

    /// Runs an analysis; see [`Explorer::ask`].
    #[wasm_bindgen(jspi)]
    pub fn ask(&self, request: &str) -> Result<Reply, JsError> {
        Ok(Reply(self.explorer.ask(request)?))
    }
}

/// An answer, as JavaScript sees it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Reply(Answer);

#[wasm_bindgen]
impl Reply {
    /// Returns the result; see [`Answer::result_json`].
    pub fn result(&self) -> String {
        self.0.result_json()
    }

    /// Returns labels, checks and figures; see [`Answer::shown_json`].
    pub fn shown(&self) -> String {
        self.0.shown_json()
    }

    /// Returns the bytes of the result's file; see [`Answer::safetensors`].
    pub fn safetensors(&self) -> Result<Vec<u8>, JsError> {
        Ok(self.0.safetensors()?)
    }
}
