//! Whether a model fits into memory that a program can address: 4 GiB in a browser.

use resolvent_engine::Device;

use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::memory_files;

/// Bytes of memory that a pointer of this platform can address; `None` if that is more than any machine has.
const ADDRESSABLE: Option<u64> = match usize::BITS {
    32 => Some(1 << 32),
    _ => None,
};

/// Fails if the weights of a model cannot fit beside its files in memory. Nothing is allocated before.
///
/// # Errors
/// [`Error::Room`].
pub(crate) fn check(device: &Device, model: &Architecture) -> Result<()> {
    let Some(limit) = ADDRESSABLE else { return Ok(()) };
    let element = if device.f16_weights() { 2 } else { 4 };
    // A GPU has the weights in memory of its own.
    let weights = if device.info().is_host() { element * model.elements() } else { 0 };
    fits(u64::try_from(weights).unwrap_or(u64::MAX), memory_files::bytes(), limit)
}

fn fits(weights: u64, files: u64, limit: u64) -> Result<()> {
    match weights.saturating_add(files) <= limit {
        true => Ok(()),
        false => Err(Error::Room { weights, files, limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;

    #[test]
    fn a_model_that_does_not_fit_is_refused_with_its_sizes() {
        assert!(fits(3 << 30, 1 << 30, 1 << 32).is_ok());
        let error = fits(3 << 30, (1 << 30) + 1, 1 << 32).expect_err("is too large").to_string();
        let want = "the weights take 3.00 GiB beside 1.00 GiB of files, and a program here has 4.00 GiB of memory; ";
        assert!(error.starts_with(want), "{error}");
        assert!(fits(u64::MAX, 1, 1 << 32).is_err());
    }

    #[test]
    fn elements_are_those_of_all_tensors() {
        let config = tiny();
        let (d, inner) = (config.n_embd as u64, config.n_inner() as u64);
        let block = 4 * d + (3 * d * d + 3 * d) + (d * d + d) + (d * inner + inner) + (inner * d + d);
        let all = (config.vocab_size + config.n_positions) as u64 * d + config.n_layer as u64 * block + 2 * d;
        assert_eq!(Architecture::from(&config).elements(), u128::from(all));
    }
}
