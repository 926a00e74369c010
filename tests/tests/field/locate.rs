//! Localisation: evidences of the reference's dense operators in f64, and how often sources with known places are
//! found.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use resolvent_engine::Options;
use resolvent_field::{Labelled, LocateOptions, Observed, Place, locate, posteriors, with_noise};
use resolvent_model::{Edit, Model, Observable, Run, Site, Source, gaussian};
use resolvent_tests::{Twin, observed, subjects, tangents};

use super::{array, close, run};

pub(super) const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

pub(super) fn source(twin: &Twin, (level, token): Place, vector: Vec<f32>) -> Source {
    Source { site: Site::level(level, &twin.sizes()), token, vector }
}

/// Returns the columns of the operator of a place in the reference: the responses to unit sources of h at `levels`, or
/// of the observables.
pub(super) fn columns(twin: &Twin, place: Place, levels: &[usize], observables: &[Observable]) -> Vec<Vec<f64>> {
    let d = twin.config.n_embd;
    let column = |i: usize| -> Vec<f64> {
        let unit = (0..d).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
        let trace = twin.tangent(&TOKENS, &[], &[source(twin, place, unit)]);
        let field = tangents(&trace.field);
        let size = TOKENS.len() * d;
        let of_field = levels.iter().flat_map(|l| field[l * size..(l + 1) * size].to_vec());
        of_field.chain(tangents(&observables.iter().map(|j| observed::read(j, &trace)).collect::<Vec<_>>())).collect()
    };
    (0..d).map(column).collect()
}

/// Returns the log-density of r under N(0, tau^2 G G^T + sigma^2 I), by Cholesky, the most probable source, and the log
/// determinant.
pub(super) fn dense(columns: &[Vec<f64>], r: &[f64], tau2: f64, sigma2: f64) -> (f64, Vec<f64>, f64) {
    let g = Mat::from_fn(r.len(), columns.len(), |i, j| columns[j][i]);
    let r = Mat::from_fn(r.len(), 1, |i, _| r[i]);
    let covariance = tau2 * &g * g.transpose() + sigma2 * Mat::<f64>::identity(r.nrows(), r.nrows());
    let factors = covariance.llt(Side::Lower).expect("positive definite");
    let log_det: f64 = factors.L().diagonal().column_vector().iter().map(|x| 2.0 * x.ln()).sum();
    let solved = factors.solve(&r);
    let quadratic = (r.transpose() * &solved)[(0, 0)];
    let constant = r.nrows() as f64 * (2.0 * std::f64::consts::PI).ln();
    let found = tau2 * g.transpose() * solved;
    (-0.5 * (constant + log_det + quadratic), found.col(0).iter().copied().collect(), log_det)
}

pub(super) fn found(observed: &Observed<'_>, response: &[f32], options: &LocateOptions) -> Labelled {
    locate(observed, response, options).unwrap_or_else(|e| panic!("{options:?}: {e}"))
}

