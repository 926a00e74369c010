//! Second order: jets of the field and of observables, against the reference's runs on duals of duals.

use resolvent_field::{dot, norm};
use resolvent_model::{Change, Distribution, Edit, Mode, Observable, Site, Source};
use resolvent_reference::{Dual, Trace};
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Labelled, Random, Twin, Worst, observed, orders, subjects, tolerance};

use super::batches::{cases, reach, sources};
use super::edited::{TOKENS, lists};
use super::{kinds, prepared, source};

/// Returns one source of every kind, then all of them together.
fn batch(twin: &Twin, tokens: usize, random: &mut Random) -> Vec<Vec<Source>> {
    let at = |site| vec![source(twin, site, random.below(tokens), random)];
    let mut batch: Vec<Vec<Source>> = kinds(twin).into_iter().map(at).collect();
    batch.push(batch.concat());
    batch
}

#[test]
fn jets_of_edited_runs() {
    let mut worst = ["edited.jet, first order", "edited.jet, second order"].map(Worst::new);
    let twin = Twin::small();
    for edits in lists(&twin, TOKENS.len()) {
        let batch = batch(&twin, TOKENS.len(), &mut Random::new(5));
        let truth: Vec<[Labelled; 2]> = batch
            .iter()
            .map(|sources| orders(&twin.jet(&TOKENS, &edits, sources).field).map(Labelled::reference))
            .collect();
        for on in subjects() {
            let run = prepared(&twin, on, &TOKENS, &edits);
            let jets = run.linearize(Mode::Exact).jet(&batch).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            for (k, truth) in truth.iter().enumerate() {
                let case = format!("{edits:?} {:?}", batch[k]);
                for (n, fields) in [&jets.first, &jets.second].into_iter().enumerate() {
                    if truth[n].values().iter().all(|x| *x == 0.0) {
                        assert!(fields.get(k).iter().all(|x| *x == 0.0), "{case}");
                        continue;
                    }
                    worst[n].check(&case, &on.label(fields.get(k)), &truth[n], tolerance::JETS);
                }
            }
        }
    }
}

/// A prompt that is longer than an attention tile, with many sources, including superpositions.
#[test]
fn jets_of_a_long_prompt() {
    let mut worst = ["long.jet, first order", "long.jet, second order"].map(Worst::new);
    let [_, (twin, tokens)] = cases();
    let mut random = Random::new(8);
    let batch: Vec<Vec<Source>> = (0..7).map(|_| sources(&twin, tokens.len(), &mut random)).collect();
    for on in subjects() {
        let run = prepared(&twin, on, &tokens, &[]);
        let jets = run.linearize(Mode::Exact).jet(&batch).expect("fits");
        for (k, sources) in batch.iter().enumerate() {
            let truth = orders(&twin.jet(&tokens, &[], sources).field).map(Labelled::reference);
            for (n, fields) in [&jets.first, &jets.second].into_iter().enumerate() {
                if truth[n].values().iter().any(|x| *x != 0.0) {
                    worst[n].check(k, &on.label(fields.get(k)), &truth[n], tolerance::JETS);
                }
            }
        }
    }
}

#[test]
fn jets_have_the_tangent_as_first_order_alone_and_in_a_batch() {
    let mut worst = ["jet against jvp", "batch.jet"].map(Worst::new);
    for (twin, tokens) in cases() {
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            let linear = run.linearize(Mode::Exact);
            let mut random = Random::new(10);
            let mut batch = batch(&twin, tokens.len(), &mut random);
            batch.extend((0..9).map(|_| sources(&twin, tokens.len(), &mut random)));
            let (jets, dots) = (linear.jet(&batch).expect("fits"), linear.jvp(&batch).expect("fits"));
            for k in 0..batch.len() {
                let apart = relative(&wide(jets.first.get(k)), &wide(dots.get(k)));
                worst[0].within(k, on.name(), apart, tolerance::MODEL);
                let alone = linear.jet(&batch[k..=k]).expect("fits");
                for (ours, alone) in [(&jets.first, alone.first), (&jets.second, alone.second)] {
                    let apart = relative(&wide(ours.get(k)), &wide(alone.get(0)));
                    worst[1].within(k, on.name(), apart, tolerance::BATCH);
                }
            }
            let nothing = linear.jet(&[Vec::<Source>::new()]).expect("fits");
            assert!([nothing.first, nothing.second].iter().all(|f| f.get(0).iter().all(|x| *x == 0.0)));
        }
    }
}

