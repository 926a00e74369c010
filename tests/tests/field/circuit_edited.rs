//! Circuits of runs with edits: against the reference, reader by reader, and against patches of whole runs.

use resolvent_field::{Ablation, CircuitOptions, EdgePredictor, EdgeScore, circuit, path_patch};
use resolvent_model::{
    Edge, Edit, Model, Observable, PromptCase, Reader, Site, Writer, outputs_of, path_sites, rewired_values,
};
use resolvent_tests::{Golden, Twin, observed, subjects};

use super::edges::{CLEAN, CORRUPTED};
use super::edges_edited::{FAMILIES, edited, edits_of_blocks, lists, output};
use super::{array, close, truth};

/// Returns the rows of a value.
fn rows(values: &[f64]) -> Vec<Vec<f32>> {
    values.chunks(values.len() / CLEAN.len()).map(|row| row.iter().map(|&x| x as f32).collect()).collect()
}

/// Returns edits of all rows of a site.
fn at(site: Site, rows: Vec<Vec<f32>>, edit: fn(Site, usize, Vec<f32>) -> Edit) -> impl Iterator<Item = Edit> {
    rows.into_iter().enumerate().map(move |(t, row)| edit(site, t, row))
}

/// A circuit in the reference, one reader after another: what a reader computes is put in place for the readers after
/// it. It reads the stream of a run in which all other nodes have their own outputs, and the writers of its cut edges
/// those of the corrupted run, or zero. So these reach it through the edits, as runs apply them.
fn rewired(twin: &Twin, edits: &[Edit], included: &[bool], replaced: &[Vec<f64>], j: &Observable) -> f64 {
    let model = (&twin.config).into();
    let (sizes, all) = (twin.sizes(), Edge::all(&model));
    let mut current = edits.to_vec();
    for reader in Reader::all(&sizes) {
        let trace = twin.primal(&CLEAN, &current);
        let mut run = current.clone();
        for site in path_sites(&sizes).into_iter().filter(|site| reader.output() != Some(*site)) {
            run.extend(at(site, rows(&twin.capture(&trace, site)), Edit::put));
        }
        for (edge, _) in all.iter().zip(included).filter(|(edge, included)| edge.reader == reader && !**included) {
            let own = output(twin, &CLEAN, &current, edge.writer);
            let other = &replaced[edge.writer.index(&sizes)];
            let moved: Vec<f64> = other.iter().zip(own).map(|(other, own)| other - own).collect();
            run.extend(at(edge.writer.site(), rows(&moved), Edit::add));
        }
        let trace = twin.primal(&CLEAN, &run);
        match reader.output() {
            None => return observed::read(j, &trace),
            Some(site) => current.extend(at(site, rows(&twin.capture(&trace, site)), Edit::put)),
        }
    }
    unreachable!("the logits are the last reader")
}

/// Returns whether each of `n` edges is included: about a share of them.
fn some(n: usize, share: f64) -> Vec<bool> {
    (0..n as u64).map(|e| ((e * 2_654_435_761 % (1 << 32)) as f64) < share * (1u64 << 32) as f64).collect()
}

