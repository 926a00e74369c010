//! One open model, and its answers.

use resolvent::bench::{BenchOptions, bench_of};
use resolvent::engine::{Choice, Device, Options};
use resolvent::field::{
    Case, GreenOptions, LensOptions, RegimeOptions, SiteKind, edges_into, green_with, lens, patch_at, regime,
};
use resolvent::kernel_check::check_kernels;
use resolvent::model::{Model, Observable, Run, RunOptions, check_prompt, from_end, path_sites};
use resolvent::{Context, Direction, Labelled, Place, forward, sensitivity};
use serde_json::json;

use crate::answer::Answer;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::request::{Analysis, Prompt, Request};

/// An open device, with a model once one is open.
#[derive(Debug)]
pub struct Explorer {
    device: Device,
    model: Option<Open>,
    files: Files,
}

/// A model that is open.
#[derive(Clone)]
struct Open(Model);

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

/// Both prompts of a request, in one batch, and what is observed.
struct Pair {
    clean: Run,
    corrupted: Run,
    observable: Observable,
}

impl Default for Explorer {
    fn default() -> Self {
        Self::new()
    }
}

impl Explorer {
    /// Creates an explorer on the host executor, without a model.
    pub fn new() -> Self {
        Self { device: Device::host(), model: None, files: Files::default() }
    }

    /// Opens another device, by the names of the command line's `--device`. A GPU must pass its first test; `auto`
    /// selects one if there is one. The model that was open is closed, unless there is an error.
    ///
    /// Returns the device's `name`, and whether it is the `host` executor, as JSON.
    ///
    /// # Errors
    /// There is no such device, or it fails its self-test.
    pub fn choose(&mut self, device: &str) -> Result<String> {
        let choice: Choice = device.parse()?;
        self.device = resolvent::open(&Options::new(choice))?;
        self.model = None;
        let info = self.device.info();
        Ok(json!({ "name": info.name, "host": info.is_host() }).to_string())
    }

    /// Returns the message of a GPU that cannot be used any more: its driver was reset, its browser has closed it, or a
    /// kernel has failed its test. `None` while it works.
    pub fn lost(&self) -> Option<String> {
        self.device.lost().or_else(|| self.device.failed_test()).map(|error| error.to_string())
    }

    /// Compares every kernel of the GPU with its host body: see [`check_kernels`]. `report` receives the name of each
    /// step.
    ///
    /// Returns the check as JSON.
    ///
    /// # Errors
    /// The device is the host executor, or it fails.
    pub fn check_kernels(&self, report: &mut dyn FnMut(&str)) -> Result<String> {
        if self.device.info().is_host() {
            let message = "the host executor has nothing to compare its kernels with; choose WebGPU as the device";
            return Err(Error::Request(message.to_owned()));
        }
        Ok(check_kernels(&Options::new(Choice::Gpu), report)?.to_json().to_string())
    }

    /// Times passes and kernels on the device, as `resolvent bench --quick` does, with the model of the files that were
    /// added. `report` receives the name of each step.
    ///
    /// Returns the JSON that `resolvent bench --out` writes.
    ///
    /// # Errors
    /// The files are not a usable model, it cannot run prompts of 16 tokens, or the device fails.
    pub fn bench(&mut self, name: &str, report: &mut dyn FnMut(&str)) -> Result<String> {
        let files = self.files.take();
        let choice = if self.device.info().is_host() { Choice::Host } else { Choice::Gpu };
        let options =
            BenchOptions { device: Options::new(choice), model: name.to_owned(), tokens: BENCH_TOKENS, quick: true };
        let open = |device: &Device| Model::open_files(device, name, files.clone());
        Ok(format!("{:#}", bench_of(&options, &open, report)?.to_json()))
    }

    /// Describes the device.
    pub fn device(&self) -> String {
        self.device.info().to_string()
    }

    /// Drops files that were added for a model that was not opened, because the transfer broke off.
    pub fn drop_files(&mut self) {
        drop(self.files.take());
    }

