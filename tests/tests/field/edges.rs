//! Edges: outputs of writers, predicted and exact effects, against the reference and against edits of whole runs.

use std::path::Path;

use resolvent_field::{Case, EdgeOptions, EdgePredictor, edges, path_patch};
use resolvent_model::{
    Edge, Edit, Mode, Model, Observable, Reader, Run, RunOptions, Site, Source, Writer, edge_values, outputs_of,
    parse_token, path_sites, rewired_values,
};
use resolvent_tests::truth::wide;
use resolvent_tests::{Golden, Subject, Twin, observed, subjects, tangents};
use safetensors::SafeTensors;

use super::{array, close, truth};

pub(super) const CLEAN: [u32; 5] = [3, 14, 15, 9, 2];
/// The first token is the same, so no row of it is computed.
pub(super) const CORRUPTED: [u32; 5] = [3, 8, 15, 4, 2];

pub(super) fn both(model: &Model, prompts: [&[u32]; 2]) -> [Run; 2] {
    let options = RunOptions { sites: path_sites(model.sizes()), ..RunOptions::default() };
    let runs = model.run_all(&prompts, &options).expect("runs");
    [0, 1].map(|i| runs[i].clone())
}

/// Returns the output of a writer in the reference, `[T, d]`: of a head, what attention loses without it.
fn output(twin: &Twin, tokens: &[u32], writer: Writer) -> Vec<f64> {
    let trace = twin.primal(tokens, &[]);
    match writer {
        Writer::Embedding => twin.capture(&trace, Site::ResidPre(0)),
        Writer::Mlp(l) => twin.capture(&trace, Site::MlpOut(l)),
        Writer::Head(l, h) => {
            let without: Vec<Edit> = (0..tokens.len()).map(|t| Edit::ablate(Site::Z(l, h), t)).collect();
            let without = twin.capture(&twin.primal(tokens, &without), Site::AttnOut(l));
            twin.capture(&trace, Site::AttnOut(l)).iter().zip(without).map(|(a, b)| a - b).collect()
        }
    }
}

/// Returns the clean minus the corrupted output of each writer, as one row a token.
pub(super) fn moved(twin: &Twin, writer: Writer) -> Vec<Vec<f32>> {
    let [clean, corrupted] = [&CLEAN, &CORRUPTED].map(|tokens| output(twin, tokens, writer));
    let difference: Vec<f32> = clean.iter().zip(corrupted).map(|(a, b)| (a - b) as f32).collect();
    difference.chunks(twin.config.n_embd).map(<[f32]>::to_vec).collect()
}

/// Returns the site that a reader reads.
fn input(reader: Reader, layers: usize) -> Site {
    match reader {
        Reader::Query(l, _) | Reader::Key(l, _) | Reader::Value(l, _) => Site::ResidPre(l),
        Reader::Mlp(l) => Site::ResidMid(l),
        Reader::Logits => Site::ResidPost(layers - 1),
    }
}

/// Puts in place, at every token, what a site has in another run of the reference.
fn put(values: &[f64], site: Site) -> Vec<Edit> {
    let rows = values.chunks(values.len() / CLEAN.len()).enumerate();
    rows.map(|(t, row)| Edit::put(site, t, row.iter().map(|&x| x as f32).collect())).collect()
}

/// Returns the value of J in the reference with one edge displaced by `rows`: what the reader computes of its displaced
/// input is put in place in a second run.
pub(super) fn patched(twin: &Twin, reader: Reader, rows: Vec<Vec<f32>>, j: &Observable) -> f64 {
    let at = input(reader, twin.config.n_layer);
    let displaced: Vec<Edit> = rows.into_iter().enumerate().map(|(t, row)| Edit::add(at, t, row)).collect();
    match reader.output() {
        None => truth(twin, &CORRUPTED, &displaced, j),
        Some(site) => {
            let values = twin.capture(&twin.primal(&CORRUPTED, &displaced), site);
            truth(twin, &CORRUPTED, &put(&values, site), j)
        }
    }
}

