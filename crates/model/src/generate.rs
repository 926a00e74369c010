//! Generation: a prompt is continued token by token, under edits.
//!
//! The prompt takes one forward pass, and each new token a pass of one row over the [keys and values](KeyValueCache) of
//! the tokens before it.

use resolvent_engine::stepped;

use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::key_values::KeyValueCache;
use crate::model::Model;
use crate::prompt::check_prompt;
use crate::random::uniform;

/// Selects each next token.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 selects the most likely token ("greedy").
    pub temperature: f64,
    /// Samples among so many most likely tokens only.
    pub top_k: Option<usize>,
    /// Samples among the fewest most likely tokens whose probability together reaches this.
    pub top_p: Option<f64>,
    /// Seed of the samples.
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None, seed: 0 }
    }
}

impl Sampling {
    /// Checks the options.
    fn check(&self) -> Result<()> {
        let fail = |text: String| Err(Error::Place(text));
        match self {
            Self { temperature: t, .. } if !t.is_finite() || *t < 0.0 => {
                fail(format!("invalid temperature {t}: expected a finite number, 0 for the most likely token"))
            }
            Self { top_k: Some(0), .. } => fail("invalid top_k 0: expected 1 or more tokens".to_owned()),
            Self { top_p: Some(p), .. } if !(*p > 0.0 && *p <= 1.0) => {
                fail(format!("invalid top_p {p}: expected a probability above 0, at most 1"))
            }
            _ => Ok(()),
        }
    }

    /// Selects a token by its logits `[V]`; `step` counts the tokens of a continuation. Of equal logits the lower id is
    /// first.
    fn select(&self, logits: &[f32], step: u64) -> u32 {
        let falling = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
        if self.temperature == 0.0 {
            return (0..logits.len()).min_by(falling).unwrap_or(0) as u32;
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_unstable_by(falling);
        order.truncate(self.top_k.unwrap_or(usize::MAX));
        let most = f64::from(logits[order[0]]);
        let weight = |&id: &usize| ((f64::from(logits[id]) - most) / self.temperature).exp();
        let mut weights: Vec<f64> = order.iter().map(weight).collect();
        if let Some(share) = self.top_p {
            let goal = share * weights.iter().sum::<f64>();
            let mut sum = 0.0;
            let short = weights.iter().take_while(|w| {
                sum += **w;
                sum < goal
            });
            let count = short.count() + 1;
            weights.truncate(count);
        }
        let mut rest = uniform(self.seed, step) * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|w| {
            rest -= w;
            rest <= 0.0
        });
        order[chosen.unwrap_or(weights.len() - 1)] as u32
    }
}

