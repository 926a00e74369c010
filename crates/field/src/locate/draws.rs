//! Random sources at every place, whose responses tell which places the observation can tell apart.

use resolvent_model::{Site, Source, gaussian};

use crate::certificate::norm;
use crate::error::Result;

use super::observed::Observed;

/// Adds normal noise to a response, so that it is `share` of the length of the sum, in expectation.
pub fn with_noise(response: &[f32], share: f64, seed: u64) -> Vec<f32> {
    let size = norm(response) * share / (1.0 - share * share).sqrt() / (response.len() as f64).sqrt();
    let noise = gaussian(seed, response.len());
    response.iter().zip(noise).map(|(r, n)| (f64::from(*r) + size * f64::from(n)) as f32).collect()
}

/// Scales a response to unit length. Returns it with its length.
pub(super) fn unit(response: &[f32]) -> (Vec<f32>, f64) {
    let size = norm(response);
    (response.iter().map(|r| (f64::from(*r) / size) as f32).collect(), size)
}

/// Responses of random sources whose places are known.
pub(super) struct Draws {
    /// Index of the place of each, `level T + token`.
    pub(super) place: Vec<usize>,
    /// Responses with noise, of unit length, `[M]` each.
    pub(super) responses: Vec<Vec<f32>>,
    /// Prior variance of the elements of each source, in units of the square of its response.
    pub(super) tau2: Vec<f64>,
}

/// Draws `count` normal sources at every place, and their responses with noise. Sources without a response are left
/// out.
///
/// # Errors
/// A device error.
pub(super) fn draws(observed: &Observed<'_>, (count, noise, seed): (usize, f64, u64)) -> Result<Draws> {
    let ((levels, tokens), d, sizes) = (observed.places(), observed.width(), observed.run().model().sizes());
    let source = |i: usize| {
        let place = i / count;
        let site = Site::level(place / tokens, sizes);
        vec![Source { site, token: place % tokens, vector: gaussian(seed.wrapping_add(1 + i as u64), d) }]
    };
    let sources: Vec<Vec<Source>> = (0..levels * tokens * count).map(source).collect();
    let responses = observed.respond(&sources)?;
    let mut draws = Draws { place: Vec::new(), responses: Vec::new(), tau2: Vec::new() };
    for (i, response) in responses.iter().enumerate().filter(|(_, response)| norm(response) > 0.0) {
        let (response, size) = unit(&with_noise(response, noise, !seed.wrapping_add(i as u64)));
        draws.place.push(i / count);
        draws.responses.push(response);
        draws.tau2.push(size.powi(-2));
    }
    Ok(draws)
}
