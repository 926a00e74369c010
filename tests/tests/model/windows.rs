//! Sliding windows narrow the causal cone: how many rows are computed, and that all numbers are those of whole runs.

use std::collections::BTreeMap;

use resolvent_engine::counted;
use resolvent_field::path_patch;
use resolvent_model::{
    Edge, Edit, Mode, Model, Observable, Outputs, Reader, Run, RunOptions, Site, Source, Writer, edge_values, gaussian,
    outputs_of, path_sites,
};
use resolvent_tests::{Golden, Subject, subjects};

const TOKENS: usize = 22;

/// Two blocks with windows of 5 tokens: from level l a change reaches `4 (2 - l)` tokens on.
const ALL_SLIDE: &str = "families/mistral";

/// Windows of 4 tokens in blocks 0 and 2, none in block 1: only above it is the cone narrower.
const ONE_GLOBAL: &str = "families/gemma3";

fn run(on: &Subject, name: &str) -> Run {
    let tokens: Vec<u32> = (0..TOKENS as u32).map(|t| (7 * t + 3) % 41).collect();
    Model::open(on.device(), &Golden::directory(name)).expect("opens").run(&tokens, &[]).expect("runs")
}

/// Returns how many tokens a change at a level of a model reaches, from its own on.
fn reach(name: &str, level: usize) -> usize {
    match (name, level) {
        (ALL_SLIDE, _) => 1 + 4 * (2 - level),
        (_, 0 | 1) => TOKENS,
        (_, 2) => 4,
        _ => 1,
    }
}

fn places(run: &Run) -> Vec<(usize, usize)> {
    (0..=run.model().sizes().layers).flat_map(|l| (0..TOKENS).map(move |t| (l, t))).collect()
}

fn edits(run: &Run) -> Vec<[Edit; 1]> {
    let d = run.model().sizes().d;
    let at = |(n, (l, t)): (usize, (usize, usize))| {
        let by = gaussian(n as u64, d).into_iter().map(|x| 0.3 * x).collect();
        [Edit::add(Site::level(l, run.model().sizes()), t, by)]
    };
    places(run).into_iter().enumerate().map(at).collect()
}

/// The rows that are computed end where the cone of the place ends.
#[test]
fn only_the_cone_is_computed() {
    for on in subjects() {
        for name in [ALL_SLIDE, ONE_GLOBAL] {
            let run = run(on, name);
            let (sizes, edits) = (*run.model().sizes(), edits(&run));
            let top = [Site::level(sizes.layers, &sizes)];
            let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            let width = sizes.d;
            let mut count = |sequence: usize, token: usize, data: &[f32]| {
                rows.entry(sequence).or_default().extend(token..token + data.len() / width);
            };
            run.fields_under(&edits, &top, &mut |chunk| count(chunk.sequence, chunk.token, chunk.rows)).expect("runs");
            let of_edits = std::mem::take(&mut rows);
            let sources: Vec<[Source; 1]> = places(&run)
                .into_iter()
                .map(|(l, token)| [Source { site: Site::level(l, &sizes), token, vector: vec![1.0; width] }])
                .collect();
            let mut count = |sequence: usize, token: usize, data: &[f32]| {
                rows.entry(sequence).or_default().extend(token..token + data.len() / width);
            };
            let linear = run.linearize(Mode::Exact);
            linear.jvp_at(&sources, &top, &mut |chunk| count(chunk.sequence, chunk.token, chunk.rows)).expect("runs");
            for (n, (l, t)) in places(&run).into_iter().enumerate() {
                let want: Vec<usize> = (t..TOKENS.min(t + reach(name, l))).collect();
                assert_eq!(of_edits[&n], want, "{name} {} {l},{t}", on.name());
                assert_eq!(rows[&n], want, "{name} {} {l},{t}", on.name());
            }
        }
    }
}

/// Places whose cone does not reach the token that is read cost nothing; the others do.
#[test]
fn places_out_of_reach_cost_nothing() {
    for on in subjects() {
        for name in [ALL_SLIDE, ONE_GLOBAL] {
            let run = run(on, name);
            let j = Observable::logit_diff(4, 20, TOKENS - 1);
            let work = |edits: &[[Edit; 1]]| counted(|| run.values_under(edits, &j).expect("runs")).1.flops;
            // An edit that changes nothing: only J of the run itself is read.
            let nothing = work(&[[Edit::add(Site::ResidPre(0), 0, vec![0.0; run.model().sizes().d])]]);
            let (mut within, mut beyond) = (0, 0);
            for ((l, t), edit) in places(&run).into_iter().zip(edits(&run)) {
                let costs = work(&[edit]) > nothing;
                assert_eq!(costs, t + reach(name, l) >= TOKENS, "{name} {} {l},{t}", on.name());
                *if costs { &mut within } else { &mut beyond } += 1;
            }
            let want = if name == ALL_SLIDE { (9 + 5 + 1, 13 + 17 + 21) } else { (2 * TOKENS + 4 + 1, 18 + 21) };
            assert_eq!((within, beyond), want, "{name}");
        }
    }
}