impl Model {
    /// Continues a prompt by up to `count` tokens, and returns the new tokens. It ends after a token of `stop`.
    ///
    /// Edits are at tokens of the prompt. New tokens read the keys and values that these edits changed.
    ///
    /// # Errors
    /// Invalid options, a prompt that does not leave room for `count` tokens, an edit that does not fit, or a device
    /// error.
    pub fn generate(
        &self,
        prompt: &[u32],
        edits: &[Edit],
        (count, stop): (usize, &[u32]),
        sampling: &Sampling,
    ) -> Result<Vec<u32>> {
        sampling.check()?;
        check_prompt(self.sizes(), prompt)?;
        let (have, room) = (prompt.len(), self.sizes().n_ctx);
        if count > room - have {
            return Err(Error::Prompt {
                message: format!(
                    "{count} tokens after a prompt of {have} exceed the {room} positions of the model: ask for at most {}",
                    room - have
                ),
            });
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let (mut new, mut cache) = (Vec::with_capacity(count), KeyValueCache::new(self, prompt, edits)?);
        for step in stepped("new tokens", (0..count).collect(), |_| 1) {
            if let Some(&last) = new.last() {
                cache.push(last)?;
            }
            let token = sampling.select(&cache.logits()?, step as u64);
            new.push(token);
            if stop.contains(&token) {
                break;
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{RandomWeights, tiny};
    use crate::site::Site;
    use resolvent_engine::Device;

    const LOGITS: [f32; 4] = [1.0, 3.0, 2.0, 3.0];

    fn model() -> Model {
        Model::random(&Device::host(), tiny(), RandomWeights::new(7).with_std(0.15)).expect("a model")
    }

    fn sampled(sampling: &Sampling) -> Vec<f64> {
        let (n, mut counts) = (20_000u64, [0.0; 4]);
        (0..n).for_each(|step| counts[sampling.select(&LOGITS, step) as usize] += 1.0 / n as f64);
        counts.to_vec()
    }

    #[test]
    fn the_most_likely_token_is_selected() {
        assert_eq!(Sampling::default().select(&LOGITS, 0), 1);
        let one = Sampling { temperature: 1.0, top_k: Some(1), ..Sampling::default() };
        let few = Sampling { temperature: 1.0, top_p: Some(1e-9), ..Sampling::default() };
        assert!((0..99).all(|step| one.select(&LOGITS, step) == 1 && few.select(&LOGITS, step) == 1));
    }

    #[test]
    fn samples_follow_the_probabilities() {
        // Standard errors are at most 0.5 / sqrt(20 000) = 0.0036.
        for (temperature, top_k, top_p) in
            [(1.0, None, None), (0.5, None, None), (2.0, Some(3), None), (1.0, None, Some(0.9))]
        {
            let weights = LOGITS.map(|x| (f64::from(x) / temperature).exp());
            let included = |id: usize| match (top_k, top_p) {
                (Some(_), _) => id != 0,
                // Together 0.83 of the three most likely without the third, 0.95 with it.
                (_, Some(_)) => id != 0,
                _ => true,
            };
            let sum: f64 = (0..4).filter(|&id| included(id)).map(|id| weights[id]).sum();
            let found = sampled(&Sampling { temperature, top_k, top_p, seed: 5 });
            for id in 0..4 {
                let want = if included(id) { weights[id] / sum } else { 0.0 };
                assert!((found[id] - want).abs() < 0.02, "{temperature} {top_k:?} {top_p:?}: {found:?}, {id}: {want}");
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_tokens() {
        let (model, sampling) = (model(), Sampling { temperature: 1.5, ..Sampling::default() });
        let of =
            |seed| model.generate(&[3, 1, 4], &[], (12, &[]), &Sampling { seed, ..sampling.clone() }).expect("tokens");
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn each_token_is_that_of_a_run_under_the_edits() {
        let model = model();
        let edits = [Edit::scale(Site::ResidPre(1), 2, -3.0)];
        let greedy = |edits: &[Edit], stop: &[u32]| {
            model.generate(&[3, 1, 4], edits, (6, stop), &Sampling::default()).expect("tokens")
        };
        let found = greedy(&edits, &[]);
        let mut tokens = vec![3, 1, 4];
        for token in &found {
            let run = model.run(&tokens, &edits).expect("a run");
            let logits = run.logits_at(tokens.len() - 1).expect("logits");
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("a vocabulary");
            assert_eq!(*token as usize, best);
            tokens.push(*token);
        }
        assert_eq!(found.len(), 6);
        assert_ne!(found, greedy(&[], &[]));
        assert_eq!(greedy(&edits, &found[..1]), found[..1]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let model = model();
        let error = |prompt: &[u32], count, sampling: Sampling| {
            model.generate(prompt, &[], (count, &[]), &sampling).expect_err("refused").to_string()
        };
        let warm = Sampling { temperature: 1.0, ..Sampling::default() };
        for (found, part) in [
            (error(&[1; 60], 5, Sampling::default()), "ask for at most 4"),
            (error(&[], 5, Sampling::default()), "the prompt is empty"),
            (error(&[1], 1, Sampling { temperature: f64::NAN, ..Sampling::default() }), "invalid temperature NaN"),
            (error(&[1], 1, Sampling { top_k: Some(0), ..warm.clone() }), "invalid top_k 0"),
            (error(&[1], 1, Sampling { top_p: Some(1.5), ..warm }), "invalid top_p 1.5"),
        ] {
            assert!(found.contains(part), "{found}");
        }
    }
}
