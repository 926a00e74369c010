//! Whole analyses of a model with GPT-2 small's shape and seeded weights.
//!
//! - forward: the whole prompt, with all logits or with two logits of the last token.
//! - sensitivity: all levels of one observable, in every mode.
//! - responses, jets, products: of eight sources at once, to first order (in every mode), to second order, and with the
//!   Hessian. product: of one source.
//! - sweep: every place of a patch sweep, its two base runs included. The other analyses do not include the forward
//!   pass.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use resolvent_benches::devices;
use resolvent_model::{Edit, Mode, Model, Observable, Result, Run, Site, Source, gaussian};

fn tokens(count: usize, seed: u32) -> Vec<u32> {
    (0..count as u32).map(|i| (i * 7919 + seed * 104_729) % 50_257).collect()
}

fn bench(c: &mut Criterion) {
    for (name, device) in devices() {
        let model = Model::named(&device, "random-gpt2").expect("GPT-2 small fits the default limits");
        for count in [16, 64] {
            let (prompt, other) = (tokens(count, 1), tokens(count, 2));
            let j = Observable::logit_diff(10, 20, count - 1);
            let id = format!("{name}, T={count}");
            let mut group = c.benchmark_group("model");
            group.sample_size(10);
            group.bench_function(BenchmarkId::new("forward, all logits", &id), |b| {
                b.iter(|| model.run(&prompt, &[])?.logits());
            });
            group.bench_function(BenchmarkId::new("forward, two logits", &id), |b| {
                b.iter(|| model.run(&prompt, &[])?.value(&j));
            });
            let run = model.run(&prompt, &[]).expect("the prompt fits");
            group.bench_function(BenchmarkId::new("sensitivity", &id), |b| {
                b.iter(|| run.linearize(Mode::Exact).gradient(&j));
            });
            let sources: Vec<[Source; 1]> = (0..8)
                .map(|k| [Source { site: Site::ResidPre(0), token: k, vector: gaussian(k as u64, 768) }])
                .collect();
            group.bench_function(BenchmarkId::new("responses of 8", &id), |b| {
                b.iter(|| run.linearize(Mode::Exact).jvp(&sources));
            });
            group.bench_function(BenchmarkId::new("jets of 8", &id), |b| {
                b.iter(|| run.linearize(Mode::Exact).jet(&sources));
            });
            group.bench_function(BenchmarkId::new("product", &id), |b| {
                b.iter(|| run.linearize(Mode::Exact).hvp(&sources[..1], &j));
            });
            group.bench_function(BenchmarkId::new("products of 8", &id), |b| {
                b.iter(|| run.linearize(Mode::Exact).hvp(&sources, &j));
            });
            for mode in &Mode::ALL[1..] {
                group.bench_function(BenchmarkId::new(format!("sensitivity, {mode:?}"), &id), |b| {
                    b.iter(|| run.linearize(*mode).gradient(&j));
                });
                group.bench_function(BenchmarkId::new(format!("responses of 8, {mode:?}"), &id), |b| {
                    b.iter(|| run.linearize(*mode).jvp(&sources));
                });
            }
            // The sweep at 64 tokens takes a minute on a software GPU.
            if count == 16 {
                group.bench_function(BenchmarkId::new("sweep", &id), |b| {
                    b.iter(|| sweep(&model.run(&prompt, &[])?, &model.run(&other, &[])?, &j));
                });
            }
            group.finish();
        }
    }
}

fn sweep(clean: &Run, corrupted: &Run, j: &Observable) -> Result<Vec<f64>> {
    let (sizes, tokens) = (clean.model().sizes(), clean.tokens().len());
    let (field, d) = (clean.field()?, sizes.d);
    let places = (0..sizes.layers).flat_map(|level| (0..tokens).map(move |t| (level, t)));
    let edits: Vec<[Edit; 1]> = places
        .map(|(level, t)| {
            let value = field[(level * tokens + t) * d..][..d].to_vec();
            [Edit::put(Site::ResidPre(level), t, value)]
        })
        .collect();
    corrupted.values_under(&edits, j)
}

criterion_group!(model, bench);
criterion_main!(model);
