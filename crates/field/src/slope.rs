//! Central differences of J as checks of its derivatives.
//!
//! `(J(h + a v) - J(h - a v)) / 2a` differs from `dJ/da` by the third order of J, of which there is an estimate only, and
//! by the noise floor of J over a. The second order cancels. It gives the amplitude: where it changes the response by
//! [`CURVED`], the third order is about the square of that, and the response is as large as it may be.

use resolvent_model::{Edit, Linearization, Observable, Site, Source};

use crate::certificate::{Certificate, SLOPE, norm};
use crate::error::Result;
use crate::place::{Place, shape};

/// Second order over first at the amplitude of a difference: the third order is then about 0.1 % of the first.
const CURVED: f64 = 0.03;
/// The largest amplitude, over |h|: a larger one is another run.
const FARTHEST: f64 = 0.1;
/// The least amplitude is the one at which noise is this share of the tolerance.
const CLEAR: f64 = 0.1;

/// The slope of J along its sensitivity chi, at three levels: 0, half of what J sees, and the last one that J sees; at
/// each at the token with the largest |chi|. The figure is the worst of them, relative to |chi|.
///
/// # Errors
/// An observable that does not fit, or a device error.
pub(crate) fn slope(
    linear: &Linearization<'_>,
    observable: &Observable,
    chi: &[f32],
    noise: f64,
) -> Result<Certificate> {
    let (run, (_, tokens, d)) = (linear.run(), shape(linear.run()));
    let (config, last) = (run.model().config(), observable.level(run.model().config()));
    let size = |(l, t): Place| norm(&chi[(l * tokens + t) * d..][..d]);
    let mut levels = vec![0, last / 2, last];
    levels.dedup();
    let strongest = |l: usize| (0..tokens).map(|t| (l, t)).max_by(|a, b| size(*a).total_cmp(&size(*b)));
    let places: Vec<Place> = levels.into_iter().filter_map(strongest).filter(|p| size(*p) > 0.0).collect();

    let unit = |&(l, t): &Place| Source {
        site: Site::level(l, config),
        token: t,
        vector: chi[(l * tokens + t) * d..][..d]
            .iter()
            .map(|&x| (f64::from(x) / size((l, t))) as f32)
            .collect(),
    };
    let sources: Vec<[Source; 1]> = places.iter().map(|place| [unit(place)]).collect();
    let field = run.field()?;
    let second = linear.along(&sources, observable)?.into_iter().map(|along| along.second);
    let amplitudes: Vec<f64> = places
        .iter()
        .zip(second)
        .map(|(&(l, t), second)| {
            amplitude([size((l, t)), second], noise, norm(&field[(l * tokens + t) * d..][..d]))
        })
        .collect();
    let moved = sources.iter().zip(&amplitudes).flat_map(|([source], a)| {
        [*a, -*a].map(|a| {
            let vector = source.vector.iter().map(|&x| (f64::from(x) * a) as f32).collect();
            [Edit::add(source.site, source.token, vector)]
        })
    });
    let values = run.values_under(&moved.collect::<Vec<_>>(), observable)?;
    let each = places.iter().zip(&amplitudes).zip(values.chunks(2)).map(|((&place, a), values)| {
        let quotient = (values[0] - values[1]) / (2.0 * a);
        Certificate::new("slope", (quotient / size(place) - 1.0).abs(), SLOPE)
            .with_noise(noise / (a * size(place)))
    });
    // Where J depends on nothing, there is no slope.
    Ok(each.reduce(Certificate::worse).unwrap_or(Certificate::new("slope", 0.0, SLOPE)))
}

/// The amplitude of a difference along a direction with these derivatives: as far as second order is [`CURVED`], farther
/// where noise would be more than a share of the tolerance, and never farther than a part of `h`, the length of the field
/// there in units of the direction.
pub(crate) fn amplitude([first, second]: [f64; 2], noise: f64, h: f64) -> f64 {
    let curved = CURVED * 2.0 * (first / second).abs();
    let clear = noise / (CLEAR * SLOPE * first.abs());
    curved.max(clear).min(FARTHEST * h.max(f64::from(f32::MIN_POSITIVE)))
}
