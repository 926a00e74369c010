//! The clock and the output format, the same as those of the other peers.

use std::time::Instant;

use serde_json::{Value, json};

/// The measurements of a peer.
pub struct Report {
    /// Whether to spend about a second on each pass, instead of ten.
    pub quick: bool,
    checks: serde_json::Map<String, Value>,
    passes: Vec<Value>,
}

impl Report {
    /// Creates an empty report.
    pub fn new(quick: bool) -> Self {
        Self { quick, checks: serde_json::Map::new(), passes: Vec::new() }
    }

    /// Returns an error if the largest difference exceeds `most` times the largest expected value.
    pub fn check(
        &mut self,
        what: &str,
        found: &[f32],
        expected: &[f32],
        most: f32,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let largest = expected.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
        let mut error = if found.len() == expected.len() { 0.0 } else { f32::NAN };
        for (a, b) in found.iter().zip(expected) {
            let off = (a - b).abs() / largest;
            // A NaN must not be dropped by a comparison.
            error = if off > error || off.is_nan() { off } else { error };
        }
        eprintln!("check {what}: {error:.1e} (at most {most:.0e})");
        self.checks.insert(what.to_owned(), json!(error));
        if error <= most { Ok(()) } else { Err(format!("{what}: relative error {error:.1e}").into()) }
    }

    /// Times the work, which must be complete when it returns. Three untimed runs precede, as kernels are tuned on
    /// first use.
    pub fn time(&mut self, name: &str, variant: &str, mut work: impl FnMut()) {
        let (budget, most) = if self.quick { (1.0, 5) } else { (10.0, 25) };
        (0..3).for_each(|_| work());
        let mut seconds = Vec::new();
        while seconds.is_empty() || (seconds.len() < most && seconds.iter().sum::<f64>() < budget) {
            let start = Instant::now();
            work();
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let (low, median, high) = (seconds[0], seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
        let milliseconds = |s: f64| 1e3 * s;
        eprintln!(
            "{name:<24} {variant:<44} {:9.1} ms ({:.1} to {:.1}, {})",
            milliseconds(median),
            milliseconds(low),
            milliseconds(high),
            seconds.len()
        );
        self.passes.push(json!({
            "name": name, "variant": variant, "seconds": median, "low": low, "high": high, "repeats": seconds.len(),
        }));
    }

    /// Returns the JSON of a result file.
    pub fn to_json(&self, adapter: &str) -> Value {
        json!({
            "schema": 1, "peer": "burn", "packages": { "burn": locked("burn"), "wgpu": locked("wgpu") },
            "device": adapter, "threads": threads(), "quick": self.quick, "checks": self.checks, "answers": {},
            "passes": self.passes, "left_out": {},
        })
    }
}

/// Returns the number of threads of every peer, as set by the runner.
fn threads() -> usize {
    std::env::var("PEERS_THREADS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// Returns the version of a package in this package's lock file.
fn locked(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = lock.split_once(entry.as_str()).and_then(|(_, after)| after.split('"').next());
    version.unwrap_or_default().to_owned()
}
