//! `--edit`: analyses of edited runs, of one prompt and of many.

use resolvent_engine::Device;
use resolvent_field::{Labelled, patch, sensitivity};
use resolvent_model::{Edit, Model, Observable, Site, StreamNorm};
use resolvent_tests::Golden;

use super::{on_host, run, tiny, utf8};

const CLEAN: [u32; 5] = [3, 14, 15, 9, 2];
const CORRUPTED: [u32; 5] = [3, 14, 21, 9, 2];

fn read(path: &std::path::Path) -> Labelled {
    Labelled::read(path).unwrap_or_else(|e| panic!("{e}"))
}

/// Arrays are those of the library's own edited runs, of the corrupted prompt too, and the metadata name the edits.
#[test]
fn an_analysis_runs_under_edits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.safetensors");
    let model = Model::open(&Device::host(), &Golden::directory("tiny-odd")).expect("opens");
    let edits: Vec<Edit> =
        (0..5).map(|t| Edit::ablate(Site::MlpOut(0), t)).chain([Edit::scale(Site::Z(1, 2), 4, 0.5)]).collect();
    let [clean, corrupted] = [CLEAN, CORRUPTED].map(|tokens| model.run(&tokens, &edits).expect("runs"));
    let j = Observable::logit_diff(3, 11, 4);
    let common = ["--tokens", "3,14,15,9,2", "--target", "#3", "--against", "#11", "--model", tiny()];
    let texts = ["--edit", "ablate(blocks.0.hook_mlp_out)", "--edit", "scale(blocks.1.attn.hook_z[2], 0.5)@-1"];
    let of = |command: &[&str], texts: &[&str]| {
        on_host(&[command, &common, texts, &["--out", &utf8(&path)]].concat()).done();
        read(&path)
    };
    let (got, want) = (of(&["sensitivity"], &texts), sensitivity(&clean, &j).expect("holds"));
    assert_eq!((got.array("sensitivity"), got.array("value")), (want.array("sensitivity"), want.array("value")));
    assert_eq!(got.metadata["edits"], want.metadata["edits"]);
    assert!(got.metadata["edits"].starts_with("6 edits, hash ") && got.metadata["edits"].contains("@0..4; scale("));
    // Sites that only a run with such an edit has.
    let parts = ["--edit", "ablate(hook_pos_embed)", "--edit", "scale(blocks.1.attn.hook_result[2], 0.5)@-1"];
    let edits = (0..5).map(|t| Edit::ablate(Site::PosEmbed, t)).chain([Edit::scale(Site::Result(1, 2), 4, 0.5)]);
    let edited = model.run(&CLEAN, &edits.collect::<Vec<Edit>>()).expect("runs");
    let (of_parts, want) = (of(&["sensitivity"], &parts), sensitivity(&edited, &j).expect("holds"));
    assert_eq!(of_parts.array("sensitivity"), want.array("sensitivity"));
    let norms = ["--edit", "scale(blocks.1.ln1.hook_scale, 2)@1", "--edit", "put(ln_final.hook_scale, 1.5)@-1"];
    let [first, last] = [StreamNorm::Attention(1), StreamNorm::Final].map(Site::NormScale);
    let edited = model.run(&CLEAN, &[Edit::scale(first, 1, 2.0), Edit::put(last, 4, vec![1.5])]).expect("runs");
    let (of_norms, want) = (of(&["sensitivity"], &norms), sensitivity(&edited, &j).expect("holds"));
    assert_eq!(of_norms.array("sensitivity"), want.array("sensitivity"));
    assert!(of_norms.metadata["edits"].contains("ln_final.hook_scale"), "{}", of_norms.metadata["edits"]);
    let plain = of(&["sensitivity"], &[]);
    assert!(plain.array("sensitivity") != got.array("sensitivity") && !plain.metadata.contains_key("edits"));
    let pair = ["patch", "--corrupted-tokens", "3,14,21,9,2"];
    let (got, want) = (of(&pair, &texts), patch(&clean, &corrupted, &j).expect("holds"));
    let near = |name: &str| {
        let [got, want] = [&got, &want].map(|result| &result.array(name).expect("an array").data);
        got.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-5)
    };
    assert!(near("effect") && near("corrupted_value") && near("clean_value"));
    for command in [
        &["run"][..],
        &["lens"],
        &["attribute"],
        &["identities"],
        &["green", "--source", "0,1"],
        &["regime"],
        &["quadratic", "--at=0,1"],
        &["edges", "--corrupted-tokens", "3,14,21,9,2", "--exact", "--by-token"],
        &["edges", "--corrupted-tokens", "3,14,21,9,2", "--into=1,2"],
        &["edges", "--corrupted-tokens", "3,14,21,9,2", "--from=input,a0.h0", "--to=a1.h1,m0"],
        &["slice", "--from=0,1", "--to=1,2", "--rank", "2", "--nodes", "2"],
        &pair,
    ] {
        let common = if command[0] == "run" { &["--tokens", "3,14,15,9,2", "--model", tiny()] } else { &common[..] };
        on_host(&[command, common, &texts].concat()).done();
    }
}

