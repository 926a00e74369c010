//! What JavaScript calls. Errors become exceptions with the same message.

use resolvent::engine::reported;
use resolvent_report::figure_style;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{Answer, Explorer};

#[wasm_bindgen]
extern "C" {
    /// Tells the worker why the engine stopped. After a panic no call returns, so the message cannot be an exception.
    #[wasm_bindgen(js_namespace = globalThis, js_name = engineStopped)]
    fn engine_stopped(message: &str);

    /// Tells the worker how far long work is.
    #[wasm_bindgen(js_namespace = globalThis, js_name = engineStep)]
    fn engine_step(done: f64, all: f64);

    /// Tells the worker what is being done.
    #[wasm_bindgen(js_namespace = globalThis, js_name = engineDoes)]
    fn engine_does(what: &str);
}

/// The engine, as JavaScript sees it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Engine {
    explorer: Explorer,
}

/// Runs long work, whose steps are reported to the worker.
fn stepwise<T>(work: impl FnOnce() -> T) -> T {
    reported(|step| engine_step(step.done as f64, step.all as f64), work)
}

#[wasm_bindgen]
#[expect(deprecated, reason = "wasm-bindgen marks its support of suspension so, because it is new")]
impl Engine {
    /// Creates the engine, without a model.
    #[wasm_bindgen(constructor)]
    #[expect(clippy::new_without_default, reason = "JavaScript has no defaults")]
    pub fn new() -> Self {
        std::panic::set_hook(Box::new(|info| engine_stopped(&info.to_string())));
        Self { explorer: Explorer::new() }
    }

    /// Opens another device; see [`Explorer::choose`].
    #[wasm_bindgen(jspi)]
    pub fn choose(&mut self, device: &str) -> Result<String, JsError> {
        Ok(self.explorer.choose(device)?)
    }

    /// Returns the style sheet of drawings; see [`figure_style`].
    #[wasm_bindgen(js_name = figureStyle)]
    pub fn figure_style(&self) -> String {
        figure_style()
    }

    /// Describes the device.
    pub fn device(&self) -> String {
        self.explorer.device()
    }

    /// Returns the message of a lost GPU; see [`Explorer::lost`].
    pub fn lost(&self) -> Option<String> {
        self.explorer.lost()
    }

    /// Drops the files of a model that was not opened; see [`Explorer::drop_files`].
    #[wasm_bindgen(js_name = dropFiles)]
    pub fn drop_files(&mut self) {
        self.explorer.drop_files();
    }

    /// Begins a file of the next model; see [`Explorer::begin_file`].
    #[wasm_bindgen(js_name = beginFile)]
    pub fn begin_file(&mut self, name: &str, bytes: f64) -> Result<(), JsError> {
        Ok(self.explorer.begin_file(name, bytes as u64)?)
    }

    /// Appends a piece to the file that was begun last; see [`Explorer::append`].
    pub fn append(&mut self, piece: &[u8]) -> Result<(), JsError> {
        Ok(self.explorer.append(piece)?)
    }

    /// Opens the model of the files that were added; see [`Explorer::open_added`].
    #[wasm_bindgen(jspi)]
    pub fn open(&mut self, name: &str) -> Result<String, JsError> {
        Ok(stepwise(|| self.explorer.open_added(name))?)
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

    /// Compares every kernel with its host body; see [`Explorer::check_kernels`].
    #[wasm_bindgen(jspi, js_name = checkKernels)]
    pub fn check_kernels(&self) -> Result<String, JsError> {
        Ok(self.explorer.check_kernels(&mut engine_does)?)
    }

    /// Times the device with the model of the files that were added; see [`Explorer::bench`].
    #[wasm_bindgen(jspi)]
    pub fn bench(&mut self, name: &str) -> Result<String, JsError> {
        Ok(self.explorer.bench(name, &mut engine_does)?)
    }

    /// Runs an analysis; see [`Explorer::ask`].
    #[wasm_bindgen(jspi)]
    pub fn ask(&self, request: &str) -> Result<Reply, JsError> {
        Ok(Reply(stepwise(|| self.explorer.ask(request))?))
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
