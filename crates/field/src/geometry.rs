//! The geometry of propagation: where the energy of a response field goes.
//!
//! Let r be the response to a source at (l, t). Its energy at a place is `e[l', t'] = |r[l', t']|^2`; by level and
//! distance in tokens it is `E[l', D] = e[l', t + D]`. Each level l' >= l has:
//!
//! ```text
//! energy    E(l')  = sum_D E[l', D]
//! stays     S(l')  = E[l', 0] / E(l')                      the share at the source's own token
//! centroid  c(l')  = sum_D D E[l', D] / E(l')              in tokens
//! width     w(l')  = sqrt(sum_D (D - c)^2 E[l', D] / E(l'))
//! front     F(l')  = the least D with 90 % of the energy within 0..D
//! velocity  the least-squares slope of c(l') over l' - l   in tokens a level
//! ```

/// The propagation of a response field, level by level.
///
/// Arrays have one value for each level, 0 to L. Levels below the source, and levels without energy, are zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// Energy, `[L+1]`.
    pub energy: Vec<f32>,
    /// Energy by distance in tokens, `[L+1, T]`; distances beyond the prompt's end are zero.
    pub by_distance: Vec<f32>,
    /// Share of the energy at the source's token, `[L+1]`.
    pub stays: Vec<f32>,
    /// Mean distance, in tokens, `[L+1]`.
    pub centroid: Vec<f32>,
    /// Standard deviation of the distance, in tokens, `[L+1]`.
    pub width: Vec<f32>,
    /// Distance within which 90 % of the energy is, in tokens, `[L+1]`.
    pub front: Vec<f32>,
    /// Slope of the centroid, in tokens a level; NaN with fewer than two levels.
    pub velocity: f64,
}

/// Share of the energy within the front.
const FRONT: f64 = 0.9;

impl Geometry {
    /// Computes the geometry of a response with norms `norm [levels, tokens]` to a source at (level, token).
    pub fn new(norm: &[f32], tokens: usize, (level, token): (usize, usize)) -> Self {
        let levels = norm.len() / tokens;
        let zeros = || vec![0.0; levels];
        let mut by_distance = vec![0.0; levels * tokens];
        let mut geometry = Self {
            energy: zeros(),
            by_distance: Vec::new(),
            stays: zeros(),
            centroid: zeros(),
            width: zeros(),
            front: zeros(),
            velocity: f64::NAN,
        };
        let mut centroids = Vec::new();
        for l in level..levels {
            let row = &norm[l * tokens + token..(l + 1) * tokens];
            let energy: Vec<f64> = row.iter().map(|&x| f64::from(x).powi(2)).collect();
            let total: f64 = energy.iter().sum();
            if total == 0.0 {
                continue;
            }
            for (slot, e) in by_distance[l * tokens..].iter_mut().zip(&energy) {
                *slot = *e as f32;
            }
            let moment = |about: f64, power: i32| {
                let each = energy.iter().enumerate().map(|(d, e)| (d as f64 - about).powi(power) * e);
                each.sum::<f64>() / total
            };
            let centroid = moment(0.0, 1);
            let mut within = 0.0;
            let front = energy.iter().position(|e| {
                within += e;
                within >= FRONT * total
            });
            geometry.energy[l] = total as f32;
            geometry.stays[l] = (energy[0] / total) as f32;
            geometry.centroid[l] = centroid as f32;
            geometry.width[l] = moment(centroid, 2).sqrt() as f32;
            geometry.front[l] = front.unwrap_or(energy.len() - 1) as f32;
            centroids.push(((l - level) as f64, centroid));
        }
        geometry.by_distance = by_distance;
        geometry.velocity = slope(&centroids);
        geometry
    }
}

/// Returns the least-squares slope of points (x, y).
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (xy, xx) =
        points.iter().fold((0.0, 0.0), |(xy, xx), p| (xy + (p.0 - mx) * (p.1 - my), xx + (p.0 - mx).powi(2)));
    xy / xx
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source at (1, 1) in a field of four levels and five tokens. Its energy moves one token a level, and spreads.
    #[test]
    fn a_known_cone() {
        let mut norm = vec![0.0f32; 4 * 5];
        norm[5 + 1] = 2.0;
        norm[10 + 1] = 3.0;
        norm[10 + 3] = 3.0;
        norm[15 + 3] = 1.0;
        let g = Geometry::new(&norm, 5, (1, 1));
        assert_eq!(g.energy, [0.0, 4.0, 18.0, 1.0]);
        assert_eq!(g.stays, [0.0, 1.0, 0.5, 0.0]);
        assert_eq!(g.centroid, [0.0, 0.0, 1.0, 2.0]);
        assert_eq!(g.width, [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(g.front, [0.0, 0.0, 2.0, 2.0]);
        assert_eq!(g.by_distance[10..15], [9.0, 0.0, 9.0, 0.0, 0.0]);
        assert!((g.velocity - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_source_without_a_response() {
        let mut norm = vec![0.0f32; 3 * 2];
        norm[5] = 1.0;
        let g = Geometry::new(&norm, 2, (2, 1));
        assert_eq!((g.energy[2], g.stays[2]), (1.0, 1.0));
        assert!(g.velocity.is_nan() && g.energy[..2] == [0.0, 0.0]);
    }
}
