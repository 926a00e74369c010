//! Several sources of one response: evidences beside others from dense covariances in f64, and how often all are found.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use resolvent_field::{LocateOptions, Observed, with_noise};
use resolvent_model::{Model, Site, Source, gaussian};
use resolvent_tests::{Twin, subjects};

use super::locate::{TOKENS, columns, found, source};
use super::{array, run};

/// Returns the log-density of r under N(0, sigma^2 I + sum of tau^2 G G^T).
fn density(operators: &[&Vec<Vec<f64>>], r: &[f64], tau2: f64, sigma2: f64) -> f64 {
    let n = r.len();
    let mut covariance = sigma2 * Mat::<f64>::identity(n, n);
    for columns in operators {
        let g = Mat::from_fn(n, columns.len(), |i, j| columns[j][i]);
        covariance += tau2 * &g * g.transpose();
    }
    let factors = covariance.llt(Side::Lower).expect("positive definite");
    let log_det: f64 = factors.L().diagonal().column_vector().iter().map(|x| 2.0 * x.ln()).sum();
    let r = Mat::from_fn(n, 1, |i, _| r[i]);
    let quadratic = (r.transpose() * factors.solve(&r))[(0, 0)];
    -0.5 * (n as f64 * (2.0 * std::f64::consts::PI).ln() + log_det + quadratic)
}

/// The posterior of each source beside the other, and the gains, are those of the covariances of both.
#[test]
fn evidences_beside_others_are_those_of_the_reference() {
    let twin = Twin::small();
    let (levels, tokens, d) = (twin.config.n_layer + 1, TOKENS.len(), twin.config.n_embd);
    let hidden = [source(&twin, (1, 1), gaussian(5, d)), source(&twin, (2, 3), gaussian(6, d))];
    let operators: Vec<Vec<Vec<f64>>> =
        (0..levels * tokens).map(|p| columns(&twin, (p / tokens, p % tokens), &[0, 1, levels - 1], &[])).collect();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let observed = Observed::levels(&run, &[0, 1, levels - 1]).expect("fits");
        let r = with_noise(&observed.respond(&[hidden.to_vec()]).expect("runs")[0], 0.05, 3);
        let wide: Vec<f64> = r.iter().map(|x| f64::from(*x)).collect();
        let length = 3.0;
        let options =
            LocateOptions { noise: 0.05, length: Some(length), draws: 0, sources: 5, ..LocateOptions::default() };
        let got = found(&observed, &r, &options);
        let (tau2, size2) = (length * length / d as f64, wide.iter().map(|x| x * x).sum::<f64>());
        let sigma2 = 0.05f64.powi(2) * size2 / wide.len() as f64;
        let places: Vec<usize> =
            array(&got, "sources").chunks(2).map(|at| at[0] as usize * tokens + at[1] as usize).collect();
        let mut sorted = places.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [tokens + 1, 2 * tokens + 3], "{}: both, and no third one", on.name());
        let posteriors = array(&got, "source_posteriors");
        let mean = |scores: &[f64]| {
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            most + (scores.iter().map(|x| (x - most).exp()).sum::<f64>() / scores.len() as f64).ln()
        };
        let mut gains = Vec::new();
        for (k, other) in [(0, places[1]), (1, places[0])] {
            let score = |p: usize| match p == other {
                true => f64::NEG_INFINITY,
                false => density(&[&operators[other], &operators[p]], &wide, tau2, sigma2),
            };
            let scores: Vec<f64> = (0..levels * tokens).map(score).collect();
            let sum = mean(&scores) + (scores.len() as f64).ln();
            for (p, got) in posteriors[k * scores.len()..][..scores.len()].iter().enumerate() {
                let want = (scores[p] - sum).exp();
                assert!((got - want).abs() < 0.02, "{}: source {k}, place {p}: {got}, not {want}", on.name());
            }
            gains.push(mean(&scores) - density(&[&operators[other]], &wide, tau2, sigma2));
        }
        let alone: Vec<f64> = operators.iter().map(|one| density(&[one], &wide, tau2, sigma2)).collect();
        let want = [mean(&alone) - density(&[], &wide, tau2, sigma2), gains[1]];
        for (got, want) in array(&got, "gain").iter().zip(want) {
            assert!((got - want).abs() < 0.05 + 1e-3 * want.abs(), "{}: gain {got}, not {want}", on.name());
        }
        let names: Vec<&str> = got.certificates.iter().map(|c| c.name).collect();
        assert!(names.contains(&"together"), "{names:?}");
        let misfit = got.number("misfit_together").expect("a number");
        assert!((0.5..1.5).contains(&misfit) && got.number("misfit").expect("a number") > 2.0, "{misfit}");
    }
}

/// On the smallest embedded model: pairs of random sources at random places are found, and one source stays one.
#[test]
fn pairs_are_found_and_one_source_stays_one() {
    let on = &subjects()[0];
    let model = Model::named(on.device(), "atlas-nano").expect("opens");
    let tokens = model.tokenizer().expect("has one").prompt("The capital of France is").expect("fits");
    let run = model.run(&tokens, &[]).expect("runs");
    let (levels, tokens, d) = (model.sizes().layers + 1, run.tokens().len(), model.sizes().d);
    let observed = Observed::levels(&run, &[levels - 1]).expect("fits");
    let options = LocateOptions { draws: 0, sources: 4, ..LocateOptions::default() };
    let located = |places: &[usize], seed: u64| {
        let source = |&p: &usize| Source {
            site: Site::level(p / tokens, model.sizes()),
            token: p % tokens,
            vector: gaussian(seed.wrapping_add(p as u64), d),
        };
        let sources: Vec<Source> = places.iter().map(source).collect();
        let r = with_noise(&observed.respond(&[sources]).expect("runs")[0], 0.01, seed);
        let got = found(&observed, &r, &options);
        let mut at: Vec<usize> =
            array(&got, "sources").chunks(2).map(|at| at[0] as usize * tokens + at[1] as usize).collect();
        at.sort_unstable();
        at
    };
    let all = levels * tokens;
    let pairs: Vec<[usize; 2]> = (0..12).map(|n| [(5 * n) % all, (7 * n + all / 2) % all]).collect();
    let of_two_tokens: Vec<&[usize; 2]> = pairs.iter().filter(|[a, b]| a % tokens != b % tokens).collect();
    let right = of_two_tokens.iter().filter(|pair| {
        let mut sorted = pair.to_vec();
        sorted.sort_unstable();
        located(&pair[..], 100) == sorted
    });
    let (right, count) = (right.count(), of_two_tokens.len());
    assert!(count >= 8 && 10 * right >= 9 * count, "{right} of {count} pairs are found");
    let single = (0..all).filter(|&p| located(&[p], 7) == [p]).count();
    assert!(10 * single >= 9 * all, "{single} of {all} single sources stay one");
}
