//! Tests of places that fail their check.

use resolvent_engine::Device;
use resolvent_model::{Model, RandomWeights, gaussian, tiny};

use super::*;

/// A place whose derivative fails its check is named with its figure, and its results are NaN; the other places
/// have results. If no place passes, the result is an error.
#[test]
fn a_place_that_fails_is_marked() {
    let weights = RandomWeights::new(7).with_std(0.15);
    let model = Model::random(&Device::host(), tiny(), weights).expect("opens");
    let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
    let (j, options) = (Observable::logit_diff(2, 6, 4), RegimeOptions { field: true, nodes: 2, ..Default::default() });
    let places = [(0, 1), (1, 4), (2, 4)].map(|place| (place, gaussian(3, 32)));
    let whole = [RegimeCase { run: &run, observable: &j, sites: &places }];
    let setup = Setup::new(&whole, (&options.amplitudes, options.absolute)).expect("fit");
    let mut along = along_of(&setup.probed(&setup.sources())).expect("derives");
    along[1].first *= 1.1;
    let result = measured(&setup, &along, &options).expect("computes").remove(0).expect("two places pass");
    for name in ["first_order", "second", "radius", "error", "field_error", "secant_error", "secant_radius"] {
        let array = result.array(name).expect("an array");
        let rows: Vec<&[f32]> = array.data.chunks(array.data.len() / 3).collect();
        assert!(rows[1].iter().all(|x| x.is_nan()), "{name}: {rows:?}");
        assert!(rows[0].iter().chain(rows[2]).any(|x| x.is_finite()), "{name}: {rows:?}");
    }
    let failed = &result.metadata["failed"];
    assert!(failed.starts_with("blocks.1.hook_resid_pre, token 4: forward_reverse "), "{failed}");
    assert!(!failed.contains(';') && failed.contains("at most"), "{failed}");
    assert!(result.certificates.iter().all(Certificate::passes));
    let alone = [RegimeCase { sites: &places[1..2], ..whole[0] }];
    let setup = Setup::new(&alone, (&options.amplitudes, options.absolute)).expect("fit");
    let error = measured(&setup, &along[1..2], &options).expect("computes").remove(0);
    let error = error.expect_err("none passes").to_string();
    assert!(error.contains("`forward_reverse` failed") && !error.contains("--device"), "{error}");
}