    /// Begins a file of the next model, of `bytes` bytes; 0 if its size is unknown.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn begin_file(&mut self, name: &str, bytes: u64) -> Result<()> {
        self.files.begin(name, bytes)
    }

    /// Appends a piece to the file that was begun last.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn append(&mut self, piece: &[u8]) -> Result<()> {
        self.files.append(piece)
    }

    /// Opens the model of the files that were added, in place of the one that is open.
    ///
    /// # Errors
    /// Those of [`Explorer::open`].
    pub fn open_added(&mut self, name: &str) -> Result<String> {
        let files = self.files.take();
        self.open(name, files)
    }

    /// Opens a model from its files in place of the one that is open: see [`Model::open_files`].
    ///
    /// Returns the model's `name`, `hash`, `levels`, `d`, `vocabulary`, `positions` and `text` (whether it has a usable
    /// tokenizer) as JSON.
    ///
    /// # Errors
    /// The files are not a usable model. The model that was open is closed then.
    pub fn open(&mut self, name: &str, files: Vec<(String, Vec<u8>)>) -> Result<String> {
        // Its memory is free before the next model takes some.
        self.model = None;
        let model = Model::open_files(&self.device, name, files)?;
        let sizes = *model.sizes();
        let about = json!({
            "name": model.name(),
            "hash": model.hash(),
            "levels": sizes.layers + 1,
            "d": sizes.d,
            "vocabulary": sizes.vocab,
            "positions": sizes.n_ctx,
            "text": model.tokenizer().is_some(),
        });
        self.model = Some(Open(model));
        Ok(about.to_string())
    }

    fn model(&self) -> Result<&Model> {
        self.model.as_ref().map(|open| &open.0).ok_or(Error::NoModel)
    }

    /// Returns the texts of a prompt's tokens as a JSON list.
    ///
    /// # Errors
    /// No model is open, or the model cannot run the prompt.
    pub fn tokens(&self, prompt: &str) -> Result<String> {
        let model = self.model()?;
        Ok(json!(texts(model, &ids(model, prompt)?)).to_string())
    }

    /// Returns the texts of token ids as a JSON list.
    ///
    /// # Errors
    /// No model is open.
    pub fn texts(&self, ids: &[u32]) -> Result<String> {
        Ok(json!(texts(self.model()?, ids)).to_string())
    }

    /// Returns up to `most` tokens of the vocabulary that begin with `prefix`, as a JSON list of texts, shortest first.
    ///
    /// # Errors
    /// No model is open.
    pub fn completions(&self, prefix: &str, most: usize) -> Result<String> {
        let Some(tokenizer) = self.model()?.tokenizer() else { return Ok("[]".to_owned()) };
        let mut found: Vec<String> = (0..tokenizer.len() as u32).map(|id| tokenizer.token(id)).collect();
        found.retain(|text| text.starts_with(prefix));
        found.sort_by_key(|text| (text.chars().count(), text.clone()));
        found.truncate(most);
        Ok(json!(found).to_string())
    }

    /// Runs the analysis that a request in JSON asks for.
    ///
    /// # Errors
    /// The request is invalid, no model is open, the prompts or tokens do not fit the model, or a check fails.
    pub fn ask(&self, request: &str) -> Result<Answer> {
        let request: Request =
            serde_json::from_str(request).map_err(|e| Error::Request(format!("invalid request: {e}")))?;
        let model = self.model()?;
        let pair = Pair::new(model, &request)?;
        let (result, of) = pair.analysed(&request)?;
        Answer::new(result, texts(model, of.tokens()))
    }
}

impl Pair {
    fn new(model: &Model, request: &Request) -> Result<Self> {
        let prompts = [ids(model, &request.clean)?, ids(model, &request.corrupted)?];
        let [clean, corrupted] = prompts.each_ref().map(Vec::len);
        if clean != corrupted {
            let message = format!(
                "the prompt has {clean} tokens and the corrupted one {corrupted}; give prompts of the same length"
            );
            return Err(Error::Request(message));
        }
        let against = request.against.as_deref().filter(|text| !text.is_empty());
        let against: Vec<u32> = against.map(|text| model.token(text)).transpose()?.into_iter().collect();
        let observable = Observable::mean_logit_diff(&[model.token(&request.target)?], &against, clean - 1);
        let mut sites = SiteKind::Resid.sites(model.sizes());
        if request.analysis == Analysis::Writers {
            sites.extend(path_sites(model.sizes()));
        }
        let options = RunOptions { sites, ..RunOptions::default() };
        let runs = model.run_all(&prompts, &options)?;
        Ok(Self { clean: runs[0].clone(), corrupted: runs[1].clone(), observable })
    }