/// Returns the derivative of J along the displacement of one edge in the corrupted run under `edits`, by two runs on
/// dual numbers.
pub(super) fn first_order(twin: &Twin, edge: Edge, edits: &[Edit], j: &Observable) -> f64 {
    along(twin, (edge.reader, moved(twin, edge.writer)), edits, j)
}

/// Returns the derivative of J along `rows` in what a reader reads.
pub(super) fn along(twin: &Twin, (reader, rows): (Reader, Vec<Vec<f32>>), edits: &[Edit], j: &Observable) -> f64 {
    let sources = |site: Site, rows: Vec<Vec<f32>>| -> Vec<Source> {
        rows.into_iter().enumerate().map(|(token, vector)| Source { site, token, vector }).collect()
    };
    let trace = twin.tangent(&CORRUPTED, edits, &sources(input(reader, twin.config.n_layer), rows));
    let Some(site) = reader.output() else { return observed::read(j, &trace).tangent };
    let out: Vec<f32> = tangents(&twin.capture_of(&trace, site)).into_iter().map(|x| x as f32).collect();
    let rows = out.chunks(out.len() / CLEAN.len()).map(<[f32]>::to_vec).collect();
    observed::read(j, &twin.tangent(&CORRUPTED, edits, &sources(site, rows))).tangent
}

#[test]
fn outputs_of_writers_match_the_reference() {
    let twin = Twin::small();
    for on in subjects() {
        let model = twin.on(on);
        let [run, _] = both(&model, [&CLEAN, &CORRUPTED]);
        let outputs = outputs_of(&[&run]).expect("computes").remove(0);
        for writer in Writer::all(model.sizes()) {
            let got = wide(outputs.get(writer, model.sizes()));
            close(&got, &output(&twin, &CLEAN, writer), 1e-5, &format!("{} {writer}", on.name()));
        }
    }
}

/// Every edge, predicted and exact, for an observable of two positions that is no weighted sum of logits.
#[test]
fn all_edges_match_the_reference() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4) - Observable::log_prob(7, 2);
    let all = Edge::all(&(&twin.config).into());
    let corrupted = truth(&twin, &CORRUPTED, &[], &j);
    let exact: Vec<f64> =
        all.iter().map(|edge| patched(&twin, edge.reader, moved(&twin, edge.writer), &j) - corrupted).collect();
    let first: Vec<f64> = all.iter().map(|&edge| first_order(&twin, edge, &[], &j)).collect();
    assert!(exact.iter().zip(&first).any(|(e, f)| (e - f).abs() > 0.02), "this model is not linear");
    for on in subjects() {
        let [clean, corrupted] = both(&twin.on(on), [&CLEAN, &CORRUPTED]);
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let predictors = vec![EdgePredictor::Integrated, EdgePredictor::RelP];
        let options = EdgeOptions { predictors, exact: true, ..EdgeOptions::default() };
        let got = edges(&case, &options).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&got, "exact"), &exact, 2e-5, "exact");
        close(&array(&got, "first_order"), &first, 5e-5, "first order");
        // The value of the model is between both: the mean derivative is nearer to the effect than that at one end.
        let error = |name: &str| -> f64 { array(&got, name).iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum() };
        assert!(error("integrated") < error("first_order"), "{}", on.name());
        assert_eq!(got.array("edges").expect("edges").data.len(), 2 * all.len());
        assert!(
            got.metadata["writers"].starts_with("input,a0.h0,a0.h1") && got.metadata["readers"].ends_with(",logits")
        );
    }
}

/// RelP's edges into queries and keys are zero, since it freezes the patterns.
#[test]
fn relp_has_no_edges_into_patterns() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let [clean, corrupted] = both(&model, [&CLEAN, &CORRUPTED]);
    let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
    let options = EdgeOptions { predictors: vec![EdgePredictor::RelP], ..EdgeOptions::default() };
    let got = edges(&case, &options).expect("computes");
    let all = Edge::all(model.architecture());
    let (in_patterns, others): (Vec<_>, Vec<_>) = all
        .iter()
        .zip(array(&got, "relp"))
        .partition(|(edge, _)| matches!(edge.reader, Reader::Query(..) | Reader::Key(..)));
    assert!(in_patterns.iter().all(|(_, relp)| *relp == 0.0) && others.iter().any(|(_, relp)| *relp != 0.0));
}

