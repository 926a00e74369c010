//! Scales and normalized rows of norms as sites: every family against the reference.

use resolvent_model::{
    Edit, EditedRun, KeyValueCache, LogitTangent, Mode, Model, Observable, ProbedRun, RunOptions, Site, Source,
    StreamNorm, along_of, logit_tangents_of, values_of,
};
use resolvent_reference::{Dual, Scalar, Trace, ops};
use resolvent_tests::truth::wide;
use resolvent_tests::{Golden, Labelled, Random, Worst, orders, subjects, tangents, tolerance};

use super::patterns::Both;

fn scale(norm: StreamNorm) -> Site {
    Site::NormScale(norm)
}

fn rows(norm: StreamNorm) -> Site {
    Site::Normalized(norm)
}

/// Returns the norms of the first and the last block that the model has, and the final norm.
fn norms(model: &Model) -> Vec<StreamNorm> {
    let l = model.sizes().layers - 1;
    let all = [StreamNorm::Attention(0), StreamNorm::Mlp(0), StreamNorm::Attention(l), StreamNorm::Mlp(l)];
    all.into_iter().chain([StreamNorm::Final]).filter(|norm| model.has_norm(*norm)).collect()
}

fn sites(model: &Model) -> Vec<Site> {
    norms(model).into_iter().flat_map(|norm| [scale(norm), rows(norm)]).collect()
}

/// Lists of edits of each norm, and of all together beside an edit of what the first one reads.
fn lists(model: &Model, tokens: usize) -> Vec<Vec<Edit>> {
    let (last, mut random) = (tokens - 1, Random::new(13));
    let mut v = || random.normals(model.sizes().d);
    let mut lists = Vec::new();
    for norm in norms(model) {
        let (s, n) = (scale(norm), rows(norm));
        lists.push(vec![Edit::put(s, last, vec![0.8]), Edit::scale(s, 1, -1.5)]);
        lists.push(vec![Edit::add(s, 1, vec![0.4]), Edit::scale(s, 1, 0.7), Edit::put(s, 0, vec![1.1])]);
        lists.push(vec![Edit::put(n, 1, v()), Edit::project_out(n, last, v()), Edit::scale(n, last, 0.5)]);
        lists.push(vec![Edit::scale(s, last, 2.0), Edit::add(n, last, v())]);
    }
    let all: Vec<Edit> = lists.iter().step_by(3).flatten().cloned().collect();
    lists.push([vec![Edit::scale(Site::ResidPre(0), 1, 0.5)], all].concat());
    lists
}

/// J: a difference of logits and a log-probability, whose second derivatives are not zero.
fn observable(last: usize) -> Observable {
    Observable::logit_diff(1, 4, last) + Observable::log_prob(2, last)
}

/// Returns J of the logits of its position, with the typical size of a logit, whose rounding error J has.
fn read<S: Scalar>(logits: &[S]) -> S {
    logits[1] - logits[4] + ops::log_softmax(logits).1[2]
}

fn size(values: &[f64]) -> f64 {
    values.iter().map(|x| x.abs()).fold(0.0, f64::max)
}

/// Runs with edits there have the field and the logits of the reference, and sweeps over a run without have its values.
#[test]
fn edits_of_norms_in_every_family() {
    let mut worst = ["field", "logits", "swept value", "swept logits"].map(|of| Worst::new(&format!("norms.{of}")));
    for (both, tokens) in Both::all() {
        let last = tokens.len() - 1;
        let j = observable(last);
        for on in subjects() {
            let model = both.on(on);
            let lists = lists(&model, tokens.len());
            let base = model.run_with(&tokens, &RunOptions { sites: sites(&model), edits: Vec::new() }).expect("runs");
            let swept = base.values_under(&lists, &j).expect("runs");
            let mut swept_logits = vec![Vec::new(); lists.len()];
            let vocab = model.sizes().vocab;
            base.logits_under(&lists, last, &mut |ids, all| {
                ids.iter().zip(all.chunks(vocab)).for_each(|(&id, logits)| swept_logits[id] = logits.to_vec());
            })
            .expect("runs");
            for ((edits, swept), swept_logits) in lists.iter().zip(swept).zip(swept_logits) {
                let trace: Trace<f64> = both.run(&tokens, edits, None);
                let run = model.run(&tokens, edits).expect("runs");
                let case = format!("{} {edits:?}", both.name());
                let logits = trace.logits_at(last);
                let of = |values: &[f64]| Labelled::reference(values.to_vec());
                let check = |worst: &mut Worst, got: Labelled, want: &[f64]| {
                    worst.check(&case, &got, &of(want), tolerance::MODEL);
                };
                check(&mut worst[0], on.label(&run.field().expect("finite")), &trace.field);
                check(&mut worst[1], on.label(&run.logits().expect("finite")), &trace.logits);
                check(&mut worst[2], on.label(&[swept, size(logits)]), &[read(logits), size(logits)]);
                check(&mut worst[3], on.label(&swept_logits), logits);
            }
        }
    }
}