    /// Runs the analysis. Returns its result, and the run whose tokens it is about.
    fn analysed(&self, request: &Request) -> Result<(Labelled, &Run)> {
        let of = match (request.analysis, request.of) {
            (Analysis::Run, _) | (Analysis::Lens, Prompt::Clean) => &self.clean,
            _ => &self.corrupted,
        };
        let result = match request.analysis {
            Analysis::Run => forward(of, true)?,
            Analysis::Lens => lens(of, Some(&self.observable), LensOptions::default())?,
            Analysis::Sensitivity => sensitivity(of, &self.observable)?,
            Analysis::Patch => patch_at(&self.clean, of, &self.observable, &[SiteKind::Resid])?,
            Analysis::Green => {
                let (place, direction, source) = self.source(request)?;
                let options = GreenOptions { geometry: true, ..GreenOptions::default() };
                green_with(of, place, &source, options)?.note("direction", direction).note("unit", "false")
            }
            Analysis::Writers => {
                let case = Case { clean: &self.clean, corrupted: &self.corrupted, observable: &self.observable };
                edges_into(&case, self.place(request)?)?
            }
            Analysis::Regime => {
                let (place, direction, source) = self.source(request)?;
                let amplitudes = request.amplitudes.clone();
                let absolute = direction == DISPLACEMENT || direction.starts_with("writer:");
                let options = RegimeOptions { amplitudes, absolute, field: false, nodes: 0 };
                let result = regime(of, &self.observable, &[(place, source)], &options)?;
                result.note("direction", direction).note("unit", "false")
            }
        };
        Ok((result, of))
    }

    fn place(&self, request: &Request) -> Result<Place> {
        let missing = || Error::Request("no place was given; click one of a map".to_owned());
        let [level, token] = request.place.ok_or_else(missing)?;
        let levels = self.corrupted.model().sizes().layers + 1;
        Ok((from_end("level", level, levels)?, from_end("token position", token, self.corrupted.tokens().len())?))
    }

    /// Returns place, direction as text, and the source `[d]` itself.
    fn source<'r>(&self, request: &'r Request) -> Result<(Place, &'r str, Vec<f32>)> {
        let (run, model) = (&self.corrupted, self.corrupted.model());
        let place = self.place(request)?;
        let text = request.direction.as_deref().unwrap_or(DISPLACEMENT);
        let direction = match Direction::parse(text, model)? {
            Direction::File(_) => {
                return Err(Error::Request(format!(
                    "invalid direction `{text}`: expected displacement, sensitivity, token:TOKEN, random:SEED or writer:NAME"
                )));
            }
            direction => direction,
        };
        let context = Context { observable: Some(&self.observable), other: Some(&self.clean), unit: false };
        Ok((place, text, direction.resolve(run, place, context)?))
    }
}

/// Tokens of the prompts of a bench.
const BENCH_TOKENS: usize = 16;

const DISPLACEMENT: &str = "displacement";

/// Returns the ids of a prompt, and checks that the model can run them.
fn ids(model: &Model, prompt: &str) -> Result<Vec<u32>> {
    let ids = match model.text_tokenizer()? {
        Some(tokenizer) => tokenizer.prompt(prompt)?,
        None => resolvent::model::parse_tokens(prompt, model.sizes().vocab)?,
    };
    check_prompt(model.sizes(), &ids)?;
    Ok(ids)
}

/// Returns the texts of tokens, or their ids if the model has no tokenizer.
fn texts(model: &Model, ids: &[u32]) -> Vec<String> {
    let text = |id: &u32| model.tokenizer().map_or_else(|| format!("#{id}"), |t| t.token(*id));
    ids.iter().map(text).collect()
}
