//! Edges of runs with edits: against the reference, reader by reader, and against patches of whole nodes.

use resolvent_field::{AttributeOptions, Labelled};
use resolvent_field::{Case, EdgeOptions, EdgePredictor, attribute, edges, edges_into, path_patch};
use resolvent_model::{
    Edge, Edit, EditedPrompt, Model, Observable, Reader, Run, Site, Source, Writer, outputs_of, path_sites,
};
use resolvent_tests::{Golden, Twin, observed, subjects, tangents};

use super::edges::{CLEAN, CORRUPTED, both};
use super::{array, close, truth};

/// Runs both prompts under the same edits.
pub(super) fn edited(model: &Model, prompts: [&[u32]; 2], edits: &[Edit]) -> [Run; 2] {
    let prompts = prompts.map(|tokens| EditedPrompt { tokens, edits });
    let runs = model.run_edited(&prompts, &path_sites(model.sizes())).expect("runs");
    [0, 1].map(|i| runs[i].clone())
}

/// Returns a vector of small numbers.
pub(super) fn vector(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7 + seed * 5) % 11) as f32 / 11.0 - 0.4).collect()
}

/// Returns lists of edits of every kind of site that a run can have.
pub(super) fn lists(twin: &Twin) -> Vec<(&'static str, Vec<Edit>)> {
    let sizes = twin.sizes();
    let (d, head, inner) = (sizes.d, sizes.d_head, sizes.inner);
    let all = |of: &dyn Fn(usize) -> Edit| (0..CLEAN.len()).map(of).collect::<Vec<Edit>>();
    vec![
        (
            "the stream",
            vec![
                Edit::scale(Site::ResidPre(1), 2, 0.5),
                Edit::project_out(Site::ResidMid(0), 3, vector(d, 1)),
                Edit::project_out(Site::ResidPost(0), 3, vector(d, 2)),
                Edit::put(Site::ResidPre(1), 1, vector(d, 3)),
                Edit::add(Site::ResidMid(1), 4, vector(d, 4)),
                Edit::scale(Site::ResidPost(1), 4, 1.5),
            ],
        ),
        (
            "attention's whole output",
            vec![
                Edit::scale(Site::AttnOut(0), 4, 0.7),
                Edit::put(Site::AttnOut(1), 3, vector(d, 5)),
                Edit::project_out(Site::AttnOut(0), 1, vector(d, 6)),
            ],
        ),
        (
            "nodes",
            [
                all(&|t| Edit::scale(Site::Z(0, 1), t, 0.4)),
                vec![
                    Edit::put(Site::ResidPre(0), 0, vector(d, 7)),
                    Edit::project_out(Site::MlpOut(0), 3, vector(d, 8)),
                    Edit::put(Site::MlpOut(1), 4, vector(d, 9)),
                ],
            ]
            .concat(),
        ),
        (
            "what readers compute",
            vec![
                Edit::put(Site::Q(1, 0), 4, vector(head, 1)),
                Edit::scale(Site::K(1, 1), 2, 0.5),
                Edit::project_out(Site::V(0, 2), 1, vector(head, 2)),
                Edit::add(Site::V(1, 2), 3, vector(head, 3)),
                Edit::scale(Site::MlpPre(1), 4, 0.6),
                Edit::put(Site::MlpPost(0), 3, vector(inner, 4)),
            ],
        ),
        (
            "attention",
            vec![
                Edit::scale(Site::AttnScores(1, 0, 2), 4, 0.3),
                Edit::put(Site::AttnScores(0, 2, 1), 3, vec![f32::NEG_INFINITY]),
                Edit::put(Site::Pattern(1, 1, 3), 4, vec![0.8]),
                Edit::add(Site::Pattern(0, 1, 1), 2, vec![-0.2]),
            ],
        ),
    ]
}

/// Returns what a writer adds at its site under edits, `[T, d]`: of a head, what attention loses without it.
pub(super) fn output(twin: &Twin, tokens: &[u32], edits: &[Edit], writer: Writer) -> Vec<f64> {
    let capture = |edits: &[Edit]| twin.capture(&twin.primal(tokens, edits), writer.site());
    let Writer::Head(l, h) = writer else { return capture(edits) };
    let ablated = (0..tokens.len()).map(|t| Edit::ablate(Site::Z(l, h), t));
    let without: Vec<Edit> = edits.iter().cloned().chain(ablated).collect();
    capture(edits).iter().zip(capture(&without)).map(|(a, b)| a - b).collect()
}