/// Tangents, cotangents and second derivatives of edited runs along sources there.
#[test]
fn derivatives_of_norms_in_every_family() {
    let mut worst = ["jvp", "vjp", "along", "jet", "hvp"].map(|of| Worst::new(&format!("norms.{of}")));
    for (both, tokens) in Both::all() {
        let last = tokens.len() - 1;
        let j = observable(last);
        for on in subjects() {
            let model = both.on(on);
            let (d, mut random, sites) = (model.sizes().d, Random::new(7), sites(&model));
            let lists = lists(&model, tokens.len());
            let edited: Vec<&[Edit]> = lists.iter().map(Vec::as_slice).rev().step_by(3).collect();
            for edits in [&[][..]].into_iter().chain(edited) {
                let options = RunOptions { sites: sites.clone(), edits: edits.to_vec() };
                let run = model.run_with(&tokens, &options).expect("runs");
                let linear = run.linearize(Mode::Exact);
                let mut chi = vec![vec![0.0; d]; sites.len()];
                let seeds = [run.seeds(&j).expect("fits")];
                let mut keep = |chunk: resolvent_model::Chunk<'_>| {
                    let width = sites[chunk.site].width(model.sizes());
                    if let Some(row) = chunk.row(last, width) {
                        chi[chunk.site] = row.to_vec();
                    }
                };
                linear.vjp_at(&seeds, &sites, &mut keep).expect("runs");
                let with_field = [sites.clone(), vec![Site::ResidPre(0)]].concat();
                for (site, chi) in with_field.iter().zip(chi.iter().map(Some).chain([None])) {
                    let vector = random.normals(site.width(model.sizes())).iter().map(|x| 0.3 * x).collect();
                    let source = Source { site: *site, token: last, vector };
                    let case = format!("{} {site} {edits:?}", both.name());
                    let trace: Trace<Dual<Dual<f64>>> =
                        both.run(&tokens, edits, Some((&source, Dual::new(Dual::new(0.0, 1.0), Dual::new(1.0, 0.0)))));
                    let first: Trace<Dual<f64>> = both.run(&tokens, edits, Some((&source, Dual::new(0.0, 1.0))));
                    let want = orders(&trace.field);
                    let sources = [[source.clone()]];
                    let got = linear.jvp(&sources).expect("runs").into_single();
                    let check = |worst: &mut Worst, got: Labelled, want: Vec<f64>, allowed: f64| {
                        worst.check(&case, &got, &Labelled::reference(want), allowed);
                    };
                    if *site != scale(StreamNorm::Final) && *site != rows(StreamNorm::Final) {
                        check(&mut worst[0], on.label(&got), tangents(&first.field), tolerance::DERIVATIVES);
                        let jets = linear.jet(&sources).expect("runs");
                        check(
                            &mut worst[3],
                            on.label(jets.second.get(0)),
                            want[1].clone(),
                            tolerance::SECOND_OF_FAMILIES,
                        );
                    } else {
                        assert!(got.iter().all(|x| *x == 0.0), "{case}: the field is below the final norm");
                    }
                    let [slope, second] = orders(&[read(trace.logits_at(last))]).map(|of| of[0]);
                    let logits = orders(trace.logits_at(last));
                    let [size_of_slope, size_of_second] = logits.map(|of| size(&of));
                    if let Some(chi) = chi {
                        let got: f64 = wide(chi).iter().zip(&source.vector).map(|(c, s)| c * f64::from(*s)).sum();
                        let want = vec![slope, size_of_slope];
                        check(&mut worst[1], on.label(&[got, size_of_slope]), want, tolerance::DERIVATIVES);
                    }
                    let along = linear.along(&sources, &j).expect("runs")[0];
                    let got = [along.first, along.second, size_of_slope, size_of_second];
                    let want = vec![slope, second, size_of_slope, size_of_second];
                    check(&mut worst[2], on.label(&got), want, tolerance::SECOND_OF_FAMILIES);
                    let mut product = 0.0;
                    let mut add = |chunk: resolvent_model::Chunk<'_>| {
                        if let Some(row) = chunk.row(last, source.vector.len()) {
                            product = row.iter().zip(&source.vector).map(|(h, s)| f64::from(*h) * f64::from(*s)).sum();
                        }
                    };
                    linear.hvp_at(&sources, &j, &[*site], &mut add).expect("runs");
                    let (got, want) = ([product, size_of_second], vec![second, size_of_second]);
                    check(&mut worst[4], on.label(&got), want, tolerance::SECOND_OF_FAMILIES);
                }
            }
        }
    }
}

