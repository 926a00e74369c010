//! The ops' formulas, in f64.

/// `gain (x - mean) / sqrt(var + eps) + bias` over rows as long as `gain`.
pub(crate) fn layer_norm(x: &[f64], gain: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let d = x.len() as f64;
        let mean = x.iter().sum::<f64>() / d;
        let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d;
        let hat = x.iter().map(|x| (x - mean) / (var + eps).sqrt());
        hat.zip(gain.iter().zip(bias)).map(|(hat, (gain, bias))| gain * hat + bias).collect()
    };
    x.chunks(gain.len()).flat_map(row).collect()
}

/// GELU, exact or in the tanh form.
pub(crate) fn gelu(exact: bool, x: f64) -> f64 {
    if exact {
        // erfc, not 1 + erf: the tail is the result.
        0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
    } else {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        x / (1.0 + (-2.0 * u).exp())
    }
}

/// `x w + bias`, with `w [k, n]`.
pub(crate) fn affine(x: &[f64], w: &[f64], bias: &[f64]) -> Vec<f64> {
    let (n, k) = (bias.len(), w.len() / bias.len());
    let row = |x: &[f64]| -> Vec<f64> {
        let mut y = bias.to_vec();
        for (x, w) in x.iter().zip(w.chunks(n)) {
            y.iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
        }
        y
    };
    x.chunks(k).flat_map(row).collect()
}

/// Causal attention over prompts that follow one another, `[rows, 3d] -> [rows, d]`.
pub(crate) fn attention(qkv: &[f64], prompts: &[usize], [heads, width]: [usize; 2], scale: f64) -> Vec<f64> {
    let d = heads * width;
    let part = |row: usize, part: usize, head: usize| &qkv[(3 * row + part) * d + head * width..][..width];
    let mut z = Vec::with_capacity(qkv.len() / 3);
    let mut first = 0;
    for &tokens in prompts {
        for row in first..first + tokens {
            for head in 0..heads {
                let score = |j: usize| {
                    let pair = part(row, 0, head).iter().zip(part(j, 1, head));
                    scale * pair.map(|(q, k)| q * k).sum::<f64>()
                };
                let scores: Vec<f64> = (first..=row).map(score).collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                z.extend((0..width).map(|e| {
                    let terms = weights.iter().enumerate().map(|(j, w)| w * part(first + j, 2, head)[e]);
                    terms.sum::<f64>() / total
                }));
            }
        }
        first += tokens;
    }
    z
}

/// The derivative of [`gelu`].
pub(crate) fn gelu_d(exact: bool, x: f64) -> f64 {
    if exact {
        let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2) + x * density
    } else {
        let c = (2.0 / std::f64::consts::PI).sqrt();
        let s = 1.0 / (1.0 + (-2.0 * c * (x + 0.044715 * x.powi(3))).exp());
        let slope = 2.0 * c * (1.0 + 3.0 * 0.044715 * x * x);
        // The product before the slope: far out it is zero, and the slope may be infinite.
        if s * (1.0 - s) > 0.0 { s + x * (s * (1.0 - s)) * slope } else { s }
    }
}
