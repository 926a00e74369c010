//! GPT-2 small's shape within WebGPU's default limits: its vocabulary of 147 MiB is more than one binding holds.

use std::time::Instant;

use resolvent_field::forward;
use resolvent_model::{Model, gpt2_small};
use resolvent_tests::{Labelled, Random, Worst, subjects, tolerance};

#[test]
fn gpt2_small_runs_within_default_limits() {
    let mut worst = ["gpt2.field", "gpt2.logits"].map(Worst::new);
    let tokens = Random::new(1).ids(64, gpt2_small().vocab_size);
    let mut host: Vec<Labelled> = Vec::new();
    for on in subjects() {
        let start = Instant::now();
        let fail = |e: &dyn std::fmt::Display| -> ! { panic!("{}: {e}", on.name()) };
        let model = Model::named(on.device(), "random-gpt2:3").unwrap_or_else(|e| fail(&e));
        let opened = start.elapsed().as_secs_f64();
        let run = model.run(&tokens[..16], &[]).unwrap_or_else(|e| fail(&e));
        let got = [run.field(), run.logits()].map(|x| on.label(&x.unwrap_or_else(|e| fail(&e))));
        println!("{}: opened in {opened:.1} s, 16 tokens by {:.1} s", on.name(), start.elapsed().as_secs_f64());
        if on.is_host() {
            let run = model.run(&tokens, &[]).unwrap_or_else(|e| fail(&e));
            // Carries the check that the last row alone gives the same logit.
            let result = forward(&run, true).unwrap_or_else(|e| fail(&e));
            assert_eq!(result.array("field").map(|a| a.data.len()), Some(13 * 64 * 768));
            host = got.into();
            continue;
        }
        for ((got, want), worst) in got.iter().zip(&host).zip(&mut worst) {
            worst.check("16 tokens", got, want, tolerance::MODEL);
        }
    }
}