/// One edge in the reference: a run in which all nodes but the writer have their own outputs, so that the writer's
/// displacement reaches the reader on the stream alone.
struct Direct<'a> {
    twin: &'a Twin,
    edits: &'a [Edit],
}

impl Direct<'_> {
    fn rows(&self, values: &[f64]) -> Vec<Vec<f32>> {
        values.chunks(values.len() / CLEAN.len()).map(|row| row.iter().map(|&x| x as f32).collect()).collect()
    }

    fn moved(&self, writer: Writer) -> Vec<Vec<f32>> {
        let [clean, corrupted] = [&CLEAN, &CORRUPTED].map(|tokens| output(self.twin, tokens, self.edits, writer));
        self.rows(&clean.iter().zip(corrupted).map(|(a, b)| a - b).collect::<Vec<f64>>())
    }

    /// Returns the edits, and those that give every node but the writer, and the MLP that reads, its own output.
    fn alone(&self, edge: Edge) -> Vec<Edit> {
        let trace = self.twin.primal(&CORRUPTED, self.edits);
        let mut edits = self.edits.to_vec();
        for site in path_sites(&self.twin.sizes()) {
            let reads = edge.reader.output() == Some(site);
            if site != edge.writer.site() && !reads {
                let rows = self.rows(&self.twin.capture(&trace, site));
                edits.extend(rows.into_iter().enumerate().map(|(t, row)| Edit::put(site, t, row)));
            }
        }
        edits
    }

    fn exact(&self, edge: Edge, j: &Observable) -> f64 {
        let moved = self.moved(edge.writer).into_iter().enumerate();
        let mut edits = self.alone(edge);
        edits.extend(moved.map(|(t, row)| Edit::add(edge.writer.site(), t, row)));
        let trace = self.twin.primal(&CORRUPTED, &edits);
        let Some(site) = edge.reader.output() else { return observed::read(j, &trace) };
        let rows = self.rows(&self.twin.capture(&trace, site)).into_iter().enumerate();
        let put: Vec<Edit> = self.edits.iter().cloned().chain(rows.map(|(t, row)| Edit::put(site, t, row))).collect();
        truth(self.twin, &CORRUPTED, &put, j)
    }

    fn first_order(&self, edge: Edge, j: &Observable) -> f64 {
        let sources = |site: Site, rows: Vec<Vec<f32>>| -> Vec<Source> {
            rows.into_iter().enumerate().map(|(token, vector)| Source { site, token, vector }).collect()
        };
        let moved = sources(edge.writer.site(), self.moved(edge.writer));
        let trace = self.twin.tangent(&CORRUPTED, &self.alone(edge), &moved);
        let Some(site) = edge.reader.output() else { return observed::read(j, &trace).tangent };
        let rows = self.rows(&tangents(&self.twin.capture_of(&trace, site)));
        observed::read(j, &self.twin.tangent(&CORRUPTED, self.edits, &sources(site, rows))).tangent
    }
}

/// Every edge under edits of every kind, predicted and exact; the certificates hold too.
#[test]
fn all_edges_of_edited_runs_match_the_reference() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4) - Observable::log_prob(7, 2);
    let all = Edge::all(&(&twin.config).into());
    for (name, edits) in lists(&twin) {
        let direct = Direct { twin: &twin, edits: &edits };
        let base = truth(&twin, &CORRUPTED, &edits, &j);
        let exact: Vec<f64> = all.iter().map(|&edge| direct.exact(edge, &j) - base).collect();
        let first: Vec<f64> = all.iter().map(|&edge| direct.first_order(edge, &j)).collect();
        for on in subjects() {
            let model = twin.on(on);
            let [clean, corrupted] = edited(&model, [&CLEAN, &CORRUPTED], &edits);
            let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
            let predictors = vec![EdgePredictor::Integrated, EdgePredictor::IntegratedActivations];
            let options = EdgeOptions { predictors, steps: 3, exact: true, ..EdgeOptions::default() };
            let got = edges(&case, &options).unwrap_or_else(|e| panic!("{name} on {}: {e}", on.name()));
            close(&array(&got, "corrupted_value"), &[base], 2e-5, name);
            close(&array(&got, "exact"), &exact, 3e-5, &format!("exact, edits of {name} on {}", on.name()));
            close(&array(&got, "first_order"), &first, 1e-4, &format!("first order, edits of {name}"));
            // A test of the test: without the edits, the effects are others.
            let plain = both(&model, [&CLEAN, &CORRUPTED]);
            let other =
                edges(&Case { clean: &plain[0], corrupted: &plain[1], observable: &j }, &EdgeOptions::default());
            let other = array(&other.expect("computes"), "first_order");
            let size = first.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(other.iter().zip(&first).any(|(a, b)| (a - b).abs() > 0.01 * size), "{name} changes nothing");
        }
    }
}

