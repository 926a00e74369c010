//! The mean size of the Green operator over depth and distance, against the reference's Jacobian.

use resolvent_field::{Probes, reach};
use resolvent_model::{PromptCase, Site, Source};
use resolvent_tests::{Twin, subjects, tangents};

use super::{array, close};

const PROMPTS: [&[u32]; 2] = [&[3, 14, 15, 9], &[2, 7, 1]];
const D: usize = 18;
const LEVELS: usize = 3;

fn cases() -> Vec<PromptCase> {
    let case = |tokens: &&[u32]| PromptCase {
        name: format!("{} tokens", tokens.len()),
        clean: tokens.to_vec(),
        corrupted: None,
        observable: None,
        roles: [].into(),
        edits: Vec::new(),
    };
    PROMPTS.iter().map(case).collect()
}

/// Returns `|G|^2 / d` of the reference for all pairs of places of a prompt: source, then target, as `level T + token`.
fn squares(twin: &Twin, tokens: &[u32]) -> Vec<Vec<f64>> {
    let count = tokens.len();
    let of_place = |place: usize| {
        let mut sum = vec![0.0; LEVELS * count];
        for i in 0..D {
            let vector = (0..D).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
            let site = Site::level(place / count, &twin.sizes());
            let field = tangents(&twin.tangent(tokens, &[], &[Source { site, token: place % count, vector }]).field);
            for (sum, row) in sum.iter_mut().zip(field.chunks(D)) {
                *sum += row.iter().map(|x| x * x).sum::<f64>() / D as f64;
            }
        }
        sum
    };
    (0..LEVELS * count).map(of_place).collect()
}

/// Returns the mean and the standard deviation over all places that have the offset.
fn moments(squares: &[Vec<f64>], tokens: usize, (depth, distance): (usize, usize)) -> (f64, f64) {
    let places = (0..LEVELS - depth).flat_map(|l| (0..tokens - distance).map(move |t| l * tokens + t));
    let all: Vec<f64> = places.map(|place| squares[place][place + depth * tokens + distance]).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    (mean, (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt())
}

#[test]
fn gains_are_those_of_the_jacobian() {
    let twin = Twin::small();
    let reference: Vec<Vec<Vec<f64>>> = PROMPTS.iter().map(|tokens| squares(&twin, tokens)).collect();
    let offsets = || (0..LEVELS).flat_map(|depth| (0..4).map(move |distance| (depth, distance)));
    let mean = |offset: (usize, usize)| {
        let with = PROMPTS.iter().zip(&reference).filter(|(tokens, _)| tokens.len() > offset.1);
        let each: Vec<f64> = with.map(|(tokens, of)| moments(of, tokens.len(), offset).0).collect();
        each.iter().sum::<f64>() / each.len() as f64
    };
    let gain: Vec<f64> = offsets().map(|offset| mean(offset).sqrt()).collect();
    let across: Vec<f64> = offsets().map(|(depth, distance)| mean((depth, distance)) / mean((depth, 0))).collect();
    for on in subjects() {
        let model = twin.on(on);
        let got = reach(&model, &cases(), Probes::Exact, &mut |_, _| {}).unwrap_or_else(|e| panic!("{e}"));
        close(&array(&got, "gain"), &gain, 1e-5, &format!("{} gain", on.name()));
        close(&array(&got, "across"), &across, 1e-5, &format!("{} across", on.name()));
        assert_eq!(array(&got, "prompts_at"), [2.0, 2.0, 2.0, 1.0]);
        // A source is itself at its own place, and nothing else is at its level.
        let own = array(&got, "gain");
        assert!((own[0] - 1.0).abs() < 1e-6 && own[1..4] == [0.0; 3], "{}: {own:?}", on.name());
        let error = array(&got, "error");
        let [a, b] = [0, 1].map(|n| moments(&reference[n], PROMPTS[n].len(), (1, 1)).0);
        assert!((error[5] - (a - b).abs() / 2.0 / (2.0 * gain[5])).abs() < 1e-5, "{}: {}", on.name(), error[5]);
        assert_eq!(error[7], 0.0);

        let one = reach(&model, &cases()[..1], Probes::Exact, &mut |_, _| {}).expect("measures");
        let (own, deviation) = moments(&reference[0], 4, (1, 1));
        assert!((array(&one, "spread")[5] - deviation / own).abs() < 1e-5, "{}", on.name());
        let others: f64 = (1..4).map(|x| moments(&reference[0], 4, (1, x)).0).sum();
        let share = others / (others + moments(&reference[0], 4, (1, 0)).0);
        assert!((array(&one, "others")[1] - share).abs() < 1e-5, "{}", on.name());
        let of_level: f64 = (0..2).map(|t| reference[0][4 + t][8 + t + 2]).sum::<f64>() / 2.0;
        assert!((array(&one, "by_level")[(LEVELS + 2) * 4 + 2] - of_level.sqrt()).abs() < 1e-5, "{}", on.name());
        assert!(one.array("error").is_none());
    }
}

/// Estimates come close to the exact gains, and other seeds give others.
#[test]
fn estimates_are_close() {
    let twin = Twin::small();
    for on in subjects() {
        let model = twin.on(on);
        let of = |probes| array(&reach(&model, &cases(), probes, &mut |_, _| {}).expect("measures"), "gain");
        let exact = of(Probes::Exact);
        let [a, b] = [0, 1000].map(|seed| of(Probes::Hutchinson(64, seed)));
        close(&a, &exact, 0.05, on.name());
        assert!(a.iter().zip(&b).any(|(a, b)| (a - b).abs() > 1e-4), "{}", on.name());
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let twin = Twin::small();
    let model = twin.on(subjects()[0]);
    let error = |cases: &[PromptCase], probes| {
        reach(&model, cases, probes, &mut |_, _| {}).expect_err("does not fit").to_string()
    };
    assert!(error(&cases(), Probes::Hutchinson(1, 0)).contains("take two or more"));
    assert!(error(&[], Probes::Exact).contains("there are no prompts"));
    let mut wrong = cases();
    wrong[1].clean[0] = 99_999;
    let left = reach(&model, &wrong, Probes::Exact, &mut |_, _| {}).expect("one is left");
    assert!(left.metadata["left_out"].contains("token 99999") && left.metadata["prompts"] == "1");
}
