//! A prompt that grows token by token has the logits of whole runs: in every family on the host, and in every form of
//! block on each GPU.

use resolvent_engine::counted;
use resolvent_model::{Edit, KeyValueCache, Model, Sampling, Site, gaussian};
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Golden, Twin, Worst, subjects, tolerance};

/// Grows the first tokens of a prompt to all of them. Returns the worst difference of logits from whole runs, and
/// passes each to `each`.
fn grown(model: &Model, tokens: &[u32], first: usize, edits: &[Edit], each: &mut dyn FnMut(usize, f64)) {
    let mut cache = KeyValueCache::new(model, &tokens[..first], edits).expect("runs");
    for end in first..=tokens.len() {
        let whole = model.run(&tokens[..end], edits).expect("runs").logits_at(end - 1).expect("reads");
        each(end, relative(&wide(&cache.logits().expect("reads")), &wide(&whole)));
        assert_eq!(cache.tokens(), &tokens[..end]);
        if let Some(&token) = tokens.get(end) {
            cache.push(token).expect("runs");
        }
    }
}

#[test]
fn a_cache_has_the_logits_of_whole_runs() {
    let mut worst = Worst::new("model.key_values");
    let forms: Vec<&str> = Golden::all().iter().chain(&Golden::forms()).map(|golden| golden.name).collect();
    for golden in Golden::all().into_iter().chain(Golden::families()) {
        let tokens: Vec<u32> = (0..16).map(|t| golden.tokens[t % golden.tokens.len()]).collect();
        let on_gpus = forms.contains(&golden.name);
        for on in subjects().into_iter().filter(|on| on_gpus || on.is_host()) {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let edits = [Edit::add(Site::ResidPre(0), 2, gaussian(4, model.sizes().d))];
            for (edits, first) in [(&edits[..0], 1), (&edits[..], 5)] {
                let tokens = &tokens[..model.sizes().n_ctx.min(16)];
                grown(&model, tokens, first, edits, &mut |end, error| {
                    worst.within(end, &format!("{} {}", golden.name, on.name()), error, tolerance::MODEL);
                });
            }
        }
    }
}

/// Without the edit's keys and values, the logits of later tokens differ: the comparison above can fail.
#[test]
fn later_tokens_read_edited_keys_and_values() {
    for on in subjects() {
        let model = Twin::small().on(on);
        let edits = [Edit::add(Site::ResidPre(1), 2, gaussian(4, model.sizes().d))];
        let of = |edits: &[Edit]| {
            let mut cache = KeyValueCache::new(&model, &[3, 1, 4], edits).expect("runs");
            cache.push(1).expect("runs");
            wide(&cache.logits().expect("reads"))
        };
        assert!(relative(&of(&edits), &of(&[])) > 1e-3);
    }
}

/// Rows of this model are aligned, so new ones are written in place, and the memory doubles several times.
#[test]
fn memory_doubles() {
    let mut worst = Worst::new("model.key_values");
    for on in subjects() {
        let model = Model::named(on.device(), "atlas-nano").expect("opens");
        let tokens: Vec<u32> = (0..40).map(|t| (t * 29) % 300).collect();
        grown(&model, &tokens, 1, &[], &mut |end, error| {
            worst.within(end, &format!("atlas-nano {}", on.name()), error, tolerance::MODEL);
        });
    }
}

/// A token costs the products of one row, however long the prompt is.
#[test]
fn a_token_costs_one_row() {
    for on in subjects() {
        let model = Twin::small().on(on);
        let work = |tokens: usize| {
            let prompt: Vec<u32> = (0..tokens as u32).map(|t| t % 7).collect();
            let mut cache = KeyValueCache::new(&model, &prompt, &[]).expect("runs");
            let whole = counted(|| model.run(&prompt, &[]).expect("runs")).1.flops;
            (counted(|| cache.push(1).expect("runs")).1.flops, whole)
        };
        let [(short, _), (long, whole)] = [4, 24].map(work);
        assert!(short < long && long < 1.6 * short, "{short} {long}: only attention grows");
        assert!(8.0 * long < whole, "{long} {whole}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for on in subjects() {
        let model = Twin::small().on(on);
        let sizes = *model.sizes();
        let prompt = vec![1; sizes.n_ctx];
        let mut cache = KeyValueCache::new(&model, &prompt, &[]).expect("runs");
        let error = |cache: &mut KeyValueCache, token| cache.push(token).expect_err("refused").to_string();
        assert!(error(&mut cache, 1).contains("and the prompt fills them"));
        assert!(error(&mut cache, sizes.vocab as u32).contains("the vocabulary ends at"));
        let full = model.generate(&prompt[1..], &[], (1, &[]), &Sampling::default()).expect("one position is left");
        assert_eq!(full.len(), 1);
        assert!(model.generate(&prompt, &[], (0, &[]), &Sampling::default()).expect("none").is_empty());
    }
}

/// The trained model, whose products are wide enough for all paths of the host's products.
#[test]
fn a_trained_model_grows() {
    let mut worst = Worst::new("model.key_values");
    for on in subjects() {
        let model = Model::named(on.device(), "atlas-small").expect("opens");
        let tokens: Vec<u32> = (0..24).map(|t| (t * 37) % 500).collect();
        grown(&model, &tokens, 9, &[], &mut |end, error| {
            worst.within(end, &format!("atlas-small {}", on.name()), error, tolerance::MODEL);
        });
    }
}
