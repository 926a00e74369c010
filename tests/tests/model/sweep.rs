//! `Run::values_under`: many edited runs over one base run, against each of them run alone.

use resolvent_model::{Config, Edit, Observable, Run, Site, tiny};
use resolvent_tests::truth::relative;
use resolvent_tests::{Random, Subject, Twin, Worst, subjects, tolerance};

use super::{change, changes, prepared, source};

/// Compares the values of a batch of edited runs with those of each run alone. Edits of the base run come first.
fn check(worst: &mut Worst, run: &Run, variants: &[Vec<Edit>], observables: &[Observable]) {
    let (model, base) = (run.model(), run.edits());
    let by = if model.device().info().is_host() { "host" } else { "gpu" };
    for j in observables {
        let unedited = run.value(j).expect("fits");
        let alone = |edits: &Vec<Edit>| {
            let edits = [base, edits].concat();
            model.run(run.tokens(), &edits).and_then(|run| run.value(j)).unwrap_or_else(|e| panic!("{edits:?}: {e}"))
        };
        let want: Vec<f64> = variants.iter().map(alone).collect();
        let got = run.values_under(variants, j).unwrap_or_else(|e| panic!("{e}"));
        worst.within(format!("{j:?}"), by, relative(&got, &want), tolerance::ALONE);
        for ((got, want), edits) in got.iter().zip(&want).zip(variants) {
            let size = want.abs().max(unedited.abs()).max(1.0);
            worst.within(format!("{j:?} {edits:?}"), by, (got - want).abs() / size, tolerance::ALONE);
        }
        assert!(got.iter().any(|v| (v - unedited).abs() > 1e-2), "the edits do something");
    }
}

fn observables(twin: &Twin, tokens: usize) -> Vec<Observable> {
    let direction = Random::new(3).normals(twin.config.n_embd);
    vec![
        Observable::logit_diff(1, 2, tokens - 1),
        Observable::logit(0, tokens / 2),
        Observable::projection(1, tokens - 2, direction),
        Observable::entropy(tokens - 1) - 0.5 * Observable::prob(&[1, 2, 5], tokens - 3),
    ]
}

/// Every (site, token) of a model.
#[test]
fn every_patch_is_the_prompt_run_alone() {
    let mut worst = Worst::new("sweep");
    let twin = Twin::small();
    let tokens = Random::new(1).ids(6, twin.config.vocab_size);
    let mut random = Random::new(2);
    let mut variants = Vec::new();
    for site in twin.sites() {
        for token in 0..tokens.len() {
            let kind = if random.below(2) == 0 { 1 } else { random.below(6) };
            variants.push(vec![change(&twin, site, token, (kind, &mut random))]);
        }
    }
    // Also several edits at once, no edit, and two edits at one place.
    variants.extend((1..12).map(|n| changes(&twin, tokens.len(), n, &mut random)));
    variants.push(Vec::new());
    for on in subjects() {
        let run = prepared(&twin, on, &tokens, &[]);
        check(&mut worst, &run, &variants, &observables(&twin, tokens.len()));
    }
}

fn long() -> (Twin, Vec<u32>) {
    let config = Config { n_layer: 2, n_embd: 26, n_head: 2, n_inner: Some(31), n_positions: 80, ..tiny() };
    (Twin::random(config, 3, 0.25), Random::new(2).ids(70, 50))
}

/// A prompt that is longer than an attention tile, patched on both sides of the tile's end.
#[test]
fn patches_of_a_long_prompt() {
    let mut worst = Worst::new("sweep.long");
    let (twin, tokens) = long();
    let mut random = Random::new(6);
    let mut variants = Vec::new();
    for site in twin.sites().into_iter().filter(|site| site.head().is_none_or(|h| h == 1)) {
        for token in [0, 31, 32, 63, 64, 69] {
            variants.push(vec![change(&twin, site, token, (1, &mut random))]);
        }
    }
    for on in subjects() {
        let run = prepared(&twin, on, &tokens, &[]);
        check(&mut worst, &run, &variants, &observables(&twin, tokens.len())[..1]);
    }
}

/// Edits of the base run are applied first, and also in every recomputed row.
#[test]
fn patches_of_an_edited_run() {
    let mut worst = Worst::new("sweep.edited");
    let twin = Twin::small();
    let tokens = Random::new(4).ids(6, twin.config.vocab_size);
    let mut random = Random::new(5);
    for n in [1, 4, 10] {
        let base = changes(&twin, tokens.len(), n, &mut random);
        let mut variants: Vec<Vec<Edit>> = Vec::new();
        for (i, site) in twin.sites().into_iter().enumerate() {
            variants.push(vec![change(&twin, site, i % tokens.len(), (i, &mut random))]);
        }
        // Edits at the same places as those of the base run.
        variants.extend(base.iter().map(|e| vec![change(&twin, e.site, e.token, (0, &mut random))]));
        variants.extend(base.iter().map(|e| vec![Edit::scale(e.site, e.token, 0.5)]));
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &base);
            check(&mut worst, &run, &variants, &observables(&twin, tokens.len()));
        }
    }
}

