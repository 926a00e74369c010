//! Edges at each token against the reference: predicted, exact, and their sums.

use resolvent_field::{EdgeOptions, EdgePredictor, Prompts, edges_of_prompts};
use resolvent_model::{Architecture, Edge, Observable, PromptCase, Reader, Writer, gaussian};
use resolvent_tests::{Subject, Twin, subjects};

use super::edges::{CLEAN, CORRUPTED, along, moved, patched};
use super::edges_between::{found, j};
use super::{array, close, truth};

const TOKENS: usize = CLEAN.len();

/// Returns the displacement of a writer at one token alone.
fn at(twin: &Twin, writer: Writer, token: usize) -> Vec<Vec<f32>> {
    let mut rows = moved(twin, writer);
    rows.iter_mut().enumerate().filter(|(t, _)| *t != token).for_each(|(_, row)| row.fill(0.0));
    rows
}

#[test]
fn edges_at_each_token_match_the_reference() {
    let (twin, j) = (Twin::small(), j());
    let all = Edge::all(&(&twin.config).into());
    let base = truth(&twin, &CORRUPTED, &[], &j);
    let each = |of: &dyn Fn(&Edge, usize) -> f64| -> Vec<f64> {
        all.iter().flat_map(|edge| (0..TOKENS).map(move |t| of(edge, t))).collect()
    };
    let first = each(&|edge, t| along(&twin, (edge.reader, at(&twin, edge.writer, t)), &[], &j));
    let exact = each(&|edge, t| patched(&twin, edge.reader, at(&twin, edge.writer, t), &j) - base);
    for on in subjects() {
        let options = EdgeOptions { exact: true, by_token: true, ..EdgeOptions::default() };
        let got = found(&twin, on, &options);
        close(&array(&got, "first_order_by_token"), &first, 5e-5, on.name());
        close(&array(&got, "exact_by_token"), &exact, 5e-5, on.name());
        // What nothing reads has no effect, not even that of rounding: J reads tokens 2 and 4, and the first token is
        // the same.
        let unread = |edge: &Edge, t: usize| match edge.reader {
            Reader::Logits | Reader::Mlp(1) | Reader::Query(1, _) => t != 2 && t != 4,
            _ => t == 0,
        };
        let places = all.iter().flat_map(|edge| (0..TOKENS).map(move |t| unread(edge, t)));
        let got_exact = array(&got, "exact_by_token");
        let (without, with): (Vec<_>, Vec<_>) = places.zip(&got_exact).partition(|(unread, _)| *unread);
        assert!(without.iter().all(|(_, x)| **x == 0.0) && without.len() > all.len(), "{}", on.name());
        assert!(2 * with.iter().filter(|(_, x)| **x != 0.0).count() > with.len(), "{}", on.name());
        // Exact effects need not add up, and do not here.
        let sums: Vec<f64> = exact.chunks(TOKENS).map(|each| each.iter().sum()).collect();
        let apart = sums.iter().zip(array(&got, "exact")).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart > 1e-3, "{apart}");
        for name in ["over_tokens", "alone_by_token"] {
            assert!(got.certificates.iter().any(|one| one.name == name), "{name}");
        }
        assert!(got.metadata.contains_key("agreement.first_order_by_token"));
    }
}

