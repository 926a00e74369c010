//! Compares the reference with Hugging Face transformers in float64 (`tests/data`).

mod families;
mod golden;
mod gpt2;
mod sites;
