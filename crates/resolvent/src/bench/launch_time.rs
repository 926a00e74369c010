//! Times one launch of a shader that has several variants, at one size: the figure by which [`super::tune`] chooses.

use std::time::Duration;

use half::f16;
use resolvent_engine::{Device, Recording, Result, Tensor};
use resolvent_model::gaussian;
use resolvent_ops::attention::Attention;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::tuning::{Family, Size};
use resolvent_ops::{Op, Outcome, Residuals, Rows, Span, Weight};
use web_time::Instant;

/// The output of a launch, and the time that it took.
pub(super) struct LaunchTime {
    /// The output, for comparison with another device's.
    pub(super) values: Vec<f32>,
    /// Seconds of the fastest repetition.
    pub(super) seconds: f64,
}

/// Widths of GPT-2 small: twelve heads of 64, and a hidden layer four times as wide.
const D: usize = 768;
const INNER: usize = 4 * D;

/// Least total time of the repetitions.
const LONG: Duration = Duration::from_millis(300);
/// Least number of repetitions.
const REPEATS: usize = 3;

/// Returns the number of rows of the launch that is timed for a size.
fn rows_of(size: Size) -> usize {
    match size {
        Size::Few => 16,
        Size::Some => 64,
        Size::Many => 256,
    }
}

/// Times one launch of a kernel family, with the variant that `device` selects.
///
/// The launch computes tangents of a product `[rows, 768] x [768, 3072]`, or the product itself if it rounds its
/// inputs; for attention, it computes tangents over a prompt of `rows` tokens.
///
/// # Errors
/// A device error.
pub(super) fn launch_time(device: &Device, family: Family, size: Size) -> Result<LaunchTime> {
    let rows = rows_of(size);
    let table = Rows::new(device, &[Span { primal: 0, start: 0, end: rows }])?;
    let normals = |seed, n: usize, scale: f32| gaussian(seed, n).into_iter().map(|x| x * scale).collect();
    let upload = |name: &str, dims: [(&'static str, usize); 2], values: Vec<f32>| device.upload(name, &dims, &values);
    let (op, width): (Box<dyn Op>, usize) = match family {
        Family::Matmul | Family::MatmulF16 => {
            let w: Vec<f32> = normals(1, D * INNER, (D as f32).powf(-0.5));
            let w = match family {
                Family::Matmul => Weight::full(upload("w", [("k", D), ("n", INNER)], w)?),
                _ => {
                    let rounded: Vec<f16> = w.into_iter().map(f16::from_f32).collect();
                    let words = device.upload("w", &[("k", D), ("pairs", INNER / 2)], &rounded)?;
                    Weight::f16s(words)?.rounding_inputs(true)
                }
            };
            let bias = device.upload("bias", &[("n", INNER)], &vec![0.0f32; INNER])?;
            (Box::new(Matmul { w, bias, add: false }), D)
        }
        Family::Attention => (Box::new(Attention { scale: 0.125, ..Attention::new(12, D / 12) }), 3 * D),
    };
    let x = upload("x", [("rows", rows), ("n", width)], normals(2, rows * width, 1.0))?;
    let x_dot = upload("x_dot", [("rows", rows), ("n", width)], normals(3, rows * width, 1.0))?;
    let mut rec = device.record();
    let Outcome { residuals, .. } = op.primal(&mut rec, &table, None, &[&x])?;
    device.submit(rec)?;
    let launch = |residuals: &Residuals| -> Result<(Recording, Tensor)> {
        let mut rec = device.record();
        let y = match family {
            Family::MatmulF16 => op.primal(&mut rec, &table, None, &[&x])?.y,
            Family::Matmul | Family::Attention => op.jvp(&mut rec, &table, residuals, &[&x_dot])?,
        };
        Ok((rec, y))
    };
    let (rec, y) = launch(&residuals)?;
    device.submit(rec)?;
    let values = device.read(&y)?;
    let (start, mut seconds, mut repeats) = (Instant::now(), f64::INFINITY, 0);
    while repeats < REPEATS || start.elapsed() < LONG {
        let (rec, _y) = launch(&residuals)?;
        device.wait()?;
        let begun = Instant::now();
        device.submit(rec)?;
        device.wait()?;
        seconds = seconds.min(begun.elapsed().as_secs_f64());
        repeats += 1;
    }
    Ok(LaunchTime { values, seconds })
}