/// The run's own scale changes no value, but no derivative passes through it: those are of the mode with frozen norms.
#[test]
fn restored_scales_are_constants() {
    for name in ["families/llama", "families/gpt_neox"] {
        let both = Both::family(&Golden::load(name));
        for on in subjects() {
            let (model, tokens) = (both.0.on(on), &both.1);
            let norms: Vec<StreamNorm> = (0..model.sizes().layers)
                .flat_map(|l| [StreamNorm::Attention(l), StreamNorm::Mlp(l)])
                .chain([StreamNorm::Final])
                .collect();
            let run = model.run(tokens, &[]).expect("runs");
            let mut edits = Vec::new();
            for &norm in &norms {
                let scales = run.norm_scale(norm).expect("finite");
                edits.extend(scales.iter().enumerate().map(|(t, s)| Edit::put(scale(norm), t, vec![*s])));
            }
            let restored = model.run(tokens, &edits).expect("runs");
            let j = observable(tokens.len() - 1);
            let far = |a: &[f32], b: &[f32]| {
                let (apart, all) = a
                    .iter()
                    .zip(b)
                    .fold((0.0, 0.0), |(x, y), (a, b)| (x + f64::from(a - b).powi(2), y + f64::from(*b).powi(2)));
                (apart / all).sqrt()
            };
            assert!(far(&restored.field().expect("finite"), &run.field().expect("finite")) < 1e-6, "{name}");
            assert!(far(&restored.logits().expect("finite"), &run.logits().expect("finite")) < 1e-5, "{name}");
            let gradient = |run: &resolvent_model::Run, mode| run.linearize(mode).gradient(&j).expect("a gradient");
            let constant = gradient(&restored, Mode::Exact);
            assert!(far(&constant, &gradient(&run, Mode::FrozenNorm)) < 1e-5, "{name}");
            assert!(far(&constant, &gradient(&run, Mode::Exact)) > 1e-2, "{name}: the scales matter");
            // Frozen norms have no other derivative by the scale than a run whose scales are sites.
            let site = scale(StreamNorm::Mlp(0));
            let named = model.run_with(tokens, &RunOptions { sites: vec![site], edits: Vec::new() }).expect("runs");
            let source = [[Source { site, token: 1, vector: vec![0.1] }]];
            let [exact, frozen] = [Mode::Exact, Mode::FrozenNorm]
                .map(|mode| named.linearize(mode).jvp(&source).expect("runs").into_single());
            assert!(exact.iter().chain(&frozen).any(|x| *x != 0.0));
        }
    }
}

/// Patches from another run, of the same batch or of another, are the values of that run.
#[test]
fn scales_are_taken_from_another_run() {
    let both = Both::family(&Golden::load("families/gemma2"));
    for on in subjects() {
        let (model, clean) = (both.0.on(on), &both.1);
        let (last, j) = (clean.len() - 1, observable(clean.len() - 1));
        let mut corrupted = clean.clone();
        corrupted[1] = (corrupted[1] + 1) % model.sizes().vocab as u32;
        let options = RunOptions { sites: sites(&model), edits: Vec::new() };
        let runs = model.run_all(&[clean, &corrupted], &options).expect("runs");
        let alone = model.run_with(clean, &options).expect("runs");
        for site in sites(&model) {
            let value = runs[0].capture(site).expect("finite");
            let width = value.len() / clean.len();
            let row = value[last * width..].to_vec();
            let taken =
                |run: &resolvent_model::Run| Edit::take(site, last, run.row_on_device(site, last).expect("a row"));
            let edits = [vec![taken(&runs[0])], vec![taken(&alone)], vec![Edit::put(site, last, row.clone())]];
            let of = |edits| EditedRun { run: &runs[1], edits, observable: &j };
            let values = values_of(&edits.each_ref().map(|edits| of(edits))).expect("runs");
            assert_eq!(values[0], values[2], "{site}");
            assert!((values[1] - values[2]).abs() < 1e-4, "{site}: {values:?}");
            // The first norm reads one token alone, and the last one is the same in both prompts.
            let other = runs[1].capture(site).expect("finite")[last * width..].to_vec();
            assert_eq!(values[0] == runs[1].value(&j).expect("finite"), row == other, "{site}");
            let patched =
                model.run_edited(&[resolvent_model::EditedPrompt { tokens: &corrupted, edits: &edits[0] }], &[]);
            let patched = patched.expect("runs").remove(0);
            assert_eq!(patched.capture(site).expect("finite")[last * width..], row);
            match site {
                Site::NormScale(norm) => assert_eq!(patched.norm_scale(norm).expect("finite")[last], row[0]),
                Site::Normalized(norm) => {
                    assert_eq!(patched.normalized(norm).expect("finite")[last * width..], row);
                }
                _ => panic!("{site}"),
            }
            let source = Source { site, token: last, vector: vec![0.5; width] };
            let both =
                [0, 1].map(|n| ProbedRun { run: &runs[n], sources: std::slice::from_ref(&source), observable: &j });
            let along = along_of(&both).expect("runs");
            let one = alone.linearize(Mode::Exact).along(&[[source.clone()]], &j).expect("runs")[0];
            assert!((along[0].first - one.first).abs() <= 1e-4 * one.first.abs().max(1.0), "{site}");
        }
    }
}