/// Scores, posterior and direction are those of the dense operators, for the field and for values.
#[test]
fn evidence_is_that_of_the_reference() {
    let twin = Twin::small();
    let (levels, tokens, d) = (twin.config.n_layer + 1, TOKENS.len(), twin.config.n_embd);
    let last = levels - 1;
    let observables: Vec<Observable> = (0..7).map(|i| Observable::logit(2 * i, 4)).collect();
    let hidden = source(&twin, (1, 2), gaussian(5, d));
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let values: Vec<(&Run, Observable)> = observables.iter().map(|j| (&run, j.clone())).collect();
        for (observed, levels_of, values_of) in [
            (Observed::levels(&run, &[last]).expect("fits"), &[last][..], &[][..]),
            (Observed::levels(&run, &[1, last]).expect("fits"), &[1, last][..], &[][..]),
            (Observed::values(&values).expect("fits"), &[][..], &observables[..]),
        ] {
            let r = with_noise(&observed.respond(&[vec![hidden.clone()]]).expect("runs")[0], 0.05, 3);
            let wide: Vec<f64> = r.iter().map(|x| f64::from(*x)).collect();
            let length = 3.0;
            let options = LocateOptions { noise: 0.05, length: Some(length), draws: 1, ..LocateOptions::default() };
            let got = found(&observed, &r, &options);
            let (tau2, size2) = (length * length / d as f64, wide.iter().map(|x| x * x).sum::<f64>());
            let sigma2 = 0.05f64.powi(2) * size2 / wide.len() as f64;
            let all: Vec<(f64, Vec<f64>, f64)> = (0..levels * tokens)
                .map(|p| dense(&columns(&twin, (p / tokens, p % tokens), levels_of, values_of), &wide, tau2, sigma2))
                .collect();
            let most = all.iter().map(|(score, ..)| *score).fold(f64::NEG_INFINITY, f64::max);
            for (p, (got, (want, ..))) in array(&got, "score").iter().zip(&all).enumerate() {
                let want = want - most;
                assert!((got - want).abs() <= 2e-2 + 1e-3 * want.abs(), "{}: {p}: {got} instead of {want}", on.name());
            }
            // Without the determinants the scores are others: the tolerance would not hide it.
            let best = all.iter().position(|(score, ..)| *score == most).expect("one is the best");
            let apart = |(_, _, log_det): &(f64, Vec<f64>, f64)| 0.5 * (log_det - all[best].2).abs();
            assert!(all.iter().map(apart).fold(0.0, f64::max) > 1.0, "{}", on.name());
            let evidence = got.number("log_evidence").expect("a number");
            assert!((evidence - most).abs() < 2e-2, "{evidence} instead of {most}");
            let best = array(&got, "best");
            let best = best[0] as usize * tokens + best[1] as usize;
            close(&array(&got, "direction"), &all[best].1, 1e-3, "direction");
            let names: Vec<&str> = got.certificates.iter().map(|c| c.name).collect();
            assert_eq!(names, ["tangents", "reproduces", "adjoint"]);
            // Without a length, the width of largest evidence is at least as good as this one.
            let free = found(&observed, &r, &LocateOptions { length: None, draws: 0, ..options });
            assert!(free.array("resolution").is_none());
            assert!(free.number("log_evidence").expect("a number") >= most - 0.5);
        }
    }
}

/// The share of responses whose most probable place is the right one.
fn found_share(observed: &Observed<'_>, responses: &[(usize, Vec<f32>)], noise: f64) -> f64 {
    let noisy: Vec<(Vec<f32>, f64)> = responses.iter().map(|(p, r)| (with_noise(r, noise, *p as u64), noise)).collect();
    let all = posteriors(observed, &noisy, None).expect("locates");
    let right = all
        .iter()
        .zip(responses)
        .filter(|(posterior, (place, _))| (0..posterior.len()).all(|p| posterior[p] <= posterior[*place]));
    right.count() as f64 / responses.len() as f64
}

