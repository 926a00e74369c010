//! What a shard costs beside its numbers: the time to look for it, to write it and to find it again, with empty shards.
//!
//! `cargo run -p resolvent-benches --example shards --release -- FOLDER [SHARDS]` prints the times of the page on large
//! runs. The folder must not exist.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use resolvent_engine::Device;
use resolvent_field::{Prompts, Shards, Work};
use resolvent_model::Model;

/// Shards, if no number is given: 3.2 million prompts, 32 in a shard.
const SHARDS: usize = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a folder that does not exist")?;
    let count = arguments.next().map_or(Ok(SHARDS), |text| text.parse())?;
    let folder = Path::new(&folder);
    if folder.exists() {
        return Err(format!("{} exists; name a folder that does not", folder.display()).into());
    }
    let model = Model::named(&Device::host(), "random")?;
    let began = Instant::now();
    let options = BTreeMap::from([("analysis".to_owned(), "none".to_owned())]);
    let rows =
        (0..count).map(|row| format!("row {row}: a prompt of usual length, with the two answers that are compared"));
    let shards = Shards::create(folder, &Work::new(&model, options, rows, (1, None))?)?;
    println!("the hash of {count} rows, and the folder: {:.3} s", began.elapsed().as_secs_f64());
    let each = |what: &str, work: &dyn Fn(usize) -> Result<(), Box<dyn Error>>| {
        let began = Instant::now();
        (0..count).try_for_each(work)?;
        let seconds = began.elapsed().as_secs_f64();
        println!("{what}: {seconds:.1} s, {:.3} ms a shard", 1e3 * seconds / count as f64);
        Ok::<_, Box<dyn Error>>(())
    };
    let empty = Prompts::default();
    each("not there, written", &|shard| {
        if shards.is_complete(shard)? {
            return Err("an empty folder has a shard".into());
        }
        Ok(shards.write(shard, &empty, 0)?)
    })?;
    each("there, read and checked", &|shard| match shards.is_complete(shard)? {
        true => Ok(()),
        false => Err("a shard is lost".into()),
    })?;
    let bytes: u64 =
        (0..count).filter_map(|shard| std::fs::metadata(shards.path(shard)).ok()).map(|file| file.len()).sum();
    println!("{:.1} bytes a shard", bytes as f64 / count as f64);
    Ok(())
}