/// Of each token alone, effects add up to first order, and a token whose way is stopped has exactly no effect.
#[test]
fn edges_by_token_of_edited_runs() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    let (_, edits) = lists(&twin).remove(0);
    for on in subjects() {
        let model = twin.on(on);
        let [clean, corrupted] = edited(&model, [&CLEAN, &CORRUPTED], &edits);
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let options = EdgeOptions { exact: true, by_token: true, random: 1, ..EdgeOptions::default() };
        let got = edges(&case, &options).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let all = Edge::all(model.architecture());
        let at = |name: &str, edge: &str, t: usize| {
            let edge: Edge = edge.parse().expect("an edge");
            array(&got, name)[all.iter().position(|other| *other == edge).expect("is one") * CLEAN.len() + t]
        };
        for name in ["exact_by_token", "first_order_by_token", "random_by_token"] {
            assert_eq!(at(name, "input->a1.h0<v>", 1), 0.0, "{name}: h[1,1] is replaced");
            assert!(at(name, "input->a0.h0<v>", 1) != 0.0 && at(name, "input->a1.h0<v>", 3) != 0.0, "{name}");
        }
    }
}

/// The vectors of writers at a place pass the edits before it.
#[test]
fn edges_into_a_place_of_an_edited_run() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    let lists = lists(&twin);
    let edits = [lists[0].1.clone(), lists[1].1.clone()].concat();
    let direct = Direct { twin: &twin, edits: &edits };
    let base = truth(&twin, &CORRUPTED, &edits, &j);
    for on in subjects() {
        let model = twin.on(on);
        let [clean, corrupted] = edited(&model, [&CLEAN, &CORRUPTED], &edits);
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        for (level, token) in [(1, 3), (2, 4)] {
            let got = edges_into(&case, (level, token)).expect("passes its checks");
            let site = Site::level(level, model.sizes());
            let writers = Writer::all(model.sizes());
            let exact = writers[..1 + level * (model.sizes().heads + 1)].iter().map(|&writer| {
                let edge = Edge { writer, reader: Reader::Logits };
                let rows = direct.moved(writer).into_iter().enumerate().filter(|(t, _)| *t == token);
                let moved = rows.map(|(t, row)| Edit::add(writer.site(), t, row));
                let [with, without] = [moved.collect(), Vec::new()].map(|moved: Vec<Edit>| {
                    let edits = [direct.alone(edge), moved].concat();
                    twin.capture(&twin.primal(&CORRUPTED, &edits), site)
                });
                let rows = direct.rows(&with.iter().zip(without).map(|(a, b)| a - b).collect::<Vec<f64>>());
                let add = Edit::add(site, token, rows[token].clone());
                truth(&twin, &CORRUPTED, &[edits.clone(), vec![add]].concat(), &j) - base
            });
            close(&array(&got, "exact"), &exact.collect::<Vec<f64>>(), 1e-4, &format!("{level},{token} {}", on.name()));
        }
    }
}

/// Returns an edit of each kind that families with different blocks have, at the last token of a prompt.
pub(super) fn edits_of_blocks(model: &Model, last: usize) -> Vec<Edit> {
    let d = model.sizes().d;
    let mut edits = vec![
        Edit::scale(Site::ResidPre(1), last, 0.7),
        Edit::project_out(Site::ResidPre(1), last - 1, vector(d, 1)),
        Edit::scale(Site::AttnOut(0), last, 0.5),
        Edit::scale(Site::Z(0, 1), last, 0.8),
        Edit::scale(Site::K(1, 0), 1, 0.6),
        Edit::scale(Site::MlpPost(1), last, 1.2),
        Edit::add(Site::MlpOut(0), last, vector(d, 2)),
        Edit::scale(Site::AttnScores(1, 0, 1), last, 0.5),
    ];
    if model.has_site(Site::ResidMid(0)) {
        edits.push(Edit::scale(Site::ResidMid(0), last, 0.9));
    }
    edits
}

