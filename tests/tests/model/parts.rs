//! Embeddings and outputs of heads as sites, which have values of their own only where a run asks for them: every
//! family against the reference.

use resolvent_model::{
    Edit, KeyValueCache, Mode, Model, Observable, RandomWeights, Run, RunOptions, Site, Source, tiny,
};
use resolvent_reference::{Dual, Trace};
use resolvent_tests::truth::wide;
use resolvent_tests::{Golden, Labelled, Random, Worst, subjects, tangents, tolerance};

use super::patterns::Both;

fn embeddings(model: &Model) -> Vec<Site> {
    [Site::Embed, Site::PosEmbed].into_iter().filter(|site| model.has_site(*site)).collect()
}

/// Lists of edits at the new sites, several at one place and beside edits of what contains them.
fn lists(model: &Model, tokens: usize) -> Vec<Vec<Edit>> {
    let (sizes, mut random) = (*model.sizes(), Random::new(31));
    let (l, h, last) = (sizes.layers - 1, sizes.heads - 1, tokens - 1);
    let mut v = || random.normals(sizes.d);
    let mut lists = vec![
        vec![Edit::put(Site::Result(l, h), last, v())],
        vec![Edit::scale(Site::Result(0, 0), 1, -0.5), Edit::project_out(Site::Result(0, 0), last, v())],
        vec![Edit::add(Site::Result(0, h), 1, v()), Edit::scale(Site::Result(0, h), 1, 2.0)],
        vec![Edit::ablate(Site::Result(0, 0), last), Edit::ablate(Site::Result(l, h), last)],
    ];
    for site in embeddings(model) {
        lists.push(vec![Edit::scale(site, 1, 0.5), Edit::add(site, 1, v()), Edit::project_out(site, last, v())]);
        lists.push(vec![Edit::put(site, last, v()), Edit::scale(Site::ResidPre(0), last, 0.5)]);
    }
    lists
}

/// Runs with edits there have the field and the logits of the reference, and sweeps over runs without have its values.
#[test]
fn edits_of_parts_in_every_family() {
    let mut worst = ["field", "logits", "sweep"].map(|of| Worst::new(&format!("parts.{of}")));
    for (both, tokens) in Both::all() {
        let j = Observable::logit_diff(1, 4, tokens.len() - 1);
        for on in subjects() {
            let model = both.on(on);
            let lists = lists(&model, tokens.len());
            let sites = lists.iter().flatten().map(|edit| edit.site).collect();
            let base = model.run_with(&tokens, &RunOptions { sites, edits: Vec::new() }).expect("runs");
            let swept = base.values_under(&lists, &j).expect("runs");
            for (edits, swept) in lists.iter().zip(swept) {
                let trace: Trace<f64> = both.run(&tokens, edits, None);
                let run = model.run(&tokens, edits).expect("runs");
                let case = format!("{} {edits:?}", both.name());
                let logits = trace.logits_at(tokens.len() - 1);
                let (value, size) = (logits[1] - logits[4], logits.iter().map(|x| x.abs()).fold(0.0, f64::max));
                let got = [on.label(&run.field().expect("finite")), on.label(&run.logits().expect("finite"))];
                let want = [trace.field.clone(), trace.logits.clone()].map(Labelled::reference);
                for ((got, want), worst) in got.iter().zip(&want).zip(&mut worst) {
                    worst.check(&case, got, want, tolerance::MODEL);
                }
                // A difference of logits has their rounding error.
                worst[2].check(
                    &case,
                    &on.label(&[swept, size]),
                    &Labelled::reference(vec![value, size]),
                    tolerance::MODEL,
                );
            }
        }
    }
}

/// Tangents and cotangents of edited runs there: `<chi, s>` is the tangent of J along a source s.
#[test]
fn derivatives_of_parts_in_every_family() {
    let mut worst = ["jvp", "vjp"].map(|of| Worst::new(&format!("parts.{of}")));
    for (both, tokens) in Both::all() {
        let last = tokens.len() - 1;
        let j = Observable::logit_diff(1, 4, last);
        for on in subjects() {
            let model = both.on(on);
            let (sizes, mut random) = (*model.sizes(), Random::new(7));
            let mut sites = vec![Site::Result(0, 0), Site::Result(sizes.layers - 1, sizes.heads - 1)];
            sites.extend(embeddings(&model));
            let lists = lists(&model, tokens.len());
            for edits in [&[][..], &lists[1], &lists[2], &lists[lists.len() - 1], &lists[lists.len() - 2]] {
                let options = RunOptions { sites: sites.clone(), edits: edits.to_vec() };
                let run = model.run_with(&tokens, &options).expect("runs");
                let linear = run.linearize(Mode::Exact);
                let mut chi = vec![vec![0.0; tokens.len() * sizes.d]; sites.len()];
                let seeds = [run.seeds(&j).expect("fits")];
                linear
                    .vjp_at(&seeds, &sites, &mut |chunk| {
                        chi[chunk.site][chunk.token * sizes.d..][..chunk.rows.len()].copy_from_slice(chunk.rows);
                    })
                    .expect("runs");
                for (site, chi) in sites.iter().zip(&chi) {
                    let source = Source { site: *site, token: last, vector: random.normals(sizes.d) };
                    let trace = both.run(&tokens, edits, Some((&source, Dual::new(0.0, 1.0))));
                    let case = format!("{} {site} {edits:?}", both.name());
                    let want = tangents(&trace.field);
                    let got = linear.jvp(&[[source.clone()]]).expect("runs").into_single();
                    worst[0].check(&case, &on.label(&got), &Labelled::reference(want), tolerance::MODEL);
                    let logits = tangents(trace.logits_at(last));
                    let (want, size) = (logits[1] - logits[4], logits.iter().map(|x| x.abs()).fold(0.0, f64::max));
                    let own = wide(&chi[last * sizes.d..][..sizes.d]);
                    let got: f64 = own.iter().zip(&source.vector).map(|(c, s)| c * f64::from(*s)).sum();
                    assert!(size > 0.0, "{case}: zero against zero proves nothing");
                    worst[1].check(
                        &case,
                        &on.label(&[got, size]),
                        &Labelled::reference(vec![want, size]),
                        tolerance::MODEL,
                    );
                }
            }
        }
    }
}

