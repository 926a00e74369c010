mod configs;
mod goldens;
mod hostile;
mod tokenizers;

use std::path::PathBuf;

use tempfile::TempDir;

use super::writer::Writer;
use super::*;

/// Returns a file of `tests/data/gguf`.
fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "tests", "data", "gguf", name].iter().collect()
}

/// Opens what a writer writes.
fn opened(writer: &Writer) -> Result<Gguf> {
    opened_bytes(&writer.bytes())
}

fn opened_bytes(bytes: &[u8]) -> Result<Gguf> {
    let dir: TempDir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("writable");
    Gguf::open(&path)
}

/// Returns the message of a file that is refused. It is one line and names the file.
fn refused(writer: &Writer) -> String {
    refused_bytes(&writer.bytes())
}

fn refused_bytes(bytes: &[u8]) -> String {
    let error = opened_bytes(bytes).map(|_| ()).expect_err("is refused").to_string();
    assert!(error.contains("model.gguf") && !error.contains('\n'), "{error}");
    error
}

/// Reads a whole tensor.
fn all(gguf: &Gguf, name: &str) -> Vec<f32> {
    let shape = shape(gguf, name);
    let mut out = vec![f32::NAN; shape.iter().product()];
    gguf.read(name, 0..shape[0], &mut out).unwrap_or_else(|e| panic!("{e}"));
    out
}

fn shape(gguf: &Gguf, name: &str) -> Vec<usize> {
    let found = gguf.tensors().find(|(theirs, ..)| *theirs == name);
    found.unwrap_or_else(|| panic!("no tensor {name}")).1.to_vec()
}
