//! Tangents, cotangents and edited runs read at any site, against the reference.

use resolvent_model::{Chunk, Mode, Observable, Run, Site, Source};
use resolvent_tests::truth::wide;
use resolvent_tests::{Labelled, Random, Twin, Worst, observed, subjects, tolerance};

use super::{changes, kinds, prepared, source};

const TOKENS: [u32; 6] = [3, 14, 15, 9, 2, 6];

/// Gathers the chunks of a pass by sequence and site, `[T, width]`; rows without a chunk are zero.
fn gather(
    run: &Run,
    sequences: usize,
    sites: &[Site],
    pass: impl FnOnce(&mut dyn FnMut(Chunk<'_>)),
) -> Vec<Vec<Vec<f32>>> {
    let config = run.model().sizes();
    let empty = |site: &Site| vec![0.0; TOKENS.len() * site.width(config)];
    let mut all: Vec<Vec<Vec<f32>>> = vec![sites.iter().map(empty).collect(); sequences];
    pass(&mut |chunk| {
        let width = sites[chunk.site].width(config);
        all[chunk.sequence][chunk.site][chunk.token * width..][..chunk.rows.len()].copy_from_slice(chunk.rows);
    });
    all
}

#[test]
fn tangents_at_every_site() {
    let mut worst = Worst::new("at_sites.jvp");
    let twin = Twin::small();
    let (mut random, sites) = (Random::new(5), twin.sites());
    let batch: Vec<Vec<Source>> =
        kinds(&twin).into_iter().map(|site| vec![source(&twin, site, random.below(6), &mut random)]).collect();
    for on in subjects() {
        let run = prepared(&twin, on, &TOKENS, &[]);
        let linear = run.linearize(Mode::Exact);
        let got = gather(&run, batch.len(), &sites, |visit| linear.jvp_at(&batch, &sites, visit).expect("fits"));
        for (sources, got) in batch.iter().zip(&got) {
            let trace = twin.tangent(&TOKENS, &[], sources);
            for (site, got) in sites.iter().zip(got) {
                let want: Vec<f64> = twin.capture_of(&trace, *site).iter().map(|x| x.tangent).collect();
                if want.iter().all(|x| *x == 0.0) {
                    assert!(got.iter().all(|x| *x == 0.0), "{sources:?} does not reach {site}");
                    continue;
                }
                worst.check(
                    format!("{sources:?} {site}"),
                    &on.label(got),
                    &Labelled::reference(want),
                    tolerance::MODEL,
                );
            }
        }
    }
}

/// `<chi at a site, s>` equals the tangent of J along a source s there.
#[test]
fn cotangents_at_every_site() {
    let mut worst = Worst::new("at_sites.vjp");
    let twin = Twin::small();
    let sites = twin.sites();
    let mut random = Random::new(6);
    let vectors: Vec<(usize, Vec<f32>)> =
        sites.iter().map(|site| (random.below(5), random.normals(site.width(&twin.sizes())))).collect();
    for j in [Observable::logit_diff(4, 20, 4), Observable::log_prob(4, 5) - Observable::prob(&[3, 9], 2)] {
        for on in subjects() {
            let run = prepared(&twin, on, &TOKENS, &[]);
            let (linear, seeds) = (run.linearize(Mode::Exact), run.seeds(&j).expect("fits"));
            let chi = &gather(&run, 1, &sites, |visit| linear.vjp_at(&[seeds], &sites, visit).expect("fits"))[0];
            for ((site, chi), (token, s)) in sites.iter().zip(chi).zip(&vectors) {
                let sources = [Source { site: *site, token: *token, vector: s.clone() }];
                let want = observed::read(&j, &twin.tangent(&TOKENS, &[], &sources)).tangent;
                let here = &chi[token * s.len()..][..s.len()];
                let got: f64 = wide(here).iter().zip(s).map(|(c, s)| c * f64::from(*s)).sum();
                let size = wide(here).iter().map(|c| c * c).sum::<f64>().sqrt() * (s.len() as f64).sqrt();
                if size == 0.0 {
                    assert_eq!(want, 0.0, "{j:?} does not depend on {site} at {token}");
                    continue;
                }
                worst.within(format!("{j:?} {site}"), on.name(), (got - want).abs() / size, tolerance::MODEL);
            }
        }
    }
}

/// Every site of a batch of edited runs.
#[test]
fn edited_runs_at_every_site() {
    let mut worst = Worst::new("at_sites.edited");
    let twin = Twin::small();
    let (mut random, sites) = (Random::new(9), twin.sites());
    let base = changes(&twin, TOKENS.len(), 2, &mut random);
    let variants: Vec<_> = (0..8).map(|n| changes(&twin, TOKENS.len(), 1 + n % 3, &mut random)).collect();
    for on in subjects() {
        let run = prepared(&twin, on, &TOKENS, &base);
        let captured: Vec<Vec<f32>> = sites.iter().map(|s| run.capture(*s).expect("captured")).collect();
        let mut got = vec![captured; variants.len()];
        run.fields_under(&variants, &sites, &mut |chunk| {
            let width = sites[chunk.site].width(&twin.sizes());
            got[chunk.sequence][chunk.site][chunk.token * width..][..chunk.rows.len()].copy_from_slice(chunk.rows);
        })
        .unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        for (edits, got) in variants.iter().zip(&got) {
            let trace = twin.primal(&TOKENS, &[&base[..], edits].concat());
            for (site, got) in sites.iter().zip(got) {
                let want = Labelled::reference(twin.capture(&trace, *site));
                worst.check(format!("{edits:?} {site}"), &on.label(got), &want, tolerance::MODEL);
            }
        }
    }
}