/// The models of the families whose blocks differ in what the edges pass: shared keys and values, windows, norms after
/// the projections, parallel blocks with one norm and with two.
const FAMILIES: [&str; 7] = [
    "families/llama",
    "families/qwen3",
    "families/gpt_neox",
    "families/gpt_neox-seq",
    "families/gemma2",
    "families/gemma3",
    "families/olmo2",
];

/// Every edge of the families' models against the same patch by edits of whole runs; and all edges of a node together
/// against the patch of the node.
#[test]
fn edges_of_the_families() {
    for golden in Golden::families().into_iter().filter(|golden| FAMILIES.contains(&golden.name)) {
        let j = golden.observable();
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let name = format!("{} {}", golden.name, on.name());
            let [clean, corrupted] = both(&model, [&golden.tokens, &golden.corrupted]);
            let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
            let options = EdgeOptions { exact: true, ..EdgeOptions::default() };
            let got = edges(&case, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
            let (sizes, base) = (model.sizes(), corrupted.value(&j).expect("reads"));
            let senders = outputs_of(&[&clean]).expect("computes").remove(0);
            let all = Edge::all(model.architecture());
            let exact = array(&got, "exact");
            let scale = exact.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            // One edge of each reader; their writers differ.
            let mut last = None;
            for (n, edge) in all.iter().enumerate().filter(|(n, edge)| n % 5 == 0 || edge.reader == Reader::Logits) {
                if last.replace(edge.reader) == Some(edge.reader) {
                    continue;
                }
                let alone = path_patch(&corrupted, &senders, &[*edge], &j).expect("patches") - base;
                assert!((alone - exact[n]).abs() < 2e-5 * scale, "{name} {edge}: {alone} {}", exact[n]);
            }
            for writer in [Writer::Embedding, Writer::Head(0, 1), Writer::Mlp(sizes.layers - 1)] {
                let of_node: Vec<Edge> = all.iter().copied().filter(|edge| edge.writer == writer).collect();
                let together = path_patch(&corrupted, &senders, &of_node, &j).expect("patches");
                let site = match writer {
                    Writer::Embedding => Site::ResidPre(0),
                    Writer::Head(l, h) => Site::Z(l, h),
                    Writer::Mlp(l) => Site::MlpOut(l),
                };
                // After a norm, the output of one head depends on the others: the node's patch is not the sum's.
                if matches!(writer, Writer::Head(..)) && ["gemma", "olmo"].iter().any(|f| golden.name.contains(f)) {
                    continue;
                }
                let values = clean.capture(site).expect("captured");
                let rows = values.chunks(site.width(sizes)).enumerate();
                let edits: Vec<Edit> = rows.map(|(t, row)| Edit::put(site, t, row.to_vec())).collect();
                let node = corrupted.values_under(&[edits], &j).expect("patches")[0];
                assert!((together - node).abs() < 2e-5 * node.abs().max(1.0), "{name} {writer}: {together} {node}");
            }
        }
    }
}

/// All edges together, from all writers, give the clean run.
#[test]
fn all_edges_together_restore_the_clean_value() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    for on in subjects() {
        let model = twin.on(on);
        let [clean, corrupted] = both(&model, [&CLEAN, &CORRUPTED]);
        let senders = outputs_of(&[&clean]).expect("computes").remove(0);
        let all = Edge::all(model.architecture());
        let restored = path_patch(&corrupted, &senders, &all, &j).expect("patches");
        let value = clean.value(&j).expect("reads");
        assert!((restored - value).abs() < 2e-5 * value.abs().max(1.0), "{}: {restored} {value}", on.name());
    }
}

