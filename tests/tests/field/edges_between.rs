//! Edges along the activations, and random displacements, against the reference.

use resolvent_field::{Case, EdgeOptions, EdgePredictor, Labelled, edges};
use resolvent_model::{Edge, Edit, Observable, Site, Writer, gaussian};
use resolvent_tests::{Subject, Twin, subjects};

use super::edges::{CLEAN, CORRUPTED, both, first_order, moved, patched};
use super::{array, close, truth};

pub(super) fn j() -> Observable {
    Observable::logit_diff(4, 20, 4) - Observable::log_prob(7, 2)
}

/// Returns the result on one device.
pub(super) fn found(twin: &Twin, on: &Subject, options: &EdgeOptions) -> Labelled {
    let [clean, corrupted] = both(&twin.on(on), [&CLEAN, &CORRUPTED]);
    let j = j();
    let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
    edges(&case, options).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
}

/// Returns the edits of the reference that move a site by a share of the way to the clean run.
fn moves(twin: &Twin, site: Site, share: f64) -> Vec<Edit> {
    let [clean, corrupted] = [&CLEAN, &CORRUPTED].map(|tokens| twin.capture(&twin.primal(tokens, &[]), site));
    let way: Vec<f32> = clean.iter().zip(corrupted).map(|(a, b)| (share * (a - b)) as f32).collect();
    let rows = way.chunks(twin.config.n_embd).enumerate();
    rows.map(|(t, row)| Edit::add(site, t, row.to_vec())).collect()
}

/// Every edge has the mean derivative over runs in which only the site of its writer moves. From the embedding this is
/// the path along the inputs, from all others it is not.
#[test]
fn edges_along_the_activations_match_the_reference() {
    let (twin, j) = (Twin::small(), j());
    let all = Edge::all(&(&twin.config).into());
    let of = |edge: &Edge| {
        let step = |share| first_order(&twin, *edge, &moves(&twin, edge.writer.site(), share), &j);
        (step(0.25) + step(0.75)) / 2.0
    };
    let want: Vec<f64> = all.iter().map(of).collect();
    for on in subjects() {
        let predictors = vec![EdgePredictor::IntegratedActivations, EdgePredictor::Integrated];
        let got = found(&twin, on, &EdgeOptions { predictors, steps: 2, ..EdgeOptions::default() });
        let activations = array(&got, "integrated_activations");
        close(&activations, &want, 5e-5, on.name());
        let of_input = |input: bool, name: &str| -> Vec<f64> {
            let both = all.iter().zip(array(&got, name));
            both.filter(|(edge, _)| (edge.writer == Writer::Embedding) == input).map(|(_, x)| x).collect()
        };
        close(&of_input(true, "integrated"), &of_input(true, "integrated_activations"), 1e-6, on.name());
        let others = of_input(false, "integrated").into_iter().zip(of_input(false, "integrated_activations"));
        assert!(others.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) > 0.02, "{}: paths differ", on.name());
    }
}

/// The edges from a site add up to the effect of moving it, if the steps are many: the error falls with their square.
/// With one step, and along the inputs, they do not.
#[test]
fn edges_along_the_activations_add_up_to_the_effect_of_their_site() {
    let (twin, j) = (Twin::small(), j());
    let all = Edge::all(&(&twin.config).into());
    let mut sites: Vec<Site> = all.iter().map(|edge| edge.writer.site()).collect();
    sites.sort();
    sites.dedup();
    let base = truth(&twin, &CORRUPTED, &[], &j);
    let effects: Vec<f64> =
        sites.iter().map(|&site| truth(&twin, &CORRUPTED, &moves(&twin, site, 1.0), &j) - base).collect();
    let largest = effects.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    for on in subjects().into_iter().filter(|on| on.is_host()) {
        let of = |steps, name: &str| {
            let predictors = vec![EdgePredictor::IntegratedActivations, EdgePredictor::Integrated];
            let got = found(&twin, on, &EdgeOptions { predictors, steps, ..EdgeOptions::default() });
            let scores = array(&got, name);
            let apart = |(site, effect): (&Site, &f64)| {
                let own = all.iter().zip(&scores).filter(|(edge, _)| edge.writer.site() == *site);
                (own.map(|(_, x)| x).sum::<f64>() - effect).abs() / largest
            };
            let stated: f64 = got.metadata["integration_error"].parse().expect("a number");
            (sites.iter().zip(&effects).map(apart).fold(0.0, f64::max), stated)
        };
        let (error, stated) = of(64, "integrated_activations");
        assert!(error < 3e-4 && stated < 3e-4, "{error} {stated}");
        let (rough, _) = of(16, "integrated_activations");
        assert!(rough > 8.0 * error, "{rough} {error}");
        let (error, stated) = of(1, "integrated_activations");
        assert!(error > 1e-3 && (stated / error - 1.0).abs() < 0.1, "{error} {stated}");
        assert!(of(64, "integrated").0 > 1e-2);
    }
}

/// The control of the exact effects patches displacements in random directions, with the norms of the writers' own.
#[test]
fn random_displacements_are_patched_exactly() {
    let (twin, j) = (Twin::small(), j());
    let all = Edge::all(&(&twin.config).into());
    let (writers, d) = (Writer::all(&twin.sizes()), twin.config.n_embd);
    let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let drawn = |seed: u64, writer: usize| -> Vec<Vec<f32>> {
        let random = gaussian(seed, writers.len() * CLEAN.len() * d);
        let rows = random[writer * CLEAN.len() * d..].chunks(d);
        let matched = |(random, own): (&[f32], Vec<f32>)| {
            random.iter().map(|x| (f64::from(*x) * norm(&own) / norm(random)) as f32).collect()
        };
        rows.zip(moved(&twin, writers[writer])).map(matched).collect()
    };
    let base = truth(&twin, &CORRUPTED, &[], &j);
    let rms = |seeds: [u64; 2]| -> Vec<f64> {
        let square = |seed, edge: &Edge| {
            let rows = drawn(seed, edge.writer.index(&twin.sizes()));
            (patched(&twin, edge.reader, rows, &j) - base).powi(2)
        };
        all.iter().map(|edge| ((square(seeds[0], edge) + square(seeds[1], edge)) / 2.0).sqrt()).collect()
    };
    let want = rms([5, 6]);
    let far = |got: &[f64], want: &[f64]| got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    for on in subjects() {
        let got = found(&twin, on, &EdgeOptions { exact: true, random: 2, seed: 5, ..EdgeOptions::default() });
        close(&array(&got, "random_exact"), &want, 5e-5, on.name());
        assert!(far(&array(&got, "random_exact"), &rms([6, 7])) > 1e-2, "other seeds are other displacements");
    }
}