/// Returns the first level at which a source at `site` has a response of second order, at its own token and at later
/// ones.
///
/// There must be a layer norm, GELU or softmax in between.
fn second_order_reach(site: Site) -> (usize, usize) {
    let l = site.layer();
    match site {
        Site::ResidPre(_) | Site::Embed | Site::PosEmbed => (l + 1, l + 1),
        Site::ResidPost(_) | Site::MlpOut(_) | Site::MlpPost(_) => (l + 2, l + 2),
        Site::K(..) | Site::V(..) => (l + 1, l + 1),
        _ => (l + 1, l + 2),
    }
}

/// Outside of the causal cone every element of both orders is zero, bit for bit. The second order is also zero below
/// the first nonlinearity.
#[test]
fn jets_stay_in_their_cone() {
    for (twin, tokens) in cases() {
        let (d, t) = (twin.config.n_embd, tokens.len());
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            let mut random = Random::new(4);
            // The first token is left out: its only key has weight 1 for any query and key.
            let batch: Vec<[Source; 1]> = twin
                .sites()
                .into_iter()
                .map(|site| [source(&twin, site, 1 + random.below(t - 1), &mut random)])
                .collect();
            let jets = run.linearize(Mode::Exact).jet(&batch).expect("fits");
            for (k, [source]) in batch.iter().enumerate() {
                let fields = [(&jets.first, reach(source.site)), (&jets.second, second_order_reach(source.site))];
                for (order, (fields, (own, later))) in fields.into_iter().enumerate() {
                    for (i, row) in fields.get(k).chunks(d).enumerate() {
                        let (level, token) = (i / t, i % t);
                        let inside =
                            (token == source.token && level >= own) || (token > source.token && level >= later);
                        let zero = row.iter().all(|x| *x == 0.0);
                        let place = format!("{} at {}: {level},{token}", source.site, source.token);
                        assert_eq!(zero, !inside, "{}: order {}: {place}", on.name(), order + 1);
                        let reached = token >= source.token && level >= source.site.layer();
                        assert!(reached || row.iter().all(|x| x.to_bits() == 0), "{}: {place}", on.name());
                    }
                }
            }
        }
    }
}

pub(super) type Jet = Dual<Dual<f64>>;

/// Reads an observable from a reference run.
pub(super) type Reader = Box<dyn Fn(&Trace<Jet>) -> Jet>;

/// Returns observables of every kind, at the last token and in the middle, and sums of them at several tokens.
pub(super) fn observables(twin: &Twin, tokens: &[u32]) -> Vec<(Observable, Reader)> {
    let direction = Random::new(3).normals(twin.config.n_embd);
    let base = Distribution::of(&Random::new(4).normals(twin.config.vocab_size));
    let n = tokens.len();
    let mut all = Vec::new();
    for position in [n - 1, n / 2] {
        all.push(Observable::logit(7, position));
        all.push(Observable::logit_diff(7, 21, position));
        all.push(Observable::log_prob(7, position));
        all.push(Observable::prob(&[7, 3, 21], position));
        all.push(Observable::entropy(position));
        all.push(Observable::kl(base.clone(), position));
        all.push(Observable::kl_from(base.clone(), position));
    }
    for (level, token) in [(0, 1), (1, n - 1), (2, n - 2), (2, n - 1)] {
        all.push(Observable::projection(level, token, direction.clone()));
    }
    all.push(Observable::continuation(&[tokens[n - 2], tokens[n - 1], 5], n - 3));
    all.push(Observable::mean_logit_diff(&[1, 2, 3], &[4, 5], n - 1));
    all.push(0.5 * Observable::log_prob(3, n - 1) - 2.0 * Observable::logit(4, n - 3) + Observable::entropy(1));
    all.push(
        Observable::kl_from(base, n - 1) - Observable::projection(1, n - 2, direction) + Observable::prob(&[2], 0),
    );
    let reader = |j: &Observable| -> Reader {
        let j = j.clone();
        Box::new(move |trace| observed::read(&j, trace))
    };
    all.into_iter().map(|j| (j.clone(), reader(&j))).collect()
}