/// On the smallest embedded model: linear sources with 1 % noise are found, and permuted responses are not.
#[test]
fn sources_are_found_and_controls_are_not() {
    for on in subjects() {
        let model = Model::named(on.device(), "atlas-nano").expect("opens");
        let tokens = model.tokenizer().expect("has one").prompt("The capital of France is").expect("fits");
        let run = model.run(&tokens, &[]).expect("runs");
        let (levels, tokens, d) = (model.sizes().layers + 1, run.tokens().len(), model.sizes().d);
        let observed = Observed::levels(&run, &[levels - 1]).expect("fits");
        let site = |p: usize| Site::level(p / tokens, model.sizes());
        let sources: Vec<Vec<Source>> = (0..levels * tokens)
            .map(|p| vec![Source { site: site(p), token: p % tokens, vector: gaussian(p as u64, d) }])
            .collect();
        let responses: Vec<(usize, Vec<f32>)> =
            observed.respond(&sources).expect("runs").into_iter().enumerate().collect();
        let share = found_share(&observed, &responses, 0.01);
        assert!(share >= 0.95, "{}: {share}", on.name());
        let reversed: Vec<(usize, Vec<f32>)> =
            responses.iter().map(|(p, r)| (*p, r.iter().rev().copied().collect())).collect();
        assert!(found_share(&observed, &reversed, 0.01) < 0.3);
        // A source of the model's own: the output of a head is a source one level higher.
        let head = Source { site: Site::Z(0, 1), token: 2, vector: gaussian(9, model.sizes().d_head) };
        let head = observed.respond(&[vec![head]]).expect("runs").remove(0);
        let got = found(&observed, &head, &LocateOptions { draws: 2, ..LocateOptions::default() });
        assert_eq!(got.array("best").expect("best").data[..2], [1.0, 2.0]);
        assert!(got.number("misfit").expect("a number") < 1.1);
        let identifiable = array(&got, "identifiable");
        assert!(identifiable.iter().all(|x| (-1e-6..=1.0 + 1e-6).contains(x)), "{identifiable:?}");
        // Less memory takes more passes, and nothing else.
        let less = on.again(Options { batch_bytes: 1 << 20, ..Options::default() });
        let less = Model::named(less.device(), "atlas-nano").expect("opens").run(run.tokens(), &[]).expect("runs");
        let observed_again = Observed::levels(&less, &[levels - 1]).expect("fits");
        let again = found(&observed_again, &head, &LocateOptions { draws: 2, ..LocateOptions::default() });
        close(&array(&again, "score"), &array(&got, "score"), 1e-5, "in parts");
        close(&array(&again, "resolution"), &array(&got, "resolution"), 1e-3, "in parts");
        // Two sources at once are not one: the misfit says it.
        let two: Vec<f32> = responses[0].1.iter().zip(&responses[levels * tokens - 1].1).map(|(a, b)| a + b).collect();
        let got = found(&observed, &two, &LocateOptions { draws: 0, ..LocateOptions::default() });
        assert!(got.number("misfit").expect("a number") > 10.0, "{:?}", got.metadata.get("misfit"));
        // A small edit of the run itself is found too.
        let edit = Edit::add(site(tokens + 1), 1, gaussian(4, d).iter().map(|x| 0.01 * x).collect());
        let change = observed.change(&[edit]).expect("runs");
        let got = found(&observed, &change, &LocateOptions { draws: 0, ..LocateOptions::default() });
        assert_eq!(got.array("best").expect("best").data[..2], [1.0, 1.0]);
    }
}

/// Blocks that add almost nothing leave a source where it is: its token is found, and its level is not guessed.
#[test]
fn levels_that_cannot_be_told_apart_are_listed() {
    let mut twin = Twin::small();
    twin = Twin::random(twin.config.clone(), 3, 1e-4);
    let (levels, d) = (twin.config.n_layer + 1, twin.config.n_embd);
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let observed = Observed::levels(&run, &[levels - 1]).expect("fits");
        let hidden = vec![source(&twin, (1, 3), gaussian(2, d))];
        let r = with_noise(&observed.respond(&[hidden]).expect("runs")[0], 0.1, 1);
        let got = found(&observed, &r, &LocateOptions { noise: 0.1, ..LocateOptions::default() });
        let best = array(&got, "best");
        assert_eq!(best.len(), 2 * levels, "{best:?}");
        assert!(best.chunks(2).all(|place| place[1] == 3.0), "{best:?}");
        let identifiable = array(&got, "identifiable");
        assert!(identifiable.iter().all(|x| (x - 1.0 / levels as f64).abs() < 0.02), "{identifiable:?}");
        // With its own level observed, it is found there.
        let observed = Observed::levels(&run, &[0, 1, levels - 1]).expect("fits");
        let hidden = vec![source(&twin, (1, 3), gaussian(2, d))];
        let r = with_noise(&observed.respond(&[hidden]).expect("runs")[0], 0.1, 1);
        let got = found(&observed, &r, &LocateOptions { noise: 0.1, ..LocateOptions::default() });
        assert_eq!(array(&got, "best"), [1.0, 3.0]);
    }
}