/// Edits after the observable's token, or above its level, cannot reach it: the value has the same bits.
#[test]
fn edits_out_of_reach_change_nothing() {
    let twin = Twin::small();
    let tokens = Random::new(4).ids(6, twin.config.vocab_size);
    let mut random = Random::new(5);
    let direction = random.normals(twin.config.n_embd);
    let later: Vec<[Edit; 1]> =
        twin.sites().into_iter().map(|site| [change(&twin, site, 4, (0, &mut random))]).collect();
    let above: Vec<[Edit; 1]> = twin
        .sites()
        .into_iter()
        .filter(|site| site.layer() == 1 && *site != Site::ResidPre(1))
        .map(|site| [change(&twin, site, 0, (0, &mut random))])
        .collect();
    for on in subjects() {
        let run = prepared(&twin, on, &tokens, &[]);
        let field = |token| Observable::projection(1, token, direction.clone());
        for (variants, j) in
            [(&later, Observable::logit_diff(5, 6, 3)), (&later, field(3)), (&above, field(0)), (&above, field(5))]
        {
            let value = run.value(&j).expect("fits").to_bits();
            let values = run.values_under(variants, &j).expect("fits");
            let moved = values.iter().position(|v| v.to_bits() != value);
            assert_eq!(moved.map(|i| &variants[i]), None, "{}: {j:?}", on.name());
        }
    }
}

/// Edits of the last token, one row for each sequence, in another order than that of the joins.
#[test]
fn values_come_in_the_order_of_their_edits() {
    let mut worst = Worst::new("sweep.order");
    let twin = Twin::small();
    let tokens = Random::new(4).ids(6, twin.config.vocab_size);
    let mut random = Random::new(5);
    let sites = [Site::ResidPost(1), Site::ResidPre(0), Site::ResidMid(1), Site::ResidMid(0)];
    let variants = sites.map(|site| vec![change(&twin, site, 5, (1, &mut random))]);
    for on in subjects() {
        let run = prepared(&twin, on, &tokens, &[]);
        check(&mut worst, &run, &variants, &[Observable::logit_diff(1, 2, 5)]);
    }
}

/// On a device with small bindings, a sweep and batches of tangents are split into many, with the same results.
#[test]
fn split_batches_give_the_same() {
    let mut worst = Worst::new("sweep.split");
    let (twin, tokens) = long();
    let mut random = Random::new(7);
    let mut variants = Vec::new();
    for level in 0..=twin.config.n_layer {
        let site = Site::level(level, &twin.sizes());
        variants.extend((0..tokens.len()).map(|t| [change(&twin, site, t, (1, &mut random))]));
    }
    let j = Observable::logit_diff(8, 9, tokens.len() - 1);
    for on in subjects() {
        let sweep = |on: &Subject| {
            let run = prepared(&twin, on, &tokens, &[]);
            let values = run.values_under(&variants, &j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let linear = run.linearize(resolvent_model::Mode::Exact);
            let seeds = run.seeds(&j).expect("fits");
            let chi = linear.vjp(&vec![seeds; 4]).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let sources = [source(&twin, Site::ResidPre(0), 3, &mut Random::new(8))];
            let along = linear.along(&vec![sources; 9], &j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let along: Vec<f64> = along.iter().flat_map(|a| [a.first, a.second]).collect();
            let chi: Vec<f64> = (0..4).flat_map(|k| chi.get(k)).map(|&x| f64::from(x)).collect();
            (values, chi, along)
        };
        // The prompt's own rows fit twice; the sweep has a hundred times as many.
        let small = on.again(resolvent_engine::Options { max_binding: Some(48 << 10), ..Default::default() });
        assert_eq!(small.device().info().max_binding, 48 << 10);
        let ((want, chi, along), (got, chi_split, along_split)) = (sweep(on), sweep(&small));
        worst.within("values", on.name(), relative(&got, &want), tolerance::ALONE);
        worst.within("chi", on.name(), relative(&chi_split, &chi), tolerance::BATCH);
        worst.within("along", on.name(), relative(&along_split, &along), tolerance::ALONE);
    }
}