/// Values of every kind of observable, and their sensitivities along a source of all early places.
#[test]
fn values_and_sensitivities_of_observables() {
    let mut worst = ["observable.value", "observable.sensitivity"].map(Worst::new);
    let twin = Twin::small();
    let (d, n) = (twin.config.n_embd, TOKENS.len());
    let mut random = Random::new(11);
    let sources: Vec<Source> = (0..n).map(|token| source(&twin, Site::ResidPre(1), token, &mut random)).collect();
    let trace = twin.jet(&TOKENS, &[], &sources);
    for on in subjects() {
        let run = prepared(&twin, on, &TOKENS, &[]);
        for (j, read) in observables(&twin, &TOKENS) {
            let want = read(&trace);
            let value = run.value(&j).unwrap_or_else(|e| panic!("{j}: {e}"));
            let apart = (value - want.primal.primal).abs() / want.primal.primal.abs().max(1.0);
            worst[0].within(&j, on.name(), apart, tolerance::MODEL);
            let chi = run.linearize(Mode::Exact).gradient(&j).unwrap_or_else(|e| panic!("{j}: {e}"));
            let chi = &chi[n * d..2 * n * d];
            let s: Vec<f32> = sources.iter().flat_map(|source| source.vector.clone()).collect();
            let apart = (dot(chi, &s) - want.primal.tangent).abs() / (norm(chi) * norm(&s)).max(f64::MIN_POSITIVE);
            worst[1].within(&j, on.name(), apart, tolerance::MODEL);
        }
    }
}

#[test]
fn observables_along_sources() {
    let mut worst = ["along, first order", "along, second order"].map(Worst::new);
    let twin = Twin::small();
    // At a row of zeros, a norm multiplies tangents by 1 / sqrt(eps) = 316. The squares of the scores' tangents are
    // then 1e5 times larger than the second derivative that remains of them, and so is their rounding.
    let zeroes_a_row = |edits: &[Edit]| {
        edits.iter().any(|e| matches!(e.change, Change::Scale(0.0)) && e.site.width(&twin.sizes()) == twin.sizes().d)
    };
    for edits in lists(&twin, TOKENS.len()).into_iter().filter(|edits| !zeroes_a_row(edits)) {
        let mut random = Random::new(6);
        let mut batch = batch(&twin, TOKENS.len(), &mut random);
        batch.extend((0..5).map(|_| sources(&twin, TOKENS.len(), &mut random)));
        // Sources at the observable's own row, in the opposite order of their joins.
        for site in [Site::ResidPost(1), Site::ResidMid(0), Site::ResidPre(1), Site::ResidPre(0)] {
            batch.push(vec![source(&twin, site, TOKENS.len() - 1, &mut random)]);
        }
        batch.push(Vec::new());
        let traces: Vec<Trace<Jet>> = batch.iter().map(|s| twin.jet(&TOKENS, &edits, s)).collect();
        for on in subjects() {
            let run = prepared(&twin, on, &TOKENS, &edits);
            let linear = run.linearize(Mode::Exact);
            for (observable, read) in observables(&twin, &TOKENS) {
                let along = linear.along(&batch, &observable).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                let truth: Vec<Jet> = traces.iter().map(&read).collect();
                let truth = orders(&truth);
                let got = [along.iter().map(|a| a.first).collect(), along.iter().map(|a| a.second).collect()];
                let got: [Vec<f64>; 2] = got;
                for n in 0..2 {
                    let apart = relative(&got[n], &truth[n]);
                    let case = format!("{edits:?} {observable:?} {:?} {:?}", got[n], truth[n]);
                    worst[n].within(case, on.name(), apart, tolerance::JETS);
                    // A source that cannot reach J has derivatives of exactly zero.
                    for (got, truth) in got[n].iter().zip(&truth[n]) {
                        assert!(*truth != 0.0 || *got == 0.0, "{}: {observable:?}", on.name());
                    }
                }
            }
        }
    }
}

#[test]
fn invalid_sources_and_observables_are_refused() {
    let twin = Twin::small();
    for on in subjects() {
        let run = prepared(&twin, on, &TOKENS, &[]);
        let linear = run.linearize(Mode::Exact);
        let late = Source { site: Site::ResidPre(0), token: TOKENS.len(), vector: vec![0.0; 18] };
        let narrow = Source { site: Site::ResidPre(0), token: 0, vector: vec![0.0; 17] };
        let good = Source { site: Site::ResidPre(0), token: 0, vector: vec![1.0; 18] };
        for source in [late, narrow] {
            assert!(linear.jet(&[[source.clone()]]).is_err());
            assert!(linear.along(&[[source]], &Observable::logit(1, 0)).is_err());
        }
        assert!(linear.along(&[[good]], &Observable::logit(1, TOKENS.len())).is_err());
    }
}
