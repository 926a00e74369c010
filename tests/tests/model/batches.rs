//! The tangent map of a whole model: its transpose, batches, and exact zeros.

use resolvent_field::{dot, norm};
use resolvent_model::{Config, Fields, Linearization, Mode, Seed, Site, Source, tiny};
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Random, Twin, Worst, subjects, tolerance};

use super::{kinds, prepared, source};

/// Returns two models: a small one, and one whose prompt is longer than an attention tile.
pub(super) fn cases() -> [(Twin, Vec<u32>); 2] {
    let long = Config { n_layer: 2, n_embd: 26, n_head: 2, n_inner: Some(31), n_positions: 80, ..tiny() };
    let long = Twin::random(long, 3, 0.25);
    [(Twin::small(), Random::new(1).ids(7, 23)), (long, Random::new(2).ids(70, 50))]
}

fn levels(twin: &Twin) -> usize {
    twin.config.n_layer + 1
}

/// Draws a superposition of seeds at up to three places of the field.
fn seeds(twin: &Twin, tokens: usize, random: &mut Random) -> Vec<Seed> {
    let d = twin.config.n_embd;
    let field = |random: &mut Random| {
        let (level, token) = (random.below(levels(twin)), random.below(tokens));
        Seed::Field { level, token, vector: random.normals(d) }
    };
    (0..1 + random.below(3)).map(|_| field(random)).collect()
}

/// Draws a superposition of sources at up to three places of the field.
pub(super) fn sources(twin: &Twin, tokens: usize, random: &mut Random) -> Vec<Source> {
    let at = |random: &mut Random| {
        let (level, token) = (random.below(levels(twin)), random.below(tokens));
        source(twin, Site::level(level, &twin.sizes()), token, random)
    };
    (0..1 + random.below(3)).map(|_| at(random)).collect()
}

/// Returns `<u, J v>` and `<J^T u, v>` over the places of the seeds u and of the sources v, and the size of the terms.
fn sides(linear: &Linearization<'_>, seeds: &[Seed], sources: &[Source]) -> [f64; 3] {
    let (sizes, tokens) = (linear.run().model().sizes(), linear.run().tokens().len());
    let d = sizes.d;
    let response = linear.jvp(&[sources]).expect("runs").into_single();
    let chi = linear.vjp(&[seeds]).expect("runs").into_single();
    let (mut forward, mut backward, mut size) = (0.0, 0.0, 0.0);
    for seed in seeds {
        let Seed::Field { level, token, vector } = seed else { continue };
        let here = &response[(level * tokens + token) * d..][..d];
        forward += dot(vector, here);
        size += norm(vector) * norm(here);
    }
    for Source { site, token, vector } in sources {
        let level = (0..=sizes.layers).find(|&l| Site::level(l, sizes) == *site).expect("a level");
        backward += dot(&chi[(level * tokens + token) * d..][..d], vector);
    }
    [forward, backward, size]
}

#[test]
fn vjp_is_the_transpose_of_jvp() {
    let mut worst = Worst::new("model.adjoint");
    for (twin, tokens) in cases() {
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            let linear = run.linearize(Mode::Exact);
            let (mut random, mut connected) = (Random::new(9), 0);
            for case in 0..24 {
                let (u, v) = (seeds(&twin, tokens.len(), &mut random), sources(&twin, tokens.len(), &mut random));
                let [forward, backward, size] = sides(&linear, &u, &v);
                if size == 0.0 {
                    assert_eq!((forward, backward), (0.0, 0.0), "no path leads from one to the other");
                    continue;
                }
                connected += 1;
                worst.within(case, on.name(), (forward - backward).abs() / size, tolerance::ADJOINT);
            }
            assert!(connected > 5, "only {connected} pairs are connected");
        }
    }
}

fn check_batch(worst: &mut Worst, by: &str, batch: &Fields, alone: &[Vec<f32>]) {
    assert_eq!(batch.len(), alone.len());
    for (k, alone) in alone.iter().enumerate() {
        worst.within(k, by, relative(&wide(batch.get(k)), &wide(alone)), tolerance::BATCH);
    }
}

#[test]
fn batches_match_single_sequences() {
    let mut worst = ["batch.jvp", "batch.vjp"].map(Worst::new);
    for (twin, tokens) in cases() {
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            let linear = run.linearize(Mode::Exact);
            for count in [1, 3, 17] {
                let mut random = Random::new(count as u64);
                let kinds = kinds(&twin);
                // Sources inside the blocks, alone and together with others.
                let v: Vec<Vec<Source>> = (0..count)
                    .map(|k| {
                        let token = random.below(tokens.len());
                        let inside = source(&twin, kinds[k % kinds.len()], token, &mut random);
                        let more = if k % 2 == 0 { Vec::new() } else { sources(&twin, tokens.len(), &mut random) };
                        more.into_iter().chain([inside]).collect()
                    })
                    .collect();
                let u: Vec<Vec<Seed>> = (0..count)
                    .map(|k| {
                        let (position, id) = (random.below(tokens.len()), (k % 5) as u32);
                        let mut seeds = seeds(&twin, tokens.len(), &mut random);
                        if k % 3 > 0 {
                            seeds.push(Seed::Logit { position, id, weight: random.normal() });
                        }
                        if k % 3 > 1 { seeds.split_off(seeds.len() - 1) } else { seeds }
                    })
                    .collect();
                let each = |k: usize| linear.jvp(&v[k..=k]).expect("runs").into_single();
                let alone: Vec<Vec<f32>> = (0..count).map(each).collect();
                check_batch(&mut worst[0], on.name(), &linear.jvp(&v).expect("runs"), &alone);
                let each = |k: usize| linear.vjp(&u[k..=k]).expect("runs").into_single();
                let alone: Vec<Vec<f32>> = (0..count).map(each).collect();
                check_batch(&mut worst[1], on.name(), &linear.vjp(&u).expect("runs"), &alone);
            }
        }
    }
}