/// What pages say about other ways to the same edit: each is an equality, and each fails for another vector.
#[test]
fn edits_of_parts_have_equivalents() {
    let both = Both::family(&Golden::load("families/llama"));
    let (model, tokens) = (both.0.on(subjects()[0]), both.1);
    let (sizes, last, mut random) = (*model.sizes(), tokens.len() - 1, Random::new(3));
    let (v, w) = (random.normals(sizes.d), random.normals(sizes.d));
    let field = |edits: Vec<Edit>| model.run(&tokens, &edits).expect("runs").field().expect("finite");
    let same = |a: Vec<Edit>, b: Vec<Edit>| {
        let (a, b) = (field(a), field(b));
        let (apart, size) =
            a.iter().zip(&b).fold((0.0f32, 0.0f32), |(d, s), (a, b)| (d.max((a - b).abs()), s.max(b.abs())));
        apart <= 2e-5 * size
    };
    let (embed, first) = (Site::Embed, Site::ResidPre(0));
    let (result, out, z) = (Site::Result(1, 0), Site::AttnOut(1), Site::Z(1, 0));
    assert!(same(vec![Edit::put(embed, 1, v.clone())], vec![Edit::put(first, 1, v.clone())]));
    assert!(same(vec![Edit::add(result, last, v.clone())], vec![Edit::add(out, last, v.clone())]));
    assert!(!same(vec![Edit::add(result, last, v.clone())], vec![Edit::add(out, last, w)]));
    assert!(same(vec![Edit::scale(result, last, 0.3)], vec![Edit::scale(z, last, 0.3)]));
    let put = vec![Edit::ablate(z, last), Edit::add(out, last, v.clone())];
    assert!(same(vec![Edit::put(result, last, v.clone())], put));
    assert!(!same(vec![Edit::put(result, last, v.clone())], vec![Edit::add(out, last, v)]));
}

/// The values of a run that has edits there are the edited ones, and appended tokens go on from them.
#[test]
fn reading_parts_of_an_edited_run() {
    for on in subjects() {
        let model = Model::random(on.device(), tiny(), RandomWeights::new(7).with_std(0.2)).expect("a model");
        let (tokens, d) = ([3u32, 14, 15, 9], model.sizes().d);
        let v = Random::new(1).normals(d);
        let edits: Vec<Edit> =
            [Site::Embed, Site::PosEmbed, Site::Result(1, 1)].map(|site| Edit::put(site, 2, v.clone())).into();
        let run = model.run(&tokens, &edits).expect("runs");
        let row = |all: Vec<f32>, at: usize| all[at * d..][..d].to_vec();
        assert_eq!(row(run.token_embeddings().expect("read"), 2), v);
        assert_eq!(row(run.position_embeddings().expect("read").expect("learned"), 2), v);
        assert_eq!(row(run.head_results(1).expect("read"), 2 * model.sizes().heads + 1), v);
        let clean = model.run(&tokens, &[]).expect("runs");
        assert_eq!(row(clean.token_embeddings().expect("read"), 1), row(run.token_embeddings().expect("read"), 1));
        let sum: Vec<f32> = v.iter().map(|x| x + x).collect();
        assert_eq!(row(run.field().expect("finite"), 2), sum);
        // Without the site, it is fused; a model without learned positions has none.
        let fused = clean.capture(Site::Embed).expect_err("was not asked for").to_string();
        assert!(fused.contains("RunOptions::sites"), "{fused}");
        let mut values = KeyValueCache::new(&model, &tokens, &edits).expect("runs");
        values.push(4).expect("a token");
        let all = [&tokens[..], &[4]].concat();
        let again = model.run(&all, &edits).expect("runs").logits_at(4).expect("finite");
        let near = values.logits().expect("finite").iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near, "{}", on.name());
    }
    let llama = Both::family(&Golden::load("families/llama")).0.on(subjects()[0]);
    let error = llama.run(&[1, 2], &[Edit::ablate(Site::PosEmbed, 0)]).map(|_| ()).expect_err("has none").to_string();
    assert_eq!(error, "hook_pos_embed: this model has no such site; it learns no positions");
}

/// Edges need the projection whole, and say so.
#[test]
fn edges_of_a_divided_projection_are_refused() {
    let model = Model::random(subjects()[0].device(), tiny(), RandomWeights::new(7)).expect("a model");
    let mut sites = resolvent_model::path_sites(model.sizes());
    sites.push(Site::Result(0, 1));
    let run: Run = model.run_with(&[3, 1, 4], &RunOptions { sites, ..RunOptions::default() }).expect("runs");
    let error = resolvent_model::outputs_of(&[&run]).map(|_| ()).expect_err("divided").to_string();
    assert!(error.contains("hook_result divides the projection") && error.contains("edit attn.hook_z[H]"), "{error}");
}
