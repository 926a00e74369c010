//! The three small models of `tests/data`, opened from their directories, against another implementation in f64.

use resolvent_field::dot;
use resolvent_model::{
    Edit, Mode, Model, Observable, ProbedRun, Run, RunOptions, Seed, Site, Source, gaussian, hvp_of,
};
use resolvent_tests::truth::{inner, relative, wide};
use resolvent_tests::{Golden, Labelled, Subject, Worst, subjects, tolerance};

const ARRAYS: [&str; 7] = ["field", "logits", "value", "gradient_field", "jvp_field", "jvp_logits", "first"];

/// The arrays that are not derivatives.
const VALUES: [&str; 3] = ["field", "logits", "value"];

/// Returns the two rows of the logits whose responses are compared. They are computed by the adjoint, logit by logit,
/// as `<chi of the logit, s>`.
fn logit_rows(golden: &Golden) -> [usize; 2] {
    let position = golden.observable().position();
    [position, golden.tokens.len() - 1]
}

/// Computes the arrays of the golden file, in order, on one executor.
fn computed(golden: &Golden, on: &Subject) -> Result<Vec<Labelled>, resolvent_model::Error> {
    let model = Model::open(on.device(), &Golden::directory(golden.name))?;
    let run: Run = model.run(&golden.tokens, &[])?;
    let (linear, j, source) = (run.linearize(Mode::Exact), golden.observable(), golden.source());
    let chi = linear.gradient(&j)?;
    let (level, token) = golden.place();
    let d = model.sizes().d;
    let at = (level * golden.tokens.len() + token) * d;

    let mut seeds = Vec::new();
    for position in logit_rows(golden) {
        seeds.extend((0..model.sizes().vocab as u32).map(|id| [Seed::Logit { position, id, weight: 1.0 }]));
    }
    let every = linear.vjp(&seeds)?;
    let logits: Vec<f64> = (0..seeds.len()).map(|k| dot(&every.get(k)[at..at + d], &source.vector)).collect();
    let first = dot(&chi[at..at + d], &source.vector);
    Ok(vec![
        on.label(&run.field()?),
        on.label(&run.logits()?),
        on.label(&beside_a_logit(golden, run.value(&j)?)),
        on.label(&chi),
        on.label(&linear.jvp(&[[source]])?.into_single()),
        on.label(&logits),
        on.label(&[first]),
    ])
}

/// Appends a value of the size of the logits to J. J is a small difference of two logits, and has their rounding error.
fn beside_a_logit(golden: &Golden, value: f64) -> [f64; 2] {
    let logits = golden.array("logits");
    [value, (inner(logits, logits) / logits.len() as f64).sqrt()]
}

fn truth(golden: &Golden, array: &str) -> Labelled {
    let all = golden.array(array);
    let vocab = all.len() / golden.tokens.len();
    let picked = |position: usize| all[position * vocab..][..vocab].to_vec();
    Labelled::reference(match array {
        "value" => beside_a_logit(golden, all[0]).into(),
        "jvp_logits" => logit_rows(golden).map(picked).concat(),
        _ => all.to_vec(),
    })
}

#[test]
fn goldens() {
    check(Golden::all(), tolerance::MODEL);
}

/// Every family: values, sensitivities and responses as Hugging Face's library computes them in f64.
#[test]
fn goldens_of_families() {
    check(Golden::families(), tolerance::DERIVATIVES);
}

/// Checks values to [`tolerance::MODEL`], and the arrays of derivatives, which follow them, to `derivatives`.
fn check(goldens: Vec<Golden>, derivatives: f64) {
    for golden in goldens {
        let mut host = Vec::new();
        let mut worst = ARRAYS.map(|array| Worst::new(&format!("{}.{array}", golden.name)));
        for on in subjects() {
            let got = computed(&golden, on).unwrap_or_else(|e| panic!("{}: {}: {e}", golden.name, on.name()));
            let allowed = |array: &str| if VALUES.contains(&array) { tolerance::MODEL } else { derivatives };
            for ((array, got), worst) in ARRAYS.iter().zip(&got).zip(&mut worst) {
                worst.check(array, got, &truth(&golden, array), allowed(array));
            }
            if on.is_host() {
                host = got;
                continue;
            }
            for (((ours, theirs), worst), array) in got.iter().zip(&host).zip(&mut worst).zip(ARRAYS) {
                worst.check("executors", ours, theirs, allowed(array));
            }
        }
    }
}

/// The response is exactly zero at the zeros of the golden file, and nowhere else.
#[test]
fn zeros_of_the_response_are_those_of_the_golden_file() {
    for golden in Golden::all().into_iter().chain(Golden::families()) {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let run = model.run(&golden.tokens, &[]).expect("runs");
            let response = run.linearize(Mode::Exact).jvp(&[[golden.source()]]).expect("runs").into_single();
            let differ = response.iter().zip(golden.array("jvp_field")).position(|(a, b)| (*a == 0.0) != (*b == 0.0));
            assert_eq!(differ, None, "{}: {}", golden.name, on.name());
        }
    }
}

