//! Hessian-vector products against the reference's runs on duals of duals, against jets, and against their transpose.

use resolvent_field::{dot, norm, symmetry};
use resolvent_model::{Edit, EditedPrompt, Mode, Observable, ProbedRun, Run, Site, Source, hvp_of};
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Labelled, Random, Twin, Worst, subjects, tolerance};

use super::batches::{cases, sources};
use super::edited::{TOKENS, lists};
use super::jets::observables;
use super::{kinds, prepared, source};

/// Computes `d2J / da db` along s and every unit of the field, for every observable: `[L+1, T, d]` each.
fn truth(twin: &Twin, edits: &[Edit], s: &[Source]) -> Vec<Vec<f64>> {
    let (d, read) = (twin.config.n_embd, observables(twin, &TOKENS));
    let mut fields = vec![Vec::new(); read.len()];
    for level in 0..=twin.config.n_layer {
        for token in 0..TOKENS.len() {
            for i in 0..d {
                let vector = (0..d).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
                let unit = [Source { site: Site::level(level, &twin.sizes()), token, vector }];
                let trace = twin.second_derivative(&TOKENS, edits, [s, &unit]);
                for ((_, read), field) in read.iter().zip(&mut fields) {
                    field.push(read(&trace).tangent.tangent);
                }
            }
        }
    }
    fields
}

/// Sources of every kind, alone and together, in runs without edits and with many.
#[test]
fn products_with_the_hessian_of_edited_runs() {
    let mut worst = Worst::new("edited.hvp");
    let twin = Twin::small();
    let lists = lists(&twin, TOKENS.len());
    for edits in [&lists[0], &lists[5], &lists[8]] {
        let mut random = Random::new(5);
        let at = |site| vec![source(&twin, site, random.below(TOKENS.len()), &mut random)];
        let mut batch: Vec<Vec<Source>> = kinds(&twin).into_iter().step_by(3).map(at).collect();
        batch.push(batch.concat());
        batch.push(Vec::new());
        let truths: Vec<Vec<Vec<f64>>> = batch.iter().map(|s| truth(&twin, edits, s)).collect();
        for on in subjects() {
            let run = prepared(&twin, on, &TOKENS, edits);
            let linear = run.linearize(Mode::Exact);
            for (n, (j, _)) in observables(&twin, &TOKENS).iter().enumerate() {
                let got = linear.hvp(&batch, j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                for (k, truths) in truths.iter().enumerate() {
                    let case = format!("{edits:?} {j:?} {:?}", batch[k]);
                    if truths[n].iter().all(|x| *x == 0.0) {
                        assert!(got.get(k).iter().all(|x| *x == 0.0), "{}: {case}", on.name());
                        continue;
                    }
                    let truth = Labelled::reference(truths[n].clone());
                    worst.check(case, &on.label(got.get(k)), &truth, tolerance::JETS);
                }
            }
        }
    }
}

/// `<u, H s>` at every site of cotangents.
#[test]
fn products_at_every_site() {
    let mut worst = Worst::new("at_sites.hvp");
    let twin = Twin::small();
    let sites = twin.sites();
    let mut random = Random::new(6);
    let s: Vec<Vec<Source>> = kinds(&twin)
        .into_iter()
        .map(|site| vec![source(&twin, site, random.below(TOKENS.len()), &mut random)])
        .collect();
    let position = TOKENS.len() - 1;
    let read = resolvent_reference::Logit { target: 4, against: Some(20), position };
    let j = Observable::logit_diff(4, 20, position);
    for (token, site) in sites.iter().enumerate().map(|(i, site)| (i % TOKENS.len(), *site)) {
        let u = [source(&twin, site, token, &mut random)];
        let want: Vec<f64> = s
            .iter()
            .map(|s| {
                use resolvent_reference::Observable as _;
                read.read(&twin.second_derivative(&TOKENS, &[], [s, &u])).tangent.tangent
            })
            .collect();
        for on in subjects() {
            let run = prepared(&twin, on, &TOKENS, &[]);
            let (width, mut got, mut size) = (u[0].vector.len(), vec![0.0; s.len()], 0.0f64);
            let visit = &mut |chunk: resolvent_model::Chunk<'_>| {
                let at = (token - chunk.token) * width;
                got[chunk.sequence] = dot(&chunk.rows[at..at + width], &u[0].vector);
                size = size.max(norm(&chunk.rows[at..at + width]) * norm(&u[0].vector));
            };
            run.linearize(Mode::Exact).hvp_at(&s, &j, &[site], visit).expect("fits");
            for (k, (got, want)) in got.iter().zip(&want).enumerate() {
                if *want == 0.0 {
                    assert_eq!(*got, 0.0, "{}: {site} has no second derivative along {:?}", on.name(), s[k]);
                    continue;
                }
                let case = format!("{site} {:?}", s[k]);
                worst.within(case, on.name(), (got - want).abs() / size, tolerance::JETS);
            }
        }
    }
}

