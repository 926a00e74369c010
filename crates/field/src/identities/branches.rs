//! Identities of the norms before and behind attention and MLP.

use resolvent_model::{Mode, Observable, Parameter, Run, Site};

use super::read;
use super::stream::sizes_of;
use crate::certificate::{dot, worse};
use crate::error::{Error, Result};

/// Returns the largest `|<z, dJ/dz> - c <y, dJ/dy>|` over the sizes of these terms, where y is the output of attention
/// behind its norm and z what all heads of the token give to the projection; also with the neurons and the output of
/// the MLP.
pub(super) fn output_scale(run: &Run, observable: &Observable, mode: Mode) -> Result<f64> {
    let (sizes, model, tokens) = (run.model().sizes(), run.model().architecture(), run.tokens().len());
    let mut figure = 0.0;
    for l in 0..sizes.layers {
        let heads: Vec<Site> = (0..sizes.heads).map(|h| Site::Z(l, h)).collect();
        for (inputs, output) in [(heads, Site::AttnOut(l)), (vec![Site::MlpPost(l)], Site::MlpOut(l))] {
            let Some(scale) = run.output_scale(output)? else {
                return Err(Error::Input(format!("{output}: no norm follows it in this model")));
            };
            let [values, bars] = read(run, observable, mode, &[inputs, vec![output]].concat())?;
            for (t, scale) in scale.iter().enumerate() {
                // Products and sizes of the inputs, then of the output.
                let each = values.iter().zip(&bars).map(|(x, x_bar)| {
                    let row = t * x.len() / tokens..(t + 1) * x.len() / tokens;
                    (dot(&x[row.clone()], &x_bar[row.clone()]), sizes_of(&x[row.clone()], &x_bar[row]))
                });
                let mut each: Vec<(f64, f64)> = each.collect();
                let (after, after_size) = each.pop().unwrap_or_default();
                let (before, size) = each.iter().fold((0.0, after_size), |(a, b), (x, y)| (a + x, b + y));
                let left = model.eps() / f64::from(*scale).powi(2);
                figure = worse(figure, (before - left * after).abs() / size.max(f64::MIN_POSITIVE));
            }
        }
    }
    Ok(figure)
}

/// Returns the largest `|<x, g> - c <y, dJ/dy>|` at a level over the largest size of its terms there, where a branch
/// reads x through its norm, g is the derivative by x through this branch alone, and y what its first product makes of
/// the normed x, without biases. g is the difference of the derivatives by the stream before and after the branch.
pub(super) fn branch_scale(run: &Run, observable: &Observable, mode: Mode) -> Result<f64> {
    let (model, sizes, tokens) = (run.model(), *run.model().sizes(), run.tokens().len());
    let (d, eps) = (sizes.d, model.architecture().eps());
    let biases = |which| -> Result<Vec<f32>> { Ok(model.parameter(which)?.unwrap_or_default()) };
    let (qkv, up) = (biases(Parameter::QkvBias)?, biases(Parameter::UpBias)?);
    let mut figure = 0.0;
    for l in 0..sizes.layers {
        let heads = (0..sizes.heads).map(|h| Site::Q(l, h));
        let of_keys = |of: fn(usize, usize) -> Site| (0..sizes.kv_heads).map(move |h| of(l, h));
        let attention: Vec<Site> = heads.chain(of_keys(Site::K)).chain(of_keys(Site::V)).collect();
        let mlp = vec![Site::MlpPre(l), Site::MlpPreLinear(l)];
        let bias = |all: &[f32]| all.chunks((all.len() / sizes.layers).max(1)).nth(l).unwrap_or_default().to_vec();
        for (around, outputs, bias) in [
            ([Site::ResidPre(l), Site::ResidMid(l)], attention, bias(&qkv)),
            ([Site::ResidMid(l), Site::ResidPost(l)], mlp, bias(&up)),
        ] {
            let [values, bars] = read(run, observable, mode, &[around.to_vec(), outputs].concat())?;
            let [mut apart, mut most] = [0.0, f64::MIN_POSITIVE];
            for t in 0..tokens {
                let row = |rows: &[f32]| rows[t * rows.len() / tokens..(t + 1) * rows.len() / tokens].to_vec();
                let (x, before, after) = (row(&values[0]), row(&bars[0]), row(&bars[1]));
                let (mut product, mut size, mut column) = (0.0, 0.0, 0);
                for (y, y_bar) in values[2..].iter().zip(&bars[2..]) {
                    let (mut y, y_bar) = (row(y), row(y_bar));
                    y.iter_mut().zip(bias.get(column..).unwrap_or_default()).for_each(|(y, b)| *y -= b);
                    column += y.len();
                    product += dot(&y, &y_bar);
                    size += sizes_of(&y, &y_bar);
                }
                let left = eps / (dot(&x, &x) / d as f64 + eps);
                let through = dot(&x, &before) - dot(&x, &after);
                apart = worse(apart, (through - left * product).abs());
                most = worse(most, sizes_of(&x, &before) + sizes_of(&x, &after) + left * size);
            }
            figure = worse(figure, apart / most);
        }
    }
    Ok(figure)
}