/// Circuits under edits of every kind, with corrupted outputs and with zero. All edges are the edited clean run, and
/// none the edited corrupted one.
#[test]
fn circuits_of_edited_runs_match_the_reference() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4) - Observable::log_prob(7, 2);
    let (n, writers) = (Edge::all(&(&twin.config).into()).len(), Writer::all(&twin.sizes()));
    for (name, edits) in lists(&twin) {
        let of = |writer: &Writer| output(&twin, &CORRUPTED, &edits, *writer);
        let corrupted: Vec<Vec<f64>> = writers.iter().map(of).collect();
        let zero: Vec<Vec<f64>> = corrupted.iter().map(|rows| vec![0.0; rows.len()]).collect();
        let included = [vec![true; n], vec![false; n], some(n, 0.7), some(n, 0.3)];
        let all = |replaced: &[Vec<f64>]| -> Vec<f64> {
            included.iter().map(|included| rewired(&twin, &edits, included, replaced, &j)).collect()
        };
        let want = [all(&corrupted), all(&zero)];
        let ends = [&CLEAN, &CORRUPTED].map(|tokens| truth(&twin, tokens, &edits, &j));
        close(&want[0][..2], &ends, 1e-5, "the reference's own ends");
        for on in subjects() {
            let model = twin.on(on);
            let [clean, corrupted] = edited(&model, [&CLEAN, &CORRUPTED], &edits);
            let outputs = outputs_of(&[&corrupted]).expect("computes").remove(0).data;
            for (replaced, want) in [&outputs, &vec![0.0; outputs.len()]].into_iter().zip(&want) {
                let got = rewired_values(&clean, replaced, &included, &j).expect("runs");
                close(&got, want, 2e-5, &format!("edits of {name} on {}", on.name()));
            }
            // A test of the test: without the edits, the circuits in the middle have other values.
            let [plain, _] = edited(&model, [&CLEAN, &CORRUPTED], &[]);
            let other = rewired_values(&plain, &outputs, &included[2..], &j).expect("runs");
            assert!(other.iter().zip(&want[0][2..]).any(|(a, b)| (a - b).abs() > 0.005), "{name} changes nothing");
        }
    }
}

/// Families whose blocks differ: the ends are the edited runs, and a circuit in the middle is the patch of all edges
/// that are cut.
#[test]
fn circuits_of_the_families_under_edits() {
    for golden in Golden::families().into_iter().filter(|golden| FAMILIES.contains(&golden.name)) {
        let j = golden.observable();
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let (name, all) = (format!("{} {}", golden.name, on.name()), Edge::all(model.architecture()));
            let edits = edits_of_blocks(&model, golden.tokens.len() - 1);
            let [clean, corrupted] = edited(&model, [&golden.tokens, &golden.corrupted], &edits);
            let outputs = outputs_of(&[&corrupted]).expect("computes").remove(0);
            let n = all.len();
            let included = [vec![true; n], vec![false; n], some(n, 0.8)];
            let cut: Vec<Edge> = all.iter().zip(&included[2]).filter(|(_, of)| !**of).map(|(edge, _)| *edge).collect();
            let got = rewired_values(&clean, &outputs.data, &included, &j).expect("runs");
            let middle = path_patch(&clean, &outputs, &cut, &j).expect("patches");
            let want = [clean.value(&j).expect("reads"), corrupted.value(&j).expect("reads"), middle];
            close(&got, &want, 2e-5, &name);
        }
    }
}