/// Rows have the edits that they have alone, in shards as in one process; a vector in a file is a part of the work.
#[test]
fn rows_run_under_edits() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| utf8(&folder.path().join(name));
    let rows = "clean_tokens,corrupted_tokens,target\n\"3,14,15,9,2\",\"3,14,21,9,2\",#3\n\"7,8,1\",\"7,9,1\",#3\n";
    std::fs::write(at("rows.csv"), rows).expect("writes");
    let vector = |x: f32| {
        let direction = Labelled::default().with("direction", &[("d", 30)], vec![x; 30]);
        direction.write(&folder.path().join("v.safetensors")).expect("writes");
    };
    vector(0.5);
    let edit = format!("add(blocks.1.hook_resid_pre, {})@-2", at("v.safetensors"));
    let rows = at("rows.csv");
    let all =
        ["patch", "--prompts", &rows, "--model", tiny(), "--edit", &edit, "--edit", "ablate(blocks.0.attn.hook_z[1])"];
    let whole = at("whole.safetensors");
    on_host(&[&all[..], &["--shard-size", "1", "--out", &whole]].concat()).done();
    let shards = at("shards");
    on_host(&[&all[..], &["--shard-size", "1", "--out-dir", &shards]].concat()).done();
    run(&["merge", &shards, "--out", &at("merged.safetensors")]).done();
    let [whole, merged] = ["whole.safetensors", "merged.safetensors"].map(|name| folder.path().join(name));
    assert!(std::fs::read(&whole).expect("a file") == std::fs::read(merged).expect("a file"));
    let whole = read(&whole);
    let edits: Vec<String> = serde_json::from_str(&whole.metadata["edits"]).expect("a list");
    assert!(edits[0].starts_with("6 edits") && edits[1].starts_with("4 edits"), "{edits:?}");
    let one = at("one.safetensors");
    let alone = ["patch", "--tokens", "7,8,1", "--corrupted-tokens", "7,9,1", "--target", "#3", "--model", tiny()];
    on_host(&[&alone[..], &all[5..], &["--out", &one]].concat()).done();
    let one = read(&folder.path().join("one.safetensors"));
    let of_row = &whole.array("corrupted_value").expect("values").data[1];
    assert!((of_row - one.array("corrupted_value").expect("a value").data[0]).abs() < 1e-5);
    // Another vector under the same name is other work.
    vector(0.25);
    let ran = on_host(&[&all[..], &["--shard-size", "1", "--out-dir", &shards]].concat());
    assert!(ran.code == Some(1) && ran.stderr.contains("has shards of other work: `--edit`"), "{}", ran.stderr);
}

#[test]
fn edits_that_do_not_fit_are_refused() {
    let one = ["sensitivity", "--tokens", "3,14,15", "--target", "#3", "--model", tiny()];
    let with = |edit: &str| on_host(&[&one[..], &["--edit", edit]].concat());
    assert!(with("ablate(blocks.9.hook_mlp_out)").failed().contains("blocks 0 to 1"));
    assert!(with("ablate(blocks.0.hook_mlp_out)@3").failed().contains("token position 3"));
    assert!(with("remove(blocks.0.hook_mlp_out)").stderr.contains("expected one of ablate, scale, add"));
    let ran =
        on_host(&["average", "--tokens", "3,14,15", "--model", tiny(), "--edit", "ablate(blocks.0.hook_mlp_out)"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("--edit"), "{}", ran.stderr);
}