/// The families of these tests: their blocks differ.
pub(super) const FAMILIES: [&str; 5] =
    ["families/qwen3", "families/gpt_neox", "families/gpt_neox-seq", "families/gemma2", "families/olmo2"];

/// Families whose blocks differ: all edges of a node together are the patch of the node, under edits of every kind.
#[test]
fn all_edges_of_a_node_are_its_patch_under_edits() {
    for golden in Golden::families().into_iter().filter(|golden| FAMILIES.contains(&golden.name)) {
        let j = golden.observable();
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let name = format!("{} {}", golden.name, on.name());
            let (sizes, last) = (*model.sizes(), golden.tokens.len() - 1);
            let mut edits = edits_of_blocks(&model, last);
            if model.has_site(Site::RotQ(1, 0)) {
                edits.push(Edit::scale(Site::RotQ(1, 0), last, 0.9));
            }
            let [clean, corrupted] = edited(&model, [&golden.tokens, &golden.corrupted], &edits);
            let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
            let got = edges(&case, &EdgeOptions { exact: true, ..EdgeOptions::default() });
            let got = got.unwrap_or_else(|e| panic!("{name}: {e}"));
            let senders = outputs_of(&[&clean]).expect("computes").remove(0);
            let all = Edge::all(model.architecture());
            let (base, exact) = (array(&got, "corrupted_value")[0], array(&got, "exact"));
            let scale = exact.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for (n, edge) in all.iter().enumerate().filter(|(n, edge)| n % 11 == 0 || edge.reader == Reader::Mlp(1)) {
                let alone = path_patch(&corrupted, &senders, &[*edge], &j).expect("patches") - base;
                assert!((alone - exact[n]).abs() < 2e-5 * scale, "{name} {edge}: {alone} {}", exact[n]);
            }
            for (writer, site) in [(Writer::Embedding, Site::ResidPre(0)), (Writer::Mlp(0), Site::MlpOut(0))] {
                let of_node: Vec<Edge> = all.iter().copied().filter(|edge| edge.writer == writer).collect();
                let together = path_patch(&corrupted, &senders, &of_node, &j).expect("patches");
                let values = clean.capture(site).expect("captured");
                let rows = values.chunks(site.width(&sizes)).enumerate();
                let put: Vec<Edit> = rows.map(|(t, row)| Edit::put(site, t, row.to_vec())).collect();
                let node = corrupted.values_under(&[put], &j).expect("patches")[0];
                assert!((together - node).abs() < 2e-5 * node.abs().max(1.0), "{name} {writer}: {together} {node}");
            }
        }
    }
}

/// A replaced output of attention has no contribution of its heads through other nodes.
#[test]
fn heads_behind_an_edit_of_attention() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    for on in subjects() {
        let model = twin.on(on);
        let of = |edits: &[Edit]| -> Labelled {
            let [run, _] = edited(&model, [&CLEAN, &CORRUPTED], edits);
            attribute(&run, &j, AttributeOptions::default()).expect("computes")
        };
        let at = Writer::Head(0, 1).index(model.sizes()) * CLEAN.len() + 4;
        let d = model.sizes().d;
        let [plain, zero] = [of(&[]), of(&[Edit::put(Site::AttnOut(0), 4, vector(d, 1))])];
        assert!(array(&plain, "first_order")[at] != 0.0 && array(&zero, "first_order")[at] == 0.0);
    }
}

/// Runs whose stream is edited differently do not pair: no edge carries that. Edits of nodes may differ.
#[test]
fn different_edits_of_the_stream_are_refused() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    let on = subjects().remove(0);
    let model = twin.on(on);
    let of = |edits: [Vec<Edit>; 2]| {
        let [clean, corrupted] = [&edits[0], &edits[1]].map(|edits| edited(&model, [&CLEAN, &CORRUPTED], edits));
        let case = Case { clean: &clean[0], corrupted: &corrupted[1], observable: &j };
        edges(&case, &EdgeOptions { exact: true, ..EdgeOptions::default() })
    };
    let scaled = |site| vec![Edit::scale(site, 3, 0.5)];
    let error = of([scaled(Site::ResidPre(1)), Vec::new()]).expect_err("differ").to_string();
    assert!(error.starts_with("blocks.1.hook_resid_pre: the clean and the corrupted run have different"), "{error}");
    assert!(of([Vec::new(), scaled(Site::AttnOut(0))]).is_err());
    assert!(of([scaled(Site::MlpOut(0)), scaled(Site::ResidPre(0))]).is_ok());
}