/// What does not fit is an error; a displacement of zero has exactly the value of the run.
#[test]
fn wrong_edges_are_refused() {
    let twin = Twin::small();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let j = Observable::logit_diff(4, 20, 4);
    let [clean, corrupted] = both(&model, [&CLEAN, &CORRUPTED]);
    let zeros = vec![0.0; Writer::all(model.sizes()).len() * CLEAN.len() * model.sizes().d];
    let edge: Edge = "a0.h1->a1.h2<k>".parse().expect("an edge");
    let value = corrupted.value(&j).expect("reads");
    assert_eq!(edge_values(&corrupted, &zeros, &[edge], &j).expect("patches"), [value]);
    assert!(edge_values(&corrupted, &zeros[1..], &[edge], &j).is_err());
    let late: Edge = "a1.h0->m0".parse().expect("an edge");
    let error = edge_values(&corrupted, &zeros, &[late], &j).expect_err("m0 reads first").to_string();
    assert_eq!(error, "a1.h0->m0: a1.h0 does not write before m0 reads");
    let fused = model.run(&CORRUPTED, &[]).expect("runs");
    assert!(edge_values(&fused, &zeros, &[edge], &j).is_err() && outputs_of(&[&fused]).is_err());
    let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
    let refused = |options: EdgeOptions| edges(&case, &options).expect_err("invalid options").to_string();
    assert!(refused(EdgeOptions { steps: 0, ..EdgeOptions::default() }).contains("one step or more"));
    assert!(refused(EdgeOptions { random: 2, ..EdgeOptions::default() }).contains("control of exact effects"));
    assert!("curvature".parse::<EdgePredictor>().is_err());
}

/// A pattern is what its queries and keys give: with the values it gives the output of the head.
#[test]
fn patterns_mix_values_into_outputs() {
    for golden in Golden::all().into_iter().chain(Golden::families()) {
        let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
        let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
        let run = model.run(&golden.tokens, &[]).expect("runs");
        let (sizes, tokens) = (*model.sizes(), golden.tokens.len());
        for l in 0..sizes.layers {
            let pattern = run.pattern(l).expect("reads");
            for h in 0..sizes.heads {
                let z = wide(&run.capture(Site::Z(l, h)).expect("captured"));
                let v = wide(&run.capture(Site::V(l, h * sizes.kv_heads / sizes.heads)).expect("captured"));
                let mut mixed = vec![0.0; z.len()];
                for t in 0..tokens {
                    let row = &pattern[(h * tokens + t) * tokens..][..tokens];
                    assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5 && row[t + 1..].iter().all(|p| *p == 0.0));
                    for (s, p) in row.iter().enumerate() {
                        let pair = mixed[t * sizes.d_head..][..sizes.d_head].iter_mut().zip(&v[s * sizes.d_head..]);
                        pair.for_each(|(m, v)| *m += f64::from(*p) * v);
                    }
                }
                close(&mixed, &z, 2e-5, &format!("{} {l} {h}", golden.name));
            }
        }
        assert!(run.pattern(sizes.layers).is_err());
    }
}

/// In the mode of frozen norms and patterns nothing else changes: the first-order edges into values are those of RelP
/// only where no activation lies on the way.
#[test]
fn modes_have_their_own_edges() {
    let twin = Twin::small();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let [_, run] = both(&model, [&CLEAN, &CORRUPTED]);
    let j = Observable::logit_diff(4, 20, 4);
    let of = |mode| resolvent_model::reader_gradients(mode, &[(&run, &j)]).expect("computes").remove(0);
    let (exact, frozen) = (of(Mode::Exact), of(Mode::FrozenAttention));
    let size = CLEAN.len() * model.sizes().d;
    let logits = Reader::Logits.index(model.sizes()) * size;
    assert_eq!(exact[logits..], frozen[logits..], "no attention lies above the last level");
    assert!(exact[..logits] != frozen[..logits]);
}

/// The goldens of an embedded model, from float64 torch, with which TransformerLens agrees: see `data/make_edges.py`.
struct GoldenEdges {
    name: &'static str,
    bytes: Vec<u8>,
}