/// `<s, H s>` agrees with a jet, `<u, H v>` with `<v, H u>`, and a batch with single sequences. The second prompt is
/// longer than an attention tile.
#[test]
fn products_are_symmetric_and_agree_with_jets() {
    let mut worst = ["hvp against jets", "hvp.symmetry", "batch.hvp"].map(Worst::new);
    for (twin, tokens) in cases() {
        let (sizes, t) = (twin.sizes(), tokens.len());
        let d = sizes.d;
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            let linear = run.linearize(Mode::Exact);
            let mut random = Random::new(10);
            let batch: Vec<Vec<Source>> = (0..7).map(|_| sources(&twin, t, &mut random)).collect();
            for j in [Observable::logit_diff(3, 8, t - 1), Observable::log_prob(5, t / 2)] {
                let fields = linear.hvp(&batch, &j).expect("fits");
                let with = |u: &[Source], k: usize| -> [f64; 2] {
                    let each = u.iter().map(|Source { site, token, vector }| {
                        let level = (0..=sizes.layers).find(|&l| Site::level(l, &sizes) == *site);
                        let at = (level.expect("a level") * t + token) * d;
                        let here = &fields.get(k)[at..at + d];
                        [dot(here, vector), norm(here) * norm(vector)]
                    });
                    each.fold([0.0; 2], |sum, one| [sum[0] + one[0], sum[1] + one[1]])
                };
                let along = linear.along(&batch, &j).expect("fits");
                for k in 0..batch.len() {
                    let [value, size] = with(&batch[k], k);
                    let apart = (value - along[k].second).abs() / size.max(f64::MIN_POSITIVE);
                    worst[0].within(format!("{j:?} {k}"), on.name(), apart, tolerance::JETS);
                    for other in 0..k {
                        let ([a, one], [b, two]) = (with(&batch[other], k), with(&batch[k], other));
                        let apart = (a - b).abs() / one.max(two).max(f64::MIN_POSITIVE);
                        worst[1].within(format!("{j:?} {k} {other}"), on.name(), apart, tolerance::JETS);
                    }
                    let alone = linear.hvp(&batch[k..=k], &j).expect("fits").into_single();
                    let apart = relative(&wide(fields.get(k)), &wide(&alone));
                    worst[2].within(format!("{j:?} {k}"), on.name(), apart, tolerance::BATCH);
                }
                // Batches of one or two directions at a time.
                let small = on.again(resolvent_engine::Options { batch_bytes: 40_000, ..Default::default() });
                let split = prepared(&twin, &small, &tokens, &[]);
                let split = split.linearize(Mode::Exact).hvp(&batch, &j).expect("fits");
                for k in 0..batch.len() {
                    let apart = relative(&wide(split.get(k)), &wide(fields.get(k)));
                    worst[2].within(format!("{j:?} {k}, split"), on.name(), apart, tolerance::BATCH);
                }
                let certificate = symmetry(&linear, &j, 1).expect("runs");
                worst[1].within(format!("{j:?}"), on.name(), certificate.value, certificate.bound);
            }
        }
    }
}

