//! GPT-2 as a list of operations: configuration, weights, tokenizer, sites, edits, runs and linearisations.
//!
//! A model directory is read by three types: [`Config`] (sizes and switches), [`Checkpoint`] (weights, mapped
//! into memory and converted to f32 as they are read) and [`Tokenizer`] (text to ids and back).

mod checkpoint;
mod config;
mod error;
mod files;
mod prompt;
mod tokenizer;

pub use checkpoint::{Checkpoint, Dtype};
pub use config::{Activation, Config, MAX_D_HEAD, MAX_LAYERS};
pub use error::{Error, Result};
pub use prompt::{check_prompt, parse_token, parse_tokens};
pub use tokenizer::Tokenizer;
