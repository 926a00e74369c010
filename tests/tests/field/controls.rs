//! Controls of edges: random directions, and displacements of other prompts.

use resolvent_field::{EdgeOptions, edges_of_prompts};
use resolvent_model::{
    Edge, Mode, Model, Observable, Outputs, PromptCase, RunOptions, outputs_of, path_sites, reader_gradients,
};
use resolvent_tests::truth::{inner, wide};
use resolvent_tests::{Twin, subjects};

use super::{array, close};

/// Pairs of prompts; the last is of a length of its own.
const PAIRS: [(&[u32], &[u32]); 4] = [
    (&[3, 14, 15, 9, 2], &[3, 8, 15, 4, 2]),
    (&[1, 2, 7, 9, 2], &[1, 2, 5, 9, 2]),
    (&[6, 6, 1, 0, 11], &[6, 3, 1, 0, 12]),
    (&[20, 4, 4, 1, 2, 3], &[20, 4, 9, 1, 2, 3]),
];

fn j(tokens: usize) -> Observable {
    Observable::logit_diff(4, 20, tokens - 1)
}

fn cases() -> Vec<PromptCase> {
    let case = |(n, (clean, corrupted)): (usize, &(&[u32], &[u32]))| PromptCase {
        name: format!("row {n}"),
        clean: clean.to_vec(),
        corrupted: Some(corrupted.to_vec()),
        observable: Some(j(clean.len())),
        roles: [].into(),
        edits: Vec::new(),
    };
    PAIRS.iter().enumerate().map(case).collect()
}

/// Returns the displacement of each writer, `[W, T, d]`, and the gradients `[R, T, d]`, of a pair.
fn of_pair(model: &Model, (clean, corrupted): (&[u32], &[u32])) -> [Vec<f64>; 2] {
    let options = RunOptions { sites: path_sites(model.sizes()), ..RunOptions::default() };
    let runs = model.run_all(&[clean, corrupted], &options).expect("runs");
    let outputs: Vec<Outputs> = outputs_of(&[&runs[0], &runs[1]]).expect("reads");
    let moved = outputs[0].data.iter().zip(&outputs[1].data).map(|(a, b)| f64::from(a - b)).collect();
    let gradients = reader_gradients(Mode::Exact, &[(&runs[1], &j(clean.len()))]).expect("computes").remove(0);
    [moved, wide(&gradients)]
}

fn size(x: &[f64]) -> f64 {
    inner(x, x).sqrt()
}

#[test]
fn controls_have_the_norms_of_the_displacements() {
    let twin = Twin::small();
    let (d, tokens) = (twin.config.n_embd, 5);
    for on in subjects() {
        let model = twin.on(on);
        let options = EdgeOptions { controls: 2, ..EdgeOptions::default() };
        let got = edges_of_prompts(&model, (&cases(), &cases()), &options, &mut |_, _| {})
            .and_then(|results| results.stack())
            .unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        assert!(
            got.metadata["left_out"].contains("two other prompts of 6 tokens or more"),
            "{:?}",
            got.metadata.get("left_out")
        );
        let all = Edge::all(model.architecture());
        let pairs: Vec<[Vec<f64>; 2]> = PAIRS[..3].iter().map(|&pair| of_pair(&model, pair)).collect();
        let (random, other_prompts) = (array(&got, "random"), array(&got, "other_prompts"));
        for (n, [moved, gradients]) in pairs.iter().enumerate() {
            let at = |edge: &Edge| {
                (edge.writer.index(model.sizes()) * tokens * d, edge.reader.index(model.sizes()) * tokens * d)
            };
            // The mean over the axes of the square of a source of the same norm along each, token by token.
            let along_axes = |edge: &Edge| {
                let (w, r) = at(edge);
                let of_token = |t: usize| {
                    let norm = size(&moved[w + t * d..][..d]);
                    gradients[r + t * d..][..d].iter().map(|g| (norm * g).powi(2)).sum::<f64>() / d as f64
                };
                (0..tokens).map(of_token).sum::<f64>().sqrt()
            };
            let want: Vec<f64> = all.iter().map(along_axes).collect();
            close(&random[n * all.len()..][..all.len()], &want, 5e-5, on.name());
            let beside = |edge: &Edge| {
                let (w, r) = at(edge);
                let own = size(&moved[w..][..tokens * d]);
                let of = |other: &[f64]| {
                    let theirs = &other[w..][..tokens * d];
                    let share = if size(theirs) > 0.0 { own / size(theirs) } else { 0.0 };
                    (share * inner(theirs, &gradients[r..][..tokens * d])).powi(2)
                };
                let others = pairs.iter().enumerate().filter(|(m, _)| *m != n);
                (others.map(|(_, [moved, _])| of(moved)).sum::<f64>() / 2.0).sqrt()
            };
            let want: Vec<f64> = all.iter().map(beside).collect();
            close(&other_prompts[n * all.len()..][..all.len()], &want, 5e-5, on.name());
        }
        // At each token, the scores of the same displacements; with them, the sums stay what they are.
        let by_token = EdgeOptions { by_token: true, ..options };
        let by_token = edges_of_prompts(&model, (&cases(), &cases()), &by_token, &mut |_, _| {})
            .and_then(|results| results.stack())
            .unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&by_token, "other_prompts"), &other_prompts, 1e-6, on.name());
        let [moved, gradients] = &pairs[0];
        let want: Vec<f64> = all
            .iter()
            .flat_map(|edge| (0..tokens).map(move |t| (edge, t)))
            .map(|(edge, t)| {
                let (w, r) =
                    (edge.writer.index(model.sizes()) * tokens * d, edge.reader.index(model.sizes()) * tokens * d);
                let own = size(&moved[w..][..tokens * d]);
                let of = |[other, _]: &[Vec<f64>; 2]| {
                    let norm = size(&other[w..][..tokens * d]);
                    let share = if norm > 0.0 { own / norm } else { 0.0 };
                    (share * inner(&other[w + t * d..][..d], &gradients[r + t * d..][..d])).powi(2)
                };
                (pairs[1..].iter().map(of).sum::<f64>() / 2.0).sqrt()
            })
            .collect();
        close(&array(&by_token, "other_prompts_by_token")[..want.len()], &want, 5e-5, on.name());
        // Without the option, no row needs another.
        let plain = edges_of_prompts(&model, (&cases(), &[]), &EdgeOptions::default(), &mut |_, _| {});
        let plain = plain.and_then(|results| results.stack()).expect("computes");
        assert!(plain.array("other_prompts").is_none() && plain.metadata["prompts"] == "4");
    }
}