/// Every place of the field patched with the value of another prompt, in one sweep.
#[test]
fn patch_sweeps_of_families() {
    for golden in Golden::families() {
        let mut worst = Worst::new(&format!("{}.patch", golden.name));
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let run = |tokens: &[u32]| model.run(tokens, &[]).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let (clean, corrupted, j) = (run(&golden.tokens), run(&golden.corrupted), golden.observable());
            let (field, sizes) = (corrupted.field().expect("is finite"), model.sizes());
            let tokens = golden.tokens.len();
            let patch = |(i, h): (usize, &[f32])| [Edit::put(Site::level(i / tokens, sizes), i % tokens, h.to_vec())];
            let edits: Vec<[Edit; 1]> = field.chunks(sizes.d).enumerate().map(patch).collect();
            let values = clean.values_under(&edits, &j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            worst.check(
                "patch",
                &on.label(&values),
                &Labelled::reference(golden.array("patch").to_vec()),
                tolerance::MODEL,
            );
        }
    }
}

/// The second derivative of J along the golden file's source: as a jet, and as a product with the Hessian.
#[test]
fn second_derivatives_of_families() {
    let mut worst =
        ["along", "hvp", "hvp.symmetry", "hvp.together"].map(|of| Worst::new(&format!("families.{of}, second order")));
    for golden in Golden::families() {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let run = model.run(&golden.tokens, &[]).expect("runs");
            let (linear, j, source) = (run.linearize(Mode::Exact), golden.observable(), golden.source());
            let want = golden.array("second")[0];
            let along = linear.along(&[[source.clone()]], &j).expect("fits")[0].second;
            worst[0].within(golden.name, on.name(), (along / want - 1.0).abs(), tolerance::SECOND_OF_FAMILIES);

            // A second source at the other end of the stream, to see what one place alone does not show.
            let (tokens, d) = (golden.tokens.len(), model.sizes().d);
            let other = Source { site: Site::ResidPre(0), token: 0, vector: gaussian(3, d) };
            let products = linear.hvp(&[[source.clone()], [other.clone()]], &j).expect("fits");
            let (level, token) = golden.place();
            let at = |k: usize, (level, token): (usize, usize), v: &[f32]| {
                dot(&products.get(k)[(level * tokens + token) * d..][..d], v)
            };
            let same = at(0, (level, token), &source.vector);
            worst[1].within(golden.name, on.name(), (same / want - 1.0).abs(), tolerance::SECOND_OF_FAMILIES);
            // Beside another prompt with another observable.
            let fewer = &golden.tokens[..tokens - 1];
            let both = model.run_all(&[fewer, &golden.tokens], &RunOptions::default()).expect("runs");
            let beside = Observable::entropy(tokens - 2);
            let probe = |run, source, observable| ProbedRun { run, sources: std::slice::from_ref(source), observable };
            let probed = [probe(&both[0], &other, &beside), probe(&both[1], &source, &j)];
            let mut together = vec![0.0f32; products.get(0).len()];
            hvp_of(&probed, &run.levels(), &mut |chunk| {
                if chunk.sequence == 1 {
                    let at = (chunk.site * tokens + chunk.token) * d;
                    together[at..at + chunk.rows.len()].copy_from_slice(chunk.rows);
                }
            })
            .expect("fits");
            let apart = relative(&wide(&together), &wide(products.get(0)));
            worst[3].within(golden.name, on.name(), apart, tolerance::BATCH);
            let [ab, ba] = [at(0, (0, 0), &other.vector), at(1, (level, token), &source.vector)];
            let size = ab.abs().max(want.abs());
            worst[2].within(golden.name, on.name(), (ab - ba).abs() / size, tolerance::SECOND_OF_FAMILIES);
        }
    }
}

/// With the factors of RelP frozen, a model without biases is a linear map of h[0]: the sensitivities there, times the
/// field, add up to J. The soft-cap of Gemma 2's logits is not frozen.
#[test]
fn relp_adds_up_to_the_observable_in_models_without_biases() {
    let mut worst = Worst::new("families.relp, sum of contributions");
    for golden in Golden::families().into_iter().filter(|golden| golden.name != "families/gemma2") {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            if model.architecture().tensors().iter().any(|(name, _)| name.ends_with(".bias")) {
                continue;
            }
            let (run, j) = (model.run(&golden.tokens, &[]).expect("runs"), golden.observable());
            let level = golden.tokens.len() * model.sizes().d;
            let chi = run.linearize(Mode::RelP).gradient(&j).expect("fits");
            let sum = dot(&chi[..level], &run.field().expect("is finite")[..level]);
            let want = golden.array("value")[0];
            worst.within(golden.name, on.name(), (sum - want).abs() / want.abs().max(1.0), tolerance::DERIVATIVES);
        }
    }
}

/// Each family's file has all arrays with the right sizes, and a patch at another token of the last level leaves J.
#[test]
fn files_of_families_are_complete() {
    for golden in Golden::families() {
        let (tokens, d) = (golden.tokens.len(), golden.array("source").len());
        let levels = golden.array("field").len() / (tokens * d);
        assert_eq!(golden.corrupted.len(), tokens, "{}", golden.name);
        for array in ["field", "gradient_field", "jvp_field"] {
            assert_eq!(golden.array(array).len(), levels * tokens * d, "{}: {array}", golden.name);
        }
        assert_eq!(golden.array("logits").len(), golden.array("jvp_logits").len(), "{}", golden.name);
        let patch = golden.array("patch");
        assert_eq!(patch.len(), levels * tokens, "{}", golden.name);
        let (position, value) = (golden.observable().position(), golden.array("value")[0]);
        for (token, &patched) in patch[(levels - 1) * tokens..].iter().enumerate() {
            assert_eq!((patched - value).abs() < 1e-12, token != position, "{}: token {token}", golden.name);
        }
        assert!(Golden::directory(golden.name).join("config.json").exists(), "{}", golden.name);
    }
}
