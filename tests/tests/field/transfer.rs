//! Transfer of displacements: the reference's fractions, exact cases, and the controls.

use resolvent_field::{TransferOptions, transfer};
use resolvent_model::{Edit, Observable, Site};
use resolvent_tests::{Twin, subjects};

use super::{array, close, run, truth};

const PROMPT: [u32; 5] = [3, 14, 15, 9, 2];
const DONOR: [u32; 5] = [3, 7, 15, 11, 2];

#[test]
fn fractions_are_those_of_the_reference() {
    let twin = Twin::small();
    let (j, d) = (Observable::logit_diff(4, 20, 4), twin.config.n_embd);
    let (from, to) = (truth(&twin, &PROMPT, &[], &j), truth(&twin, &DONOR, &[], &j));
    let (here, there) = (twin.primal(&PROMPT, &[]).field, twin.primal(&DONOR, &[]).field);
    for scale in [1.0, -0.5] {
        let mut want = Vec::new();
        for level in 0..=twin.config.n_layer {
            for token in 0..PROMPT.len() {
                let at = (level * PROMPT.len() + token) * d..(level * PROMPT.len() + token + 1) * d;
                let step = there[at.clone()].iter().zip(&here[at]).map(|(q, p)| (scale * (q - p)) as f32);
                let edit = Edit::add(Site::level(level, &twin.sizes()), token, step.collect());
                want.push((truth(&twin, &PROMPT, &[edit], &j) - from) / (to - from));
            }
        }
        for on in subjects() {
            let (prompt, donor) = (run(&twin, on, &PROMPT), run(&twin, on, &DONOR));
            let options = TransferOptions { scale: scale as f32, ..Default::default() };
            let got = transfer(&prompt, &donor, &j, &[], &options).expect("computes");
            close(&array(&got, "fraction"), &want, 3e-5, "fraction");
            close(&array(&got, "value"), &[from, to], 1e-5, "value");
        }
    }
}

/// The first token is the same in both prompts, so that it transfers nothing. At the last level only the observable's
/// token transfers, and it transfers everything.
#[test]
fn fractions_of_zero_and_one_are_exact() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 3);
    for on in subjects() {
        let (prompt, donor) = (run(&twin, on, &PROMPT), run(&twin, on, &DONOR));
        let got = transfer(&prompt, &donor, &j, &[], &TransferOptions::default()).expect("computes");
        let fraction = array(&got, "fraction");
        assert_eq!([fraction[0], fraction[4], fraction[14]], [0.0; 3]);
        assert!((fraction[13] - 1.0).abs() < 1e-4, "{}", fraction[13]);
        // No other token of the last level transfers anything.
        assert_eq!(fraction[10..13], [0.0; 3]);
    }
}

/// For a linear model the fractions of each level's tokens add up to 1.
#[test]
fn fractions_of_a_linear_model_add_up() {
    let twin = Twin::linear(8);
    let j = Observable::logit_diff(4, 20, 4);
    for on in subjects() {
        let (prompt, donor) = (run(&twin, on, &PROMPT), run(&twin, on, &DONOR));
        let got = transfer(&prompt, &donor, &j, &[], &TransferOptions::default()).expect("computes");
        for level in array(&got, "fraction").chunks(PROMPT.len()) {
            assert!((level.iter().sum::<f64>() - 1.0).abs() < 1e-3, "{}: {level:?}", on.name());
        }
    }
}

#[test]
fn controls_have_the_displacements_length() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    for on in subjects() {
        let (prompt, donor) = (run(&twin, on, &PROMPT), run(&twin, on, &DONOR));
        let others = [run(&twin, on, &[5, 6, 7, 8, 9]), run(&twin, on, &[1, 14, 2, 9, 20])];
        let of = |seed: u64| {
            let options = TransferOptions { random: 4, seed, ..Default::default() };
            transfer(&prompt, &donor, &j, &others, &options).expect("computes")
        };
        let got = of(0);
        for name in ["random", "shuffled"] {
            let [mean, low, high] =
                [name.to_owned(), format!("{name}_low"), format!("{name}_high")].map(|n| array(&got, &n));
            let ordered = mean.iter().zip(&low).zip(&high).all(|((m, l), h)| l <= m && m <= h);
            assert!(ordered, "{name}");
            assert!(high.iter().zip(&low).any(|(h, l)| h - l > 1e-3), "{name} differ");
            // Without a displacement the controls are zero.
            assert_eq!([mean[0], low[0], high[0]], [0.0; 3], "{name}");
        }
        assert_eq!(array(&of(0), "random"), array(&got, "random"));
        assert_ne!(array(&of(100), "random"), array(&got, "random"));
        // With the donor as its control, the control equals the transfer.
        let own =
            transfer(&prompt, &donor, &j, std::slice::from_ref(&donor), &TransferOptions::default()).expect("computes");
        close(&array(&own, "shuffled"), &array(&own, "fraction"), 1e-5, "shuffled");
    }
}

#[test]
fn invalid_donors_are_refused() {
    let twin = Twin::small();
    let on = subjects()[0];
    let j = Observable::logit_diff(4, 20, 4);
    let (prompt, short) = (run(&twin, on, &PROMPT), run(&twin, on, &PROMPT[..4]));
    let refused = |donor, j: &Observable| {
        transfer(&prompt, donor, j, &[], &TransferOptions::default()).expect_err("refused").to_string()
    };
    assert!(refused(&short, &j).contains("4 tokens and the prompt 5"));
    assert!(refused(&prompt.clone(), &j).contains("nothing to transfer"));
}