/// Prompts of different lengths: a place is counted from the end of the shortest.
#[test]
fn one_observable_in_several_prompts() {
    let twin = Twin::small();
    let d = twin.config.n_embd;
    for on in subjects() {
        let long: Vec<Run> = (0..14)
            .map(|i| {
                let tokens: Vec<u32> = (0..5 + i % 3).map(|t| (7 * i + 3 * t + t * t) % 20).collect();
                run(&twin, on, &tokens)
            })
            .collect();
        let readings: Vec<(&Run, Observable)> = (0..28)
            .map(|n| (&long[n % 14], Observable::logit(n as u32 % 20, long[n % 14].tokens().len() - 1)))
            .collect();
        let observed = Observed::values(&readings).expect("fits");
        assert_eq!((observed.places().1, observed.run().tokens().len()), (5, 5));
        let hidden = source(&twin, (0, 3), gaussian(8, d));
        let r = observed.respond(&[vec![hidden.clone()]]).expect("runs").remove(0);
        let by_hand = readings[2].0.linearize(resolvent_model::Mode::Exact);
        let later = Source { token: hidden.token + readings[2].0.tokens().len() - 5, ..hidden.clone() };
        let first = by_hand.along(&[vec![later]], &readings[2].1).expect("runs")[0].first;
        assert!((f64::from(r[2]) - first).abs() < 1e-5 * first.abs().max(1e-3));
        let got = found(&observed, &r, &LocateOptions { draws: 1, ..LocateOptions::default() });
        assert_eq!(array(&got, "best")[..2], [0.0, 3.0]);
        // A small edit changes the values as the sources say.
        let edit = Edit::add(hidden.site, hidden.token, hidden.vector.iter().map(|x| 1e-2 * x).collect());
        let change: Vec<f64> = observed.change(&[edit]).expect("runs").iter().map(|x| 100.0 * f64::from(*x)).collect();
        close(&change, &r.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), 0.2, "finite");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let twin = Twin::small();
    let on = &subjects()[0];
    let run = run(&twin, on, &TOKENS);
    let last = twin.config.n_layer;
    let observed = Observed::levels(&run, &[last]).expect("fits");
    let (count, usual) = (observed.count(), LocateOptions::default());
    let ones = vec![1.0; count];
    let said = |response: &[f32], options: LocateOptions| {
        locate(&observed, response, &options).expect_err("does not fit").to_string()
    };
    assert!(said(&ones[1..], usual).contains("numbers"));
    assert!(said(&vec![0.0; count], usual).contains("zero"));
    assert!(said(&vec![f32::NAN; count], usual).contains("not finite"));
    for noise in [0.0, 1e-6, 1.0, f64::NAN] {
        assert!(said(&ones, LocateOptions { noise, ..usual }).contains("noise"));
    }
    assert!(said(&ones, LocateOptions { length: Some(0.0), ..usual }).contains("length"));
    assert!(said(&ones, LocateOptions { share: 1.5, ..usual }).contains("share"));
    for levels in [&[][..], &[last + 1], &[1, 1]] {
        assert!(Observed::levels(&run, levels).is_err(), "{levels:?}");
    }
    assert!(Observed::values(&[]).is_err());
    assert!(Observed::values(&[(&run, Observable::logit(1, 99))]).is_err());
    assert!(observed.of_field(&ones).is_err() && observed.of_field(&run.field().expect("reads")).is_ok());
    assert!(posteriors(&observed, &[], None).expect("nothing").is_empty());
}