/// Vectors at the last level pass the parts of an edited final norm, and appended tokens go on from an edited run.
#[test]
fn heads_of_edited_runs() {
    let both = Both::family(&Golden::load("families/qwen2"));
    for on in subjects() {
        let (model, tokens) = (both.0.on(on), &both.1);
        let (last, d) = (tokens.len() - 1, model.sizes().d);
        let norm = StreamNorm::Final;
        let edits = [Edit::put(scale(norm), 1, vec![1.7]), Edit::scale(rows(norm), last, 0.5)];
        let run = model.run(tokens, &edits).expect("runs");
        let vectors = [0, 1].map(|seed| Random::new(seed).normals(d));
        let at = [1, last].map(|t| LogitTangent { run: &run, position: t, vector: &vectors[usize::from(t == 1)] });
        let got = logit_tangents_of(Mode::Exact, &at).expect("runs");
        let vocab = model.sizes().vocab;
        for (at, got) in at.iter().zip(got.chunks(vocab)) {
            let site = Site::level(model.sizes().layers, model.sizes());
            let step = 1e-2;
            let moved = |sign: f32| {
                let vector = at.vector.iter().map(|x| sign * step * x).collect();
                let run = model.run(tokens, &[vec![Edit::add(site, at.position, vector)], edits.to_vec()].concat());
                run.expect("runs").logits_at(at.position).expect("finite")
            };
            let (up, down) = (moved(1.0), moved(-1.0));
            let size = got.iter().fold(0.0f32, |s, x| s.max(x.abs()));
            for ((up, down), got) in up.iter().zip(&down).zip(got) {
                assert!(((up - down) / (2.0 * step) - got).abs() < 2e-3 * size, "{up} {down} {got}");
            }
        }
        let mut values = KeyValueCache::new(&model, tokens, &edits).expect("runs");
        values.push(4).expect("a token");
        let again = model.run(&[&tokens[..], &[4]].concat(), &edits).expect("runs").logits_at(last + 1);
        let near =
            values.logits().expect("finite").iter().zip(&again.expect("finite")).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near, "{}", on.name());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let on = subjects()[0];
    let model = Both::family(&Golden::load("families/llama")).0.on(on);
    let fails = |model: &Model, edit: Edit| model.run(&[1, 2], &[edit]).map(|_| ()).expect_err("refused").to_string();
    let site = scale(StreamNorm::Mlp(0));
    for (edit, reason) in [
        (Edit::put(site, 1, vec![0.0]), "a norm divides by its scale; put another number than 0"),
        (Edit::ablate(site, 1), "a norm divides by its scale; give another factor than 0"),
        (Edit::project_out(site, 1, vec![1.0]), "a scale is one number; use add, put or scale"),
    ] {
        assert_eq!(fails(&model, edit), format!("blocks.0.ln2.hook_scale at token 1: {reason}"));
    }
    assert!(fails(&model, Edit::put(site, 1, vec![1.0; 3])).contains("is 1 wide"));
    assert!(fails(&model, Edit::put(scale(StreamNorm::Mlp(9)), 1, vec![1.0])).contains("the model has blocks 0 to"));
    let after = Both::family(&Golden::load("families/olmo2")).0.on(on);
    let error = fails(&after, Edit::put(site, 1, vec![1.0]));
    assert_eq!(error, "blocks.0.ln2.hook_scale: this model has no such site; it has no norm there");
    let mut sites = resolvent_model::path_sites(model.sizes());
    sites.push(scale(StreamNorm::Final));
    let run = model.run_with(&[3, 1, 4], &RunOptions { sites, ..RunOptions::default() }).expect("runs");
    let error = resolvent_model::outputs_of(&[&run]).map(|_| ()).expect_err("divided").to_string();
    assert!(error.contains("a site of ln_final divides the final norm"), "{error}");
}
