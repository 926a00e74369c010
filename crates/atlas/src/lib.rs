//! The weights of `atlas-small`, the largest embedded model of resolvent.
//!
//! The model, its training and its smaller relatives are described beside the crate `resolvent-model`. This crate
//! exists because a registry limits the size of a package.

/// The model's `config.json`.
pub static CONFIG: &str = include_str!("../small/config.json");

/// The model's `model.safetensors`.
///
/// It is a static, because a constant would be embedded once in each part of the program that names it.
pub static WEIGHTS: &[u8] = include_bytes!("../small/model.safetensors");