/// Prompts of one batch, each with its own observable, share the passes of their products: one wait for all levels that
/// observables are read from. A prompt's products are those that it has alone, on the host bit for bit.
#[test]
fn prompts_share_the_passes_of_products() {
    let mut worst = Worst::new("hvp of several prompts");
    let twin = Twin::small();
    let prompts: [&[u32]; 4] = [&TOKENS, &[1, 2], &[5, 3, 5, 8, 9, 7, 9, 4, 2], &[20, 4, 1]];
    let u = Random::new(21).normals(twin.config.n_embd);
    let observables = [
        Observable::logit_diff(3, 8, TOKENS.len() - 1),
        Observable::log_prob(5, 1) - 0.5 * Observable::logit(3, 0),
        Observable::entropy(6) + 0.5 * Observable::projection(2, 3, u.clone()),
        Observable::projection(twin.config.n_layer - 1, 2, u),
    ];
    let edits = [vec![], vec![Edit::scale(Site::ResidPre(1), 0, 0.5)], vec![], vec![]];
    for on in subjects() {
        // Of its own: other tests share the subjects' devices, and their waits are counted too.
        let own = on.again(resolvent_engine::Options::default());
        let model = twin.on(&own);
        let edited = prompts.iter().zip(&edits).map(|(tokens, edits)| EditedPrompt { tokens, edits });
        let runs = model.run_edited(&edited.collect::<Vec<_>>(), &[]).expect("runs");
        let mut random = Random::new(12);
        // Three superpositions of each prompt, interleaved.
        let each: Vec<(usize, Vec<Source>)> =
            (0..12).map(|k| (k % 4, sources(&twin, prompts[k % 4].len(), &mut random))).collect();
        let probed: Vec<ProbedRun<'_>> = each
            .iter()
            .map(|(n, sources)| ProbedRun { run: &runs[*n], sources, observable: &observables[*n] })
            .collect();
        let d = twin.config.n_embd;
        let zeros = |run: &Run| vec![0.0f32; (twin.config.n_layer + 1) * run.tokens().len() * d];
        let mut found: Vec<Vec<f32>> = probed.iter().map(|one| zeros(one.run)).collect();
        let before = own.device().waits();
        hvp_of(&probed, &runs[0].levels(), &mut |chunk| {
            let at = (chunk.site * probed[chunk.sequence].run.tokens().len() + chunk.token) * d;
            found[chunk.sequence][at..at + chunk.rows.len()].copy_from_slice(chunk.rows);
        })
        .expect("fits");
        assert_eq!(own.device().waits() - before, 2, "{}: J at level L, and below", own.name());
        // A source after the token that J is read at changes nothing.
        let reaching = found.iter().filter(|found| found.iter().any(|x| *x != 0.0)).count();
        assert!(reaching >= 8, "{}: {reaching} products are not zero", own.name());
        for ((n, sources), found) in each.iter().zip(&found) {
            let run = model.run(prompts[*n], &edits[*n]).expect("runs");
            let alone = run.linearize(Mode::Exact).hvp(&[&sources[..]], &observables[*n]).expect("fits").into_single();
            match own.is_host() {
                true => assert!(found.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "prompt {n}"),
                false => {
                    let apart = relative(&wide(found), &wide(&alone));
                    worst.within(format!("prompt {n}"), own.name(), apart, tolerance::BATCH);
                }
            }
        }
    }
}

/// Products are zero, bit for bit, at places that the observable does not depend on.
#[test]
fn products_stay_below_the_observable() {
    for (twin, tokens) in cases() {
        let (d, t) = (twin.config.n_embd, tokens.len());
        for on in subjects() {
            let linear = prepared(&twin, on, &tokens, &[]);
            let linear = linear.linearize(Mode::Exact);
            let mut random = Random::new(4);
            let direction = random.normals(d);
            let late = vec![source(&twin, Site::ResidPre(0), t - 1, &mut random)];
            let early = vec![source(&twin, Site::ResidPre(1), 1, &mut random)];
            let j = Observable::projection(2, t - 2, direction);
            let fields = linear.hvp(&[late, early], &j).expect("fits");
            assert!(fields.get(0).iter().all(|x| x.to_bits() == 0), "{}: after the observable", on.name());
            for (i, row) in fields.get(1).chunks(d).enumerate() {
                let (level, token) = (i / t, i % t);
                let inside = level < 2 && token < t - 1;
                let zero = row.iter().all(|x| x.to_bits() == 0);
                assert_eq!(zero, !inside, "{}: {level},{token}", on.name());
            }
        }
    }
}

#[test]
fn products_that_do_not_fit_are_refused() {
    let twin = Twin::small();
    for on in subjects() {
        let run = prepared(&twin, on, &TOKENS, &[]);
        let linear = run.linearize(Mode::Exact);
        let (j, last) = (Observable::logit(1, 0), TOKENS.len());
        let late = Source { site: Site::ResidPre(0), token: last, vector: vec![0.0; 18] };
        let narrow = Source { site: Site::ResidPre(0), token: 0, vector: vec![0.0; 17] };
        let good = Source { site: Site::ResidPre(0), token: 0, vector: vec![1.0; 18] };
        for source in [late, narrow] {
            assert!(linear.hvp(&[[source]], &j).is_err());
        }
        assert!(linear.hvp(&[[good.clone()]], &Observable::logit(1, last)).is_err());
        assert!(linear.hvp(&[[good.clone()]], &Observable::logit(23, 0)).is_err());
        let nothing = Observable::default();
        assert_eq!(run.value(&nothing).expect("is zero").to_bits(), 0, "0, not -0");
        let product = linear.hvp(&[[good]], &nothing).expect("is zero");
        assert!(product.get(0).iter().all(|x| *x == 0.0));
        assert!(linear.hvp::<Vec<Source>>(&[], &j).expect("is empty").is_empty());
    }
}