/// An empty batch gives an empty result, and an empty sequence of a batch gives zeros.
#[test]
fn empty_batches_and_sequences() {
    let twin = Twin::small();
    for on in subjects() {
        let run = prepared(&twin, on, &[1, 2, 3], &[]);
        let linear = run.linearize(Mode::Exact);
        assert!(linear.jvp::<Vec<Source>>(&[]).expect("runs").is_empty());
        assert!(linear.vjp::<Vec<Seed>>(&[]).expect("runs").is_empty());
        let mut random = Random::new(1);
        let both = [Vec::new(), vec![source(&twin, Site::ResidPre(0), 1, &mut random)]];
        let fields = linear.jvp(&both).expect("runs");
        assert!(fields.get(0).iter().all(|x| *x == 0.0) && fields.get(1).iter().any(|x| *x != 0.0));
        let both = [seeds(&twin, 3, &mut random), Vec::new()];
        let fields = linear.vjp(&both).expect("runs");
        assert!(fields.get(1).iter().all(|x| *x == 0.0) && fields.get(0).iter().any(|x| *x != 0.0));
    }
}

/// Returns the first level that a source at `site` reaches at its own token, and the first that it reaches at later
/// tokens.
pub(super) fn reach(site: Site) -> (usize, usize) {
    let l = site.layer();
    match site {
        Site::ResidPre(_) | Site::Embed | Site::PosEmbed => (l, l + 1),
        Site::ResidPost(_) => (l + 1, l + 2),
        // Later tokens of the same block depend on keys and values only.
        Site::K(..) | Site::V(..) => (l + 1, l + 1),
        _ => (l + 1, l + 2),
    }
}

/// Outside of the causal cone every element is zero, bit for bit; inside, no row is zero.
#[test]
fn responses_stay_in_their_cone() {
    for (twin, tokens) in cases() {
        let (d, t) = (twin.config.n_embd, tokens.len());
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            let linear = run.linearize(Mode::Exact);
            let mut random = Random::new(4);
            // All sources are in one batch, so that each sequence is beside others that reach further. The first token
            // is left out: its only key has weight 1 for any query and key.
            let batch: Vec<[Source; 1]> = twin
                .sites()
                .into_iter()
                .map(|site| {
                    let token = 1 + random.below(t - 1);
                    [source(&twin, site, token, &mut random)]
                })
                .collect();
            let fields = linear.jvp(&batch).expect("runs");
            for (k, [source]) in batch.iter().enumerate() {
                let (own, later) = reach(source.site);
                for (i, row) in fields.get(k).chunks(d).enumerate() {
                    let (level, token) = (i / t, i % t);
                    let inside = (token == source.token && level >= own) || (token > source.token && level >= later);
                    let zero = row.iter().all(|x| x.to_bits() == 0);
                    assert_eq!(zero, !inside, "{}: {} at {}: {level},{token}", on.name(), source.site, source.token);
                }
            }
        }
    }
}

#[test]
fn sensitivities_stay_in_their_cone() {
    for (twin, tokens) in cases() {
        let (d, t) = (twin.config.n_embd, tokens.len());
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            let mut random = Random::new(6);
            let mut batch: Vec<[Seed; 1]> = Vec::new();
            for level in 0..levels(&twin) {
                batch.push([Seed::Field { level, token: random.below(t), vector: random.normals(d) }]);
            }
            batch.push([Seed::Logit { position: t / 2, id: 3, weight: 1.0 }]);
            let fields = run.linearize(Mode::Exact).vjp(&batch).expect("runs");
            for (k, [seed]) in batch.iter().enumerate() {
                let (top, at) = match seed {
                    Seed::Field { level, token, .. } => (*level, *token),
                    Seed::Logit { position, .. } => (twin.config.n_layer, *position),
                    Seed::Observable(j) => (j.level(&twin.sizes()), j.position()),
                };
                for (i, row) in fields.get(k).chunks(d).enumerate() {
                    let (level, token) = (i / t, i % t);
                    let inside = (level == top && token == at) || (level < top && token <= at);
                    let zero = row.iter().all(|x| x.to_bits() == 0);
                    assert_eq!(zero, !inside, "{}: {seed:?}: {level},{token}", on.name());
                }
            }
        }
    }
}
