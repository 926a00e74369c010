//! Edges from every writer into one place of the residual stream.

use resolvent_model::{Edit, Mode, Site, StreamEdits, Writer, captures, ends_at_logits};

use super::{SUMS, displacement};
use crate::case::Case;
use crate::certificate::{Certificate, alone, dot, narrow, norm};
use crate::derivatives::derivatives;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::patch::both_values;
use crate::place::{Place, inside};

/// Computes which writers carry the difference between two prompts at a place (level l, token t): the effects of adding
/// `clean - corrupted` of one writer's output at token t to h\[l, t\] of the corrupted run.
///
/// Both runs must have been prepared for [`path_sites`](resolvent_model::path_sites).
///
/// Arrays, over the W writers before level l: `first_order [W]`, `exact [W]`, and `norm [W]`, the length of the vector
/// that is added; `random [W]`, a control: the root mean square of the first-order effect over vectors of this length
/// in random directions; `whole [2]`, the first-order and the exact effect of the whole difference, which is the patch
/// of the place; `clean_value [1]` and `corrupted_value [1]`. The metadata name the `writers`, separated by commas,
/// and the `place`.
///
/// Certificates: the first-order effects of the writers and of biases behind a norm add up to that of the whole
/// difference (`into_place`); three of the exact effects agree with single runs (`alone`).
///
/// # Errors
/// Runs that do not pair or were not prepared, a place outside of the field, an observable that reads the field below
/// the last level, a device error, or a check that fails.
pub fn edges_into(case: &Case<'_>, place: Place) -> Result<Labelled> {
    case.check()?;
    let ((level, token), run) = (place, case.corrupted);
    inside(place, run)?;
    let sizes = *run.model().sizes();
    ends_at_logits(case.observable, &sizes)?;
    let [_, moved] = displacement(case)?;
    let (site, d) = (Site::level(level, &sizes), moved.d);
    let row = |rows: &[f32]| rows[token * d..][..d].to_vec();
    let writers = &Writer::all(&sizes)[..1 + level * (sizes.heads + 1)];
    let stream = StreamEdits::of(run);
    let passed = |writer: Writer, mut vector: Vec<f32>| -> Vec<f32> {
        stream.pass(writer, site, (token, d), &mut vector);
        vector
    };
    let vector = |&writer: &Writer| passed(writer, row(moved.get(writer, &sizes)));
    let vectors: Vec<Vec<f32>> = writers.iter().map(vector).collect();
    let chi = row(&derivatives(run, case.observable, Mode::Exact, &[site])?[0]);
    let first_order: Vec<f64> = vectors.iter().map(|vector| dot(&chi, vector)).collect();

    let fields = captures(&[(case.clean, &[site][..]), (run, &[site])])?;
    let [clean_row, corrupted_row] = [0, 1].map(|of| row(&fields[of][0]));
    let difference: Vec<f32> = clean_row.iter().zip(&corrupted_row).map(|(a, b)| a - b).collect();
    // A bias is added where the heads of its block are.
    let biases = moved.biases.chunks(moved.tokens * d).take(level).enumerate();
    let biases = biases.map(|(l, rows)| dot(&chi, &passed(Writer::Head(l, 0), row(rows))));
    let whole = dot(&chi, &difference);
    let norms: Vec<f64> = vectors.iter().map(|vector| norm(vector)).collect();
    let of_random = norm(&chi) / (d as f64).sqrt();
    let (sum, size) = first_order
        .iter()
        .copied()
        .chain(biases)
        .fold((0.0, whole.abs()), |(sum, size), term| (sum + term, size + term.abs()));
    let added_up = Certificate::new("into_place", (sum - whole).abs() / size.max(f64::MIN_POSITIVE), SUMS);

    let edits: Vec<[Edit; 1]> = vectors
        .iter()
        .map(|vector| [Edit::add(site, token, vector.clone())])
        .chain([[Edit::put(site, token, clean_row)]])
        .collect();
    let values = run.values_under(&edits, case.observable)?;
    let [clean, corrupted] = both_values([case.clean, run], case.observable)?;
    let effects: Vec<f64> = values.iter().map(|value| value - corrupted).collect();
    let (of_writers, patched) = effects.split_at(writers.len());
    let names: Vec<String> = writers.iter().map(Writer::to_string).collect();
    let axis = [("writer", writers.len())];
    case.named("edges_into")
        .note("writers", names.join(","))
        .note("place", format!("{level},{token}"))
        .with("first_order", &axis, narrow(&first_order))
        .with("exact", &axis, narrow(of_writers))
        .with("norm", &axis, narrow(&norms))
        .with("random", &axis, norms.iter().map(|norm| (norm * of_random) as f32).collect())
        .with("whole", &[("prediction", 2)], vec![whole as f32, patched[0] as f32])
        .with("clean_value", &[("value", 1)], vec![clean as f32])
        .with("corrupted_value", &[("value", 1)], vec![corrupted as f32])
        .certify(added_up)?
        .certify(alone(run, case.observable, &edits, &values)?)
}