/// The analysis measures between edited runs, whatever the ablation: its values are those of circuits computed by hand,
/// and other prompts run under their own edits.
#[test]
fn circuits_of_prompts_with_edits() {
    let (twin, j) = (Twin::small(), Observable::logit_diff(4, 20, 4));
    let prompts: [[u32; 5]; 4] = [CLEAN, CORRUPTED, [1, 2, 7, 9, 2], [6, 6, 1, 0, 11]];
    let edits = [lists(&twin)[0].1.clone(), lists(&twin)[2].1.clone()].concat();
    let case = |n: usize| PromptCase {
        name: format!("row {n}"),
        clean: prompts[n].to_vec(),
        corrupted: Some(prompts[n + 1].to_vec()),
        observable: Some(j.clone()),
        roles: [].into(),
        edits: edits.clone(),
    };
    let cases: Vec<PromptCase> = (0..3).map(case).collect();
    let score = EdgeScore::Predicted(EdgePredictor::FirstOrder);
    for on in subjects() {
        let model = twin.on(on);
        let (d, all) = (model.sizes().d, Writer::all(model.sizes()).len());
        let runs = edited(&model, [&prompts[0], &prompts[1]], &edits);
        let others = edited(&model, [&prompts[1], &prompts[2]], &edits);
        let of = |runs: &[&resolvent_model::Run]| outputs_of(runs).expect("computes");
        for ablation in [Ablation::Corrupted, Ablation::Zero, Ablation::Mean, Ablation::Resample] {
            let shares = vec![0.0, 0.3, 0.7, 1.0];
            let options = CircuitOptions { score, ablation, shares, resamples: 2, ..CircuitOptions::default() };
            let got = circuit(&model, &cases, &options, &mut |_, _| {}).unwrap_or_else(|e| panic!("{ablation}: {e}"));
            assert!(got.metadata["edits"].contains("edits, hash"), "{ablation}");
            let (rank, sizes) = (array(&got, "rank"), array(&got, "size"));
            let masks: Vec<Vec<bool>> = sizes.iter().map(|size| rank.iter().map(|r| r < size).collect()).collect();
            let sets: Vec<Vec<f32>> = match ablation {
                Ablation::Corrupted => vec![of(&[&runs[1]]).remove(0).data],
                Ablation::Zero => vec![vec![0.0; all * 5 * d]],
                Ablation::Mean => {
                    let outputs = of(&[&runs[0], &others[0], &others[1]]);
                    let mean = |writer: usize, i: usize| {
                        let of = |one: &resolvent_model::Outputs| -> f64 {
                            (0..5).map(|t| f64::from(one.data[(writer * 5 + t) * d + i])).sum()
                        };
                        (outputs.iter().map(of).sum::<f64>() / 15.0) as f32
                    };
                    let row = |writer| (0..d).map(|i| mean(writer, i)).collect::<Vec<f32>>().repeat(5);
                    vec![(0..all).flat_map(row).collect()]
                }
                Ablation::Resample => of(&[&others[0], &others[1]]).into_iter().map(|one| one.data).collect(),
            };
            let values: Vec<Vec<f64>> =
                sets.iter().map(|set| rewired_values(&runs[0], set, &masks, &j).expect("runs")).collect();
            let faithful = |n: usize| {
                let of = |values: &Vec<f64>| (values[n] - values[0]) / (values[3] - values[0]);
                values.iter().map(of).sum::<f64>() / values.len() as f64
            };
            let want: Vec<f64> = (0..4).map(faithful).collect();
            close(&array(&got, "faithfulness")[..4], &want, 2e-4, &format!("{ablation} on {}", on.name()));
            close(&[want[0], want[3]], &[0.0, 1.0], 1e-9, "the ends");
            close(&array(&got, "value")[3..4], &[truth(&twin, &CLEAN, &edits, &j)], 2e-5, "all edges");
        }
    }
}

/// What pruning measures is the edited run too: the circuit that remains keeps the sum of its thresholds there.
#[test]
fn pruning_measures_edited_runs() {
    let twin = Twin::small();
    let on = subjects().remove(0);
    let model = twin.on(on);
    let (j, edits) = (Observable::logit_diff(4, 20, 4), lists(&twin)[0].1.clone());
    let case = PromptCase {
        name: "row".to_owned(),
        clean: CLEAN.to_vec(),
        corrupted: Some(CORRUPTED.to_vec()),
        observable: Some(j.clone()),
        roles: [].into(),
        edits,
    };
    let n = Edge::all(model.architecture()).len();
    let options = CircuitOptions { prune: Some(0.02), shares: vec![1.0], random: 0, ..CircuitOptions::default() };
    let of = |case: PromptCase| circuit(&model, &[case], &options, &mut |_, _| {}).expect("computes");
    let got = of(case.clone());
    let remain: usize = got.metadata["pruned_to"].parse().expect("a number");
    let faithful = array(&got, "faithfulness")[0];
    assert!(remain < n && (1.0 - faithful).abs() <= 0.02 * (n - remain) as f64, "{remain} edges keep {faithful}");
    // What a replaced row stops goes, and without the edits another circuit remains.
    let remaining = |got: &resolvent_field::Labelled, remain: usize| -> Vec<bool> {
        array(got, "rank").iter().map(|rank| *rank < remain as f64).collect()
    };
    let plain = of(PromptCase { edits: Vec::new(), ..case });
    let without = plain.metadata["pruned_to"].parse().expect("a number");
    assert!(remaining(&got, remain) != remaining(&plain, without));
}
