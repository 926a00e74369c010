//! Errors of this crate. The text of each is one line that names the cause and the fix.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of loading a model, of reading what the user typed, or of a run. Its text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory cannot be opened, mapped or read.
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },

    /// The directory lacks a file that every model has.
    #[error("{} has no {wanted}; {fix}", .dir.display())]
    NotAModel {
        /// The directory.
        dir: PathBuf,
        /// The missing file.
        wanted: &'static str,
        /// What to do.
        fix: &'static str,
    },

    /// No model has this name, neither on this machine nor, if a hub was asked, on the hub.
    #[error("no model `{name}`: {tried}; {fix}")]
    NoModel {
        /// The requested name.
        name: String,
        /// Where it was looked for, and what was found.
        tried: String,
        /// What to do.
        fix: String,
    },

    /// A model of a hub cannot be downloaded.
    #[cfg(feature = "hub")]
    #[error("model `{name}`: {message}; {fix}")]
    Hub {
        /// The requested name.
        name: String,
        /// What is missing, or how the download failed.
        message: String,
        /// What to do.
        fix: String,
    },

    /// The cache of a hub cannot be written.
    #[cfg(feature = "hub")]
    #[error("cannot write {}: {source}; make room, or set HF_HUB_CACHE to a directory of yours", .path.display())]
    Cache {
        /// The folder of the repository in the cache.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },

    /// `config.json` cannot be used: invalid JSON, a missing or invalid value, or an unsupported option.
    #[error("{}: {message}", .path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The field, what was found in it and what is expected.
        message: String,
    },

    /// `config.json` belongs to a family that is not supported.
    #[error("{}: this family of models is not supported ({found}); supported values of model_type: {known}", .path.display())]
    Family {
        /// The configuration file.
        path: PathBuf,
        /// The model type or architectures that it names.
        found: String,
        /// The supported model types.
        known: String,
    },

    /// A `.safetensors` file is damaged, truncated or in another format.
    #[error("{} is not a usable safetensors file: {message}; download or export it again", .path.display())]
    WeightFile {
        /// The weight file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A `.gguf` file is damaged, truncated or in another format.
    #[error("{} is not a usable GGUF file: {message}; download or export it again", .path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A `.gguf` file is intact, but has another kind of model, or options or number formats that are not read.
    #[error("{}: {message}", .path.display())]
    GgufModel {
        /// The file.
        path: PathBuf,
        /// What is not read, and what to do.
        message: String,
    },

    /// The tokenizer of a `.gguf` file cannot be used. The model can.
    #[error("{}: its tokenizer cannot be used: {message}; give token ids instead of text", .path.display())]
    GgufTokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or not supported.
        message: String,
    },

    /// `model.safetensors.index.json` is damaged or disagrees with its shards.
    #[error("{}: {message}; download or export the whole model again", .path.display())]
    ShardIndex {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// The weight files lack tensors that the configuration requires.
    #[error("{} lacks {tensors}; {fix}", .dir.display())]
    MissingTensors {
        /// The model directory.
        dir: PathBuf,
        /// Up to three names with the expected shapes, then a count.
        tensors: String,
        /// What to do.
        fix: &'static str,
    },

    /// The weight files contain tensors that no GPT-2 of this configuration has.
    #[error(
        "{} contains {tensors}, which its config.json does not ask for; \
         use the config.json that came with these weights, or remove the tensors", .dir.display()
    )]
    ExtraTensors {
        /// The model directory.
        dir: PathBuf,
        /// Up to three names with their shapes, then a count.
        tensors: String,
    },

    /// Tensors have other shapes than the configuration requires.
    #[error("{}: {tensors}; {fix}", .dir.display())]
    TensorShape {
        /// The model directory.
        dir: PathBuf,
        /// Up to three names with expected and found shapes, then a count.
        tensors: String,
        /// What to do.
        fix: &'static str,
    },

    /// One tensor is stored twice: under both spellings of its name, or in two shards.
    #[error("tensor `{name}` is stored twice, in {} and in {}; keep one of them", .first.display(), .second.display())]
    DuplicateTensor {
        /// The name without the `transformer.` prefix.
        name: String,
        /// The first file that contains it.
        first: PathBuf,
        /// The second file that contains it.
        second: PathBuf,
    },

    /// A weight is stored in an unsupported number format.
    #[error("tensor `{name}` is stored as {dtype}; convert the model to F32, F16 or BF16")]
    Dtype {
        /// The name without the `transformer.` prefix.
        name: String,
        /// The format found.
        dtype: String,
    },

    /// A weight is NaN or infinite.
    #[error(
        "tensor `{name}` contains {value} at flat index {index}; the weights are damaged: download or export them again"
    )]
    NonFinite {
        /// The name without the `transformer.` prefix.
        name: String,
        /// Position in the tensor, row-major.
        index: usize,
        /// The value found.
        value: f32,
    },

    /// The weights do not fit into the memory that a program can address, as in a browser.
    #[error(
        "the weights take {} beside {} of files, and a program here has {} of memory; \
         use a smaller model, or a program of 64 bits such as the command line", gib(.weights), gib(.files), gib(.limit)
    )]
    Room {
        /// Bytes of the weights.
        weights: u64,
        /// Bytes of the files in memory.
        files: u64,
        /// Bytes that can be addressed.
        limit: u64,
    },

    /// A value of a run, or of its derivatives, leaves the range of f32.
    #[error("{what} is {value} at {place}: {cause}; check the size of the weights and of the edits")]
    NotFinite {
        /// What was computed.
        what: String,
        /// The value found.
        value: f32,
        /// Site and token.
        place: String,
        /// Where the run first leaves the range of f32.
        cause: String,
    },

    /// A weight overflows f16.
    #[error("tensor `{name}` contains {value}, which overflows f16; load it without f16 weights")]
    NoHalf {
        /// The name without the `transformer.` prefix.
        name: String,
        /// The value found.
        value: f32,
    },

    /// The checkpoint has no tensor of the requested name.
    #[error("this checkpoint has no tensor `{name}`; see Architecture::tensors for the names")]
    UnknownTensor {
        /// The requested name.
        name: String,
    },

    /// Requested rows lie outside a tensor, or the buffer for them has another size.
    #[error("tensor `{name}`: {message}")]
    ReadRange {
        /// The tensor.
        name: String,
        /// The requested rows or lengths, and those of the tensor.
        message: String,
    },

    /// A tokenizer file is damaged or of an unsupported kind.
    #[error("{}: {message}; download the tokenizer again, or use token ids", .path.display())]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A text could not be encoded, or ids could not be decoded.
    #[error("{message}")]
    Encoding {
        /// The text or id, and why it cannot be converted.
        message: String,
    },

    /// An argument that must be one token is not one.
    #[error("{message}")]
    Token {
        /// The argument, what it is instead, and what to write.
        message: String,
    },

    /// A list of token ids cannot be used.
    #[error("{message}")]
    Tokens {
        /// The entry and what is wrong with it.
        message: String,
    },

    /// A prompt is empty, too long for the model, or contains ids outside its vocabulary.
    #[error("{message}")]
    Prompt {
        /// What is wrong, and what the model accepts.
        message: String,
    },

    /// A file of study prompts is damaged or has another form.
    #[error("{}: invalid prompt file: {message}; see the page on many prompts for its form", .path.display())]
    PromptFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// The text of an observable does not follow the grammar of [`crate::Observable::parse`].
    #[error("invalid observable `{text}`: {reason}")]
    Observable {
        /// The text.
        text: String,
        /// What was expected, and where.
        reason: String,
    },

    /// A site, edit, source or observable does not fit the model or the prompt.
    #[error("{0}")]
    Place(String),

    /// The device failed, or a tensor does not fit an operation.
    #[error(transparent)]
    Engine(#[from] resolvent_engine::Error),
}

/// Returns a number of bytes in GiB.
fn gib(bytes: &u64) -> String {
    format!("{:.2} GiB", *bytes as f64 / (1u64 << 30) as f64)
}

/// Returns the message of a library on one line, shortened because it may repeat a long text.
pub(crate) fn one_line(error: &dyn fmt::Display) -> String {
    shorten(&error.to_string(), 300)
}

/// Returns text from a file or a user in the form for messages: on one line, and shortened if it is long.
pub(crate) fn shown(text: &str) -> String {
    shorten(text, 60)
}

fn shorten(text: &str, most: usize) -> String {
    let start: String = text.chars().take(most).flat_map(show_char).collect();
    if text.chars().nth(most).is_some() { start + "…" } else { start }
}

fn show_char(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}
