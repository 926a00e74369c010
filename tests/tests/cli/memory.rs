//! Memory of opening a model: a checkpoint is converted and uploaded in chunks, and its pages are released.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use resolvent_model::{Config, RandomWeights, WeightSource, gpt2_small};
use serde_json::{Map, Value, json};

use super::{command, utf8};

/// Returns a configuration with 97 MB of f32 weights: six blocks of width 512 and a vocabulary of 10 000.
fn config() -> Config {
    Config { n_layer: 6, n_embd: 512, n_head: 8, vocab_size: 10_000, n_positions: 64, ..gpt2_small() }
}

/// Writes a model directory tensor by tensor, and returns the size of its weight file.
fn write(directory: &Path, config: &Config) -> u64 {
    let Config { n_layer, n_embd, n_head, vocab_size, n_positions, .. } = config;
    let text = json!({
        "model_type": "gpt2", "n_layer": n_layer, "n_embd": n_embd, "n_head": n_head,
        "vocab_size": vocab_size, "n_positions": n_positions,
    });
    std::fs::write(directory.join("config.json"), text.to_string()).expect("writable");
    let (mut header, mut at) = (Map::new(), 0);
    for (name, shape) in config.tensors() {
        let end = at + 4 * shape.iter().product::<usize>();
        header.insert(name, json!({ "dtype": "F32", "shape": shape, "data_offsets": [at, end] }));
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let path = directory.join("model.safetensors");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("writable"));
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("room");
    file.write_all(&header).expect("room");
    let weights = RandomWeights::new(1);
    for (name, shape) in config.tensors() {
        let mut elements = vec![0.0f32; shape.iter().product()];
        weights.read(&name, 0..shape[0], &mut elements).expect("any name");
        file.write_all(bytemuck::cast_slice(&elements)).expect("room");
    }
    file.into_inner().expect("room");
    std::fs::metadata(&path).expect("was written").len()
}

/// Returns the peak memory of a run of `model` in bytes.
///
/// The child is measured while it is blocked: the logits that it prints exceed the capacity of a pipe.
fn peak(model: &str) -> u64 {
    let mut child = command(&["run", "--tokens", "1", "--json", "--device", "host", "--model", model])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdout = child.stdout.take().expect("is a pipe");
    stdout.read_exact(&mut [0]).expect("prints");
    let peak = peak_so_far(child.id()).expect("Linux says so");
    stdout.read_to_end(&mut Vec::new()).expect("prints");
    assert!(child.wait().expect("ends").success());
    peak
}

/// Returns the peak memory of a running process in bytes; `None` once it has ended.
fn peak_so_far(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
}

/// Returns the peak memory of a whole run in bytes, up to what it takes in its last few milliseconds.
fn peak_of(arguments: &[&str]) -> u64 {
    let mut child = command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let mut peak = 0;
    while let Some(found) = peak_so_far(child.id()) {
        peak = found;
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(child.wait().expect("ends").success(), "{arguments:?}");
    peak
}

/// A file that is written part by part, shards and `merge` have bounded memory: eight times the prompts take hardly
/// more. Without a file all results are in memory, which shows that the measurement would see it.
#[test]
fn memory_does_not_grow_with_the_prompts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| utf8(&folder.path().join(name));
    let peaks = [512, 4096].map(|count: usize| {
        let rows: String =
            (0..count).map(|i| format!("\"{},{},3,4,1,5,9,2,6,5,3,5\"\n", i % 50, i / 50 % 50)).collect();
        std::fs::write(at("rows.csv"), format!("clean_tokens\n{rows}")).expect("writes");
        let (rows, shards) = (at("rows.csv"), at(&count.to_string()));
        let run = |more: &[&str]| {
            let own = ["run", "--prompts", &rows, "--model", "random", "--device", "host"];
            peak_of(&[&own[..], more].concat())
        };
        let in_memory = run(&[]);
        let whole = run(&["--out", &at("whole.safetensors")]);
        let parts = run(&["--out-dir", &shards]);
        let merge = peak_of(&["merge", &shards, "--out", &at("merged.safetensors")]);
        let [whole_file, merged] = ["whole.safetensors", "merged.safetensors"].map(|name| std::fs::read(at(name)));
        assert!(whole_file.expect("a file") == merged.expect("a file"));
        [in_memory, whole, parts, merge]
    });
    let grown = |i: usize| peaks[1][i] as f64 / 1e6 - peaks[0][i] as f64 / 1e6;
    println!(
        "| peak memory | 4096 prompts against 512 | one file {:+.1} MB, shards {:+.1} MB, merge {:+.1} MB |",
        grown(1),
        grown(2),
        grown(3)
    );
    // The results of 3584 prompts are 23 MB.
    assert!(grown(0) > 20.0, "without a file: {peaks:?}");
    assert!((1..4).all(|way| grown(way) < 8.0), "{peaks:?}");
}

/// A sweep over many prompts keeps to `--memory`, up to a factor: the runs of a batch, the intermediate values of its
/// sweep, and what both leave in the allocator. Without the option, the same sweep takes far more.
#[test]
fn a_sweep_over_prompts_keeps_to_its_memory() {
    let own = ["patch", "--prompts", "embedded", "--task", "ioi", "--model", "atlas-small", "--device", "host"];
    let with = |memory: &str| peak_of(&[&own[..], &["--memory", memory]].concat()) as f64 / 1e6;
    let (little, more, usual) = (with("8M"), with("32M"), peak_of(&own) as f64 / 1e6);
    let factor = (more - little) / (1.048_576 * 24.0);
    println!(
        "| peak memory | a sweep of 64 prompts | 8M: {little:.0} MB, 32M: {more:.0}, 512M: {usual:.0} | {factor:.1} |"
    );
    assert!(factor < 5.0, "{little} {more}: each byte of --memory takes {factor} bytes");
    assert!(usual > 1.5 * more, "{more} {usual}: the sweep needs more than the least memory");
}

#[test]
fn opening_a_model_takes_little_more_than_its_weights() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let small = Config { n_layer: 1, n_embd: 8, n_head: 1, ..config() };
    let small_folder = tempfile::tempdir().expect("a temporary folder");
    let small_bytes = write(small_folder.path(), &small);
    let bytes = write(folder.path(), &config());
    // The memory of the program, its logits and their text does not grow with the weights.
    let own = peak(&utf8(small_folder.path())) - small_bytes;
    let all = peak(&utf8(folder.path()));
    let ratio = (all - own) as f64 / bytes as f64;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "| peak memory | {:.0} MB of weights | {:.0} MB, of which {:.0} MB the program | {ratio:.3} of the file |",
        megabytes(bytes),
        megabytes(all),
        megabytes(own),
    );
    assert!(ratio > 0.9, "{ratio}: the weights are in memory");
    assert!(ratio < 1.3, "{ratio}");
}