/// Every value of the sweep, every row of the edited fields and every derivative is that of whole runs and of the
/// backward pass, which own all tokens.
#[test]
fn narrow_cones_change_no_number() {
    for on in subjects() {
        for name in [ALL_SLIDE, ONE_GLOBAL] {
            let run = run(on, name);
            let (sizes, edits) = (*run.model().sizes(), edits(&run));
            // Two tokens, of which a place may reach one alone.
            let j = Observable::logit_diff(4, 20, TOKENS - 1) - Observable::log_prob(7, 11);
            let swept = run.values_under(&edits, &j).expect("runs");
            let levels = run.levels();
            let mut fields = vec![run.field().expect("reads"); edits.len()];
            let d = sizes.d;
            run.fields_under(&edits, &levels, &mut |chunk| {
                let at = (chunk.site * TOKENS + chunk.token) * d;
                fields[chunk.sequence][at..at + chunk.rows.len()].copy_from_slice(chunk.rows);
            })
            .expect("runs");
            for (n, edit) in edits.iter().enumerate().filter(|(n, _)| n % 3 == 0) {
                let whole = run.model().run(run.tokens(), edit).expect("runs");
                let value = whole.value(&j).expect("reads");
                assert!((value - swept[n]).abs() < 2e-5 * value.abs().max(1.0), "{name} {} {n}", on.name());
                let field = whole.field().expect("reads");
                let size = field.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                // Below the edit, both are the base run.
                let apart = field.iter().zip(&fields[n]).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(apart < 2e-5 * size, "{name} {} {n}: {apart}", on.name());
            }
            let linear = run.linearize(Mode::Exact);
            let chi = linear.gradient(&j).expect("computes");
            let sources: Vec<[Source; 1]> = places(&run)
                .into_iter()
                .zip(&edits)
                .map(|((l, token), _)| {
                    let vector = gaussian((100 + l * TOKENS + token) as u64, d);
                    [Source { site: Site::level(l, &sizes), token, vector }]
                })
                .collect();
            let along = linear.along(&sources, &j).expect("computes");
            let mut responses = vec![vec![0.0; TOKENS * d]; sources.len()];
            linear
                .jvp_at(&sources, &levels[sizes.layers..], &mut |chunk| {
                    responses[chunk.sequence][chunk.token * d..][..chunk.rows.len()].copy_from_slice(chunk.rows);
                })
                .expect("computes");
            let product =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let largest = along.iter().fold(0.0f64, |most, a| most.max(a.first.abs()));
            for (n, (l, t)) in places(&run).into_iter().enumerate() {
                let g = &chi[(l * TOKENS + t) * d..][..d];
                let want = product(g, &sources[n][0].vector);
                let through = product(&chi[sizes.layers * TOKENS * d..], &responses[n]);
                for got in [along[n].first, through] {
                    assert!((want - got).abs() < 5e-5 * largest, "{name} {} {l},{t}: {want} {got}", on.name());
                }
            }
        }
    }
}

/// Returns how many tokens a displacement of what a reader reads reaches, from its own on.
fn reach_of_edge(name: &str, reader: Reader) -> usize {
    match reader {
        // Keys and values are seen within the window of their own block, as if its whole input had changed.
        Reader::Key(l, _) | Reader::Value(l, _) => reach(name, l),
        Reader::Query(l, _) | Reader::Mlp(l) => reach(name, l + 1),
        Reader::Logits => 1,
    }
}

/// Patches of edges at one token compute the rows of their cones, and cost nothing if these do not reach the token that
/// is read. Their values are those of whole runs in which the reader alone reads what is displaced.
#[test]
fn patches_of_edges_own_their_cones() {
    for on in subjects() {
        for name in [ALL_SLIDE, ONE_GLOBAL] {
            let base = run(on, name);
            let model = base.model();
            let sizes = *model.sizes();
            let options = RunOptions { sites: path_sites(&sizes), ..RunOptions::default() };
            let run = model.run_with(base.tokens(), &options).expect("runs");
            let (outputs, size) = (outputs_of(&[&run]).expect("computes").remove(0), TOKENS * sizes.d);
            let j = Observable::logit_diff(4, 20, TOKENS - 1) - Observable::log_prob(7, 11);
            let last = Observable::logit_diff(4, 20, TOKENS - 1);
            let value = run.value(&last).expect("reads");
            let all: Vec<Edge> = Edge::all(model.architecture()).into_iter().step_by(5).collect();
            for token in [0, 7, 12, TOKENS - 2, TOKENS - 1] {
                let mut moved = vec![0.0f32; Writer::all(&sizes).len() * size];
                for (n, rows) in moved.chunks_mut(size).enumerate() {
                    let by = gaussian(n as u64, sizes.d).into_iter().map(|x| 0.3 * x).collect::<Vec<f32>>();
                    rows[token * sizes.d..][..sizes.d].copy_from_slice(&by);
                }
                let data = outputs.data.iter().zip(&moved).map(|(a, b)| a + b).collect();
                let senders = Outputs { data, ..outputs.clone() };
                let work =
                    |edges: &[Edge], j: &Observable| counted(|| edge_values(&run, &moved, edges, j).expect("patches"));
                let nothing = work(&[], &last).1.flops;
                let swept = work(&all, &j).0;
                for (edge, &swept) in all.iter().zip(&swept) {
                    let whole = path_patch(&run, &senders, &[*edge], &j).expect("patches");
                    let apart = (whole - swept).abs();
                    assert!(apart < 2e-5 * whole.abs().max(1.0), "{name} {} {edge} {token}: {apart}", on.name());
                    let (found, costs) = work(&[*edge], &last);
                    let reaches = token + reach_of_edge(name, edge.reader) >= TOKENS;
                    assert_eq!(costs.flops > nothing, reaches, "{name} {} {edge} {token}", on.name());
                    assert!(reaches || found[0] == value, "{name} {edge} {token}: exactly the run's value");
                }
            }
        }
    }
}
