//! Several observables, and logits, of many edited runs at once: those of whole runs, one by one.

use resolvent_engine::counted;
use resolvent_model::{Edit, Observable, Run, Site};
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Random, Twin, Worst, subjects, tolerance};

use super::changes;

const TOKENS: usize = 9;

fn observables() -> Vec<Observable> {
    let last = Observable::logit_diff(4, 20, TOKENS - 1);
    vec![last.clone(), Observable::log_prob(7, 3), last - Observable::log_prob(2, TOKENS - 1)]
}

/// Draws lists of edits; some of them are after the positions that are read.
fn lists(twin: &Twin, random: &mut Random) -> Vec<Vec<Edit>> {
    (0..20).map(|n| changes(twin, TOKENS, n % 4, random)).collect()
}

fn base(twin: &Twin, on: &resolvent_tests::Subject) -> Run {
    super::prepared(twin, on, &Random::new(3).ids(TOKENS, 23), &[])
}

/// Returns the logits under each list at a position.
fn logits(run: &Run, lists: &[Vec<Edit>], position: usize) -> Vec<Vec<f32>> {
    let mut found = vec![Vec::new(); lists.len()];
    run.logits_under(lists, position, &mut |ids, logits| {
        let vocab = logits.len() / ids.len();
        for (&id, row) in ids.iter().zip(logits.chunks(vocab)) {
            assert!(found[id].is_empty(), "each list is visited once");
            found[id] = row.to_vec();
        }
    })
    .expect("runs");
    found
}

#[test]
fn several_observables_are_those_of_single_sweeps() {
    let twin = Twin::small();
    for on in subjects() {
        let (run, js) = (base(&twin, on), observables());
        let lists = lists(&twin, &mut Random::new(8));
        let all = run.values_under_each(&lists, &js).expect("runs");
        assert_eq!(all.len(), lists.len() * js.len());
        for (n, j) in js.iter().enumerate() {
            let one = run.values_under(&lists, j).expect("runs");
            for (list, (value, row)) in one.iter().zip(all.chunks(js.len())).enumerate() {
                assert!((value - row[n]).abs() < 1e-5, "{} {list} {n}: {value} {}", on.name(), row[n]);
            }
        }
        let distinct = all.chunks(js.len()).filter(|row| (row[0] - row[2]).abs() > 1e-3).count();
        assert!(distinct > 10, "the observables differ");
    }
}

/// Several observables cost one sweep.
#[test]
fn several_observables_cost_one_sweep() {
    let twin = Twin::small();
    for on in subjects() {
        let (run, js) = (base(&twin, on), observables());
        let lists: Vec<[Edit; 1]> = (0..8).map(|_| [Edit::scale(Site::ResidPre(0), 0, 0.5)]).collect();
        let last = [js[0].clone(), js[2].clone()];
        let together = counted(|| run.values_under_each(&lists, &last).expect("runs")).1.flops;
        let one = counted(|| run.values_under(&lists, &js[0]).expect("runs")).1.flops;
        assert!(together < 1.6 * one, "{} {together} {one}", on.name());
    }
}

#[test]
fn logits_are_those_of_whole_runs() {
    let (twin, mut worst) = (Twin::small(), Worst::new("model.logits_under"));
    for on in subjects() {
        let run = base(&twin, on);
        let lists = lists(&twin, &mut Random::new(8));
        for position in [TOKENS - 1, 3] {
            for (n, (found, edits)) in logits(&run, &lists, position).iter().zip(&lists).enumerate() {
                let whole = super::prepared(&twin, on, run.tokens(), edits).logits_at(position).expect("reads");
                worst.within(n, on.name(), relative(&wide(found), &wide(&whole)), tolerance::MODEL);
            }
        }
        // Edits of the last token do not reach an earlier one, and others do.
        let late = vec![vec![Edit::ablate(Site::ResidPre(0), TOKENS - 1)], vec![Edit::ablate(Site::ResidPre(0), 1)]];
        let (found, own) = (logits(&run, &late, 3), run.logits_at(3).expect("reads"));
        assert_eq!(found[0], own);
        assert!(relative(&wide(&found[1]), &wide(&own)) > 1e-3);
        let error = run.logits_under(&late, TOKENS, &mut |_, _| ()).expect_err("no such token").to_string();
        assert!(error.contains("the prompt has tokens 0 to 8"), "{error}");
    }
}
