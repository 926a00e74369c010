//! Damaged files, and files of other kinds.

use super::super::writer::{Field, Raw, llama};
use super::*;

#[test]
fn the_writer_writes_what_opens() {
    let gguf = opened(&llama()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(gguf.tensors().count(), 11);
    assert_eq!(gguf.config()["num_key_value_heads"], 1);
    let older = opened(&Writer { version: 2, ..llama() }).expect("version 2");
    assert_eq!(older.config(), gguf.config());
}

#[test]
fn other_versions_and_byte_orders_are_named() {
    let version = |version| refused(&Writer { version, ..llama() });
    assert!(version(1).contains("GGUF version 1; versions 2 and 3 are read"));
    assert!(version(4).contains("GGUF version 4"));
    assert!(version(3u32.swap_bytes()).contains("big-endian"));
    assert!(refused_bytes(b"ggml0123456789").contains("does not begin with GGUF"));
    assert!(refused_bytes(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    assert!(refused_bytes(b"").contains("truncated"));
}

/// A file that ends anywhere is truncated, and nothing but truncated.
#[test]
fn truncated_files_are_named() {
    let bytes = llama().bytes();
    for end in (0..bytes.len()).step_by(3) {
        let error = refused_bytes(&bytes[..end]);
        assert!(error.contains("truncated") && error.contains("download"), "{end}: {error}");
    }
}

#[test]
fn counts_are_checked_before_anything_is_allocated() {
    for at in [8, 16] {
        let mut bytes = llama().bytes();
        bytes[at..at + 8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
        assert!(refused_bytes(&bytes).contains("entries"), "at {at}");
    }
    let long = |kind: u32, n: u64| [&kind.to_le_bytes()[..], &n.to_le_bytes()].concat();
    for (kind, n) in [(8, u64::MAX), (5, u64::MAX / 4), (9, 1 << 40), (0, 1 << 50)] {
        let error = refused(&llama().set("x", Field::Raw(9, long(kind, n))));
        assert!(error.contains("truncated"), "{error}");
    }
    let deep = (0..20).fold(long(0, 0), |inner, _| [long(9, 1), inner].concat());
    assert!(refused(&llama().set("x", Field::Raw(9, deep))).contains("lists inside lists"));
    let nested = [long(9, 2), long(5, 1), vec![0; 4], long(8, 0)].concat();
    opened(&llama().set("x", Field::Raw(9, nested))).expect("lists inside a list");
}

#[test]
fn metadata_are_checked() {
    assert!(refused(&llama().set("x", Field::Raw(13, vec![]))).contains("type 13"));
    assert!(refused(&llama().set("x", Field::Raw(7, vec![2]))).contains("true or false is 2"));
    let mut twice = llama();
    twice.fields.push(twice.fields[1].clone());
    assert!(refused(&twice).contains("`llama.block_count` twice"));
    for alignment in [0, 3, 1 << 30] {
        let error = refused(&llama().set("general.alignment", Field::U32(alignment)));
        assert!(error.contains("power of two"), "{error}");
    }
    let mut wide = llama().set("general.alignment", Field::U32(128));
    wide.alignment = 128;
    opened(&wide).expect("another alignment");
    assert!(refused(&llama().without("general.architecture")).contains("lack `general.architecture`"));
}

/// Returns the message for a file whose first tensor is changed.
fn with_first(change: impl FnOnce(&mut Raw)) -> String {
    let mut writer = llama();
    change(&mut writer.tensors[0]);
    refused(&writer)
}

#[test]
fn tensors_are_checked() {
    assert!(with_first(|t| t.name = "output_norm.weight".to_owned()).contains("`output_norm.weight` is listed twice"));
    assert!(with_first(|t| t.dims = vec![]).contains("has 0 dimensions"));
    assert!(with_first(|t| t.dims = vec![1; 5]).contains("has 5 dimensions"));
    assert!(with_first(|t| t.dims = vec![6, 0]).contains("has sizes [6, 0]"));
    assert!(with_first(|t| t.kind = 2).contains("which Q4_0 in blocks of 32 does not allow"));
    assert!(with_first(|t| t.dims = vec![1 << 40, 1 << 40]).contains("reaches beyond the file"));
    assert!(with_first(|t| t.offset = Some(1 << 20)).contains("reaches beyond the file"));
    assert!(with_first(|t| t.offset = Some(u64::MAX - 31)).contains("reaches beyond the file"));
    assert!(with_first(|t| t.offset = Some(8)).contains("offset 8, which 32 does not divide"));
    assert!(with_first(|t| t.offset = Some(320)).contains("overlap"));
    // The first tensor ends within the second.
    let mut writer = llama();
    writer.tensors[1].offset = Some(256);
    assert!(refused(&writer).contains("tensors `token_embd.weight` and `output_norm.weight` overlap"));
    let other = with_first(|t| t.kind = 10);
    assert!(other.contains("`token_embd.weight` is stored as Q2_K; F32, F16, BF16, Q4_0"), "{other}");
    assert!(with_first(|t| t.kind = 99).contains("stored as type 99"));
    let unknown = with_first(|t| t.name = "blk.0.ffn_gate_inp.weight".to_owned());
    assert!(unknown.contains("no tensor `token_embd.weight`"), "{unknown}");
    let unknown = refused(&llama().zeros("blk.0.ffn_gate_inp.weight", &[6, 2]));
    assert!(unknown.contains("`blk.0.ffn_gate_inp.weight` belongs to no supported part of a llama model"), "{unknown}");
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let mut writer = llama();
    writer.tensors[0].bytes[4 * 13..][..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let gguf = opened(&writer).expect("opens");
    let mut out = [0.0; 12];
    let error = gguf.read("model.embed_tokens.weight", 2..4, &mut out).expect_err("is infinite").to_string();
    assert!(error.contains("inf at flat index 13"), "{error}");
    gguf.read("model.embed_tokens.weight", 0..2, &mut out).expect("finite rows");
}

/// Tensors of more elements than are converted at once.
#[test]
fn large_tensors_are_read_in_pieces() {
    let n = 600;
    let mut writer = llama().set("llama.embedding_length", Field::U32(n));
    for name in ["blk.0.attn_q.weight", "blk.0.attn_output.weight"] {
        let tensor = writer.tensors.iter_mut().find(|tensor| tensor.name == name).expect("a tensor");
        tensor.dims = vec![n.into(); 2];
        tensor.bytes = (0..n * n).flat_map(|i| (i as f32).to_le_bytes()).collect();
    }
    let gguf = opened(&writer).expect("a model");
    let n = n as usize;
    // Three heads of width 200: row p + 100 s of a head is stored as row 2 p + s.
    let stored = |row: usize| row - row % 200 + row % 100 * 2 + row % 200 / 100;
    for (row, values) in all(&gguf, "model.layers.0.self_attn.q_proj.weight").chunks(n).enumerate() {
        let first = stored(row) * n;
        assert!(values.iter().enumerate().all(|(i, &x)| x == (first + i) as f32), "row {row}");
    }
    let values = all(&gguf, "model.layers.0.self_attn.o_proj.weight");
    assert!(values.iter().enumerate().all(|(i, &x)| x == i as f32));
}

/// Splits a model: metadata and the first tensors, then the rest.
fn parts(count: u16) -> Vec<Writer> {
    let whole = llama();
    let per = whole.tensors.len().div_ceil(usize::from(count));
    let part = |(i, tensors): (usize, &[Raw])| {
        let mut part = if i == 0 { whole.clone() } else { Writer::new() };
        part.tensors = tensors.to_vec();
        part.set("split.no", Field::U16(i as u16))
            .set("split.count", Field::U16(count))
            .set("split.tensors.count", Field::I32(whole.tensors.len() as i32))
    };
    whole.tensors.chunks(per).enumerate().map(part).collect()
}

fn written(parts: &[Writer]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (i, part) in parts.iter().enumerate() {
        part.write(&dir.path().join(format!("m-{:05}-of-00003.gguf", i + 1)));
    }
    dir
}

#[test]
fn split_models_open_from_any_part() {
    let whole = opened(&llama()).expect("a model");
    let dir = written(&parts(3));
    for i in 1..=3 {
        let gguf = Gguf::open(&dir.path().join(format!("m-0000{i}-of-00003.gguf"))).unwrap_or_else(|e| panic!("{e}"));
        assert!(gguf.tensors().eq(whole.tensors()) && gguf.config() == whole.config());
        assert_eq!(all(&gguf, "model.layers.0.mlp.down_proj.weight").len(), 30);
        assert!(gguf.tokenizer().expect("supported").is_some());
    }
    let hash = |dir: &TempDir| Gguf::open(&dir.path().join("m-00001-of-00003.gguf")).expect("a model").hash();
    let before = hash(&dir);
    let mut changed = parts(3);
    changed[2].tensors[0].bytes[0] = 1;
    assert_ne!(hash(&written(&changed)), before, "the hash covers every part");
    assert_eq!(hash(&written(&parts(3))), before);
}

#[test]
fn split_models_are_checked() {
    let error = |parts: &[Writer]| {
        let dir = written(parts);
        Gguf::open(&dir.path().join("m-00001-of-00003.gguf")).map(|_| ()).expect_err("is refused").to_string()
    };
    assert!(error(&parts(3)[..2]).contains("`m-00003-of-00003.gguf` is not beside it"));
    let mut wrong = parts(3);
    wrong.swap(1, 2);
    assert!(error(&wrong).contains("must be part 2 of 3, and its metadata say that it is part 3 of 3"));
    let mut twice = parts(3);
    twice[2].tensors[0].name = "token_embd.weight".to_owned();
    assert!(error(&twice).contains("`token_embd.weight` is stored twice"));
    let mut fewer = parts(3);
    fewer[2].tensors.pop();
    assert!(error(&fewer).contains("`split.tensors.count` is 11"));
    let out_of_range = parts(3).remove(0).set("split.no", Field::U16(3));
    assert!(refused(&out_of_range).contains("`split.no` is 3; it must be below `split.count` = 3"));
    assert!(refused(&parts(3)[0]).contains("its name must end in `-00001-of-00003.gguf`"));
}