/// All predictions and the control of directions add up to those of the edges, which the option does not change.
#[test]
fn edges_at_each_token_add_up() {
    let twin = Twin::small();
    for on in subjects() {
        let predictors = EdgePredictor::ALL.to_vec();
        let options = EdgeOptions { predictors, steps: 2, ..EdgeOptions::default() };
        let whole = found(&twin, on, &options);
        let got = found(&twin, on, &EdgeOptions { by_token: true, ..options });
        for predictor in EdgePredictor::ALL {
            let (name, by_token) = (predictor.name(), array(&got, predictor.by_token()));
            let sums: Vec<f64> = by_token.chunks(TOKENS).map(|each| each.iter().sum()).collect();
            close(&sums, &array(&whole, name), 1e-6, name);
            assert_eq!(array(&got, name), array(&whole, name), "{name}");
            assert_eq!(got.array(predictor.by_token()).expect("an array").axes[1], ("token", TOKENS));
            // Both prompts begin with the same token.
            assert!(by_token.iter().step_by(TOKENS).all(|x| *x == 0.0) && whole.array(predictor.by_token()).is_none());
        }
        let squares: Vec<f64> = array(&got, "random_by_token")
            .chunks(TOKENS)
            .map(|each| each.iter().map(|x| x * x).sum::<f64>().sqrt())
            .collect();
        close(&squares, &array(&whole, "random"), 1e-6, "random");
    }
}

/// Random displacements at one token alone are a control of the exact effects there.
#[test]
fn exact_controls_at_each_token_match_the_reference() {
    let (twin, j) = (Twin::small(), j());
    let (all, d) = (Edge::all(&(&twin.config).into()), twin.config.n_embd);
    let architecture: Architecture = (&twin.config).into();
    let writers = Writer::all(architecture.sizes());
    let base = truth(&twin, &CORRUPTED, &[], &j);
    let random = gaussian(3, writers.len() * TOKENS * d);
    let size = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let at_token = |edge: &Edge, token: usize| {
        let mut rows = moved(&twin, edge.writer);
        let writer = writers.iter().position(|one| *one == edge.writer).expect("is one");
        for (t, row) in rows.iter_mut().enumerate() {
            let drawn = &random[(writer * TOKENS + t) * d..][..d];
            let share = if t == token { (size(row) / size(drawn)) as f32 } else { 0.0 };
            row.iter_mut().zip(drawn).for_each(|(x, drawn)| *x = share * drawn);
        }
        (patched(&twin, edge.reader, rows, &j) - base).abs()
    };
    let each = all.iter().flat_map(|edge| (0..TOKENS).map(move |t| (edge, t)));
    let want: Vec<f64> = each.map(|(edge, t)| at_token(edge, t)).collect();
    for on in subjects() {
        let options = EdgeOptions { exact: true, by_token: true, random: 1, seed: 3, ..EdgeOptions::default() };
        let got = found(&twin, on, &options);
        close(&array(&got, "random_exact_by_token"), &want, 5e-5, on.name());
        assert!(got.array("random_exact").is_some(), "{}", on.name());
    }
}

/// Returns the pair of prompts of these tests, and the same without its first token.
pub(super) fn two_lengths() -> [PromptCase; 2] {
    [("long", 0), ("short", 1)].map(|(name, from)| PromptCase {
        name: name.to_owned(),
        clean: CLEAN[from..].to_vec(),
        corrupted: Some(CORRUPTED[from..].to_vec()),
        observable: Some(Observable::logit_diff(4, 20, 4 - from)),
        roles: [].into(),
        edits: Vec::new(),
    })
}

/// Over prompts of several lengths, tokens are aligned from the end.
#[test]
fn edges_at_each_token_of_many_prompts() {
    let twin = Twin::small();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let cases = two_lengths();
    let options = EdgeOptions { by_token: true, ..EdgeOptions::default() };
    let found = edges_of_prompts(&model, (&cases, &cases), &options, &mut |_, _| {}).expect("computes");
    let stacked = found.stack().expect("stacks");
    let averaged = Prompts::averaged(&stacked);
    let mean = array(&averaged, "first_order_by_token");
    let [long, short] = [0, 1].map(|i| array(&found.results[i], "first_order_by_token"));
    let n = mean.len() / TOKENS;
    for edge in 0..n {
        for t in 1..TOKENS {
            let want = (long[edge * TOKENS + t] + short[edge * (TOKENS - 1) + t - 1]) / 2.0;
            assert!((mean[edge * TOKENS + t] - want).abs() < 1e-6, "{edge} {t}");
        }
    }
}