impl GoldenEdges {
    fn all() -> [Self; 2] {
        ["atlas-nano", "atlas-small"].map(|name| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/edges/{name}.safetensors"));
            Self { name, bytes: std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())) }
        })
    }

    fn array(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        bytemuck::pod_collect_to_vec::<u8, f64>(file.tensor(name).expect("is there").data())
    }

    /// Returns the model, the runs of both prompts and the observable.
    fn on(&self, on: &Subject) -> (Model, [Run; 2], Observable) {
        let (_, header) = SafeTensors::read_metadata(&self.bytes).expect("a header");
        let facts = header.metadata().clone().expect("metadata");
        let model = Model::named(on.device(), self.name).expect("opens");
        let tokenizer = model.tokenizer().expect("the family has a tokenizer");
        let [clean, corrupted] = ["clean", "corrupted"].map(|key| tokenizer.encode(&facts[key]).expect("English"));
        let token = |key: &str| parse_token(Some(tokenizer), model.sizes().vocab, &facts[key]).expect("one token");
        let j = Observable::logit_diff(token("target"), token("against"), clean.len() - 1);
        let runs = both(&model, [&clean, &corrupted]);
        (model, runs, j)
    }
}

#[test]
fn edges_of_the_embedded_models_match_their_goldens() {
    for golden in GoldenEdges::all() {
        for on in subjects() {
            let (_, [clean, corrupted], j) = golden.on(on);
            let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
            let exact = on.is_host() || golden.name == "atlas-nano";
            let got = edges(&case, &EdgeOptions { exact, ..EdgeOptions::default() });
            let got = got.unwrap_or_else(|e| panic!("{} {}: {e}", golden.name, on.name()));
            close(&array(&got, "first_order"), &golden.array("first_order"), 1e-4, golden.name);
            close(&array(&got, "corrupted_value"), &golden.array("value"), 2e-5, golden.name);
            if exact {
                close(&array(&got, "exact"), &golden.array("exact"), 1e-4, golden.name);
            }
        }
    }
}

/// Circuits of the embedded models, as in `data/make_edges.py`: edges that are cut carry the corrupted outputs, or
/// zero.
#[test]
fn circuits_of_the_embedded_models_match_their_goldens() {
    for golden in GoldenEdges::all() {
        for on in subjects().into_iter().filter(|on| on.is_host() || golden.name == "atlas-nano") {
            let (model, [clean, corrupted], j) = golden.on(on);
            let edges = Edge::all(model.architecture()).len();
            let fraction = |e: usize| (e as u64 * 2_654_435_761 % (1 << 32)) as f64 / (1u64 << 32) as f64;
            let included: Vec<Vec<bool>> =
                golden.array("shares").iter().map(|share| (0..edges).map(|e| fraction(e) < *share).collect()).collect();
            let corrupted = outputs_of(&[&corrupted]).expect("computes").remove(0).data;
            let zeros = vec![0.0; corrupted.len()];
            let of = |replaced: &[f32]| rewired_values(&clean, replaced, &included, &j).expect("runs");
            let got = [of(&corrupted), of(&zeros)].concat();
            close(&got, &golden.array("circuits"), 2e-5, &format!("{} {}", golden.name, on.name()));
            assert!(rewired_values(&clean, &zeros[1..], &included, &j).is_err());
            assert!(rewired_values(&clean, &zeros, &[vec![true]], &j).is_err());
        }
    }
}

/// With no edge cut, every family's model is itself, whatever the replacements; with all edges cut and the corrupted
/// outputs in their place, it is the corrupted run.
#[test]
fn whole_and_empty_circuits_of_the_families() {
    for golden in Golden::families().into_iter().filter(|golden| FAMILIES.contains(&golden.name)) {
        let j = golden.observable();
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let [clean, corrupted] = both(&model, [&golden.tokens, &golden.corrupted]);
            let replaced = outputs_of(&[&corrupted]).expect("computes").remove(0).data;
            let n = Edge::all(model.architecture()).len();
            let got = rewired_values(&clean, &replaced, &[vec![true; n], vec![false; n]], &j).expect("runs");
            let want = [clean.value(&j).expect("reads"), corrupted.value(&j).expect("reads")];
            close(&got, &want, 2e-5, &format!("{} {}", golden.name, on.name()));
        }
    }
}
