//! Attention patterns: how much each token of each head attends to each earlier one.

use crate::error::Result;
use crate::run::Run;
use crate::site::Site;

impl Run {
    /// Returns the attention pattern of each head of block l, TransformerLens' `hook_pattern`: `[H, T, T]`, queries by keys.
    ///
    /// It is computed on the host from the queries and keys of the run, in f64. Each row sums to 1 over the keys that the
    /// query sees: its own and earlier ones, within the block's window.
    ///
    /// # Errors
    /// A block that the model lacks, or a device error.
    pub fn pattern(&self, block: usize) -> Result<Vec<f32>> {
        let (sizes, model, tokens) = (*self.sizes(), self.model().architecture(), self.tokens().len());
        Site::Q(block, 0).check(&sizes)?;
        let plan = model.attention[block];
        let turned = plan.rotary.is_some();
        let queries = (0..sizes.heads).map(|h| if turned { Site::RotQ(block, h) } else { Site::Q(block, h) });
        let keys = (0..sizes.kv_heads).map(|h| if turned { Site::RotK(block, h) } else { Site::K(block, h) });
        let read = self.captures(&queries.chain(keys).collect::<Vec<Site>>())?;
        let (queries, keys) = read.split_at(sizes.heads);
        let mut pattern = vec![0.0; sizes.heads * tokens * tokens];
        for (row, out) in pattern.chunks_mut(tokens).enumerate() {
            let (h, t) = (row / tokens, row % tokens);
            let (q, k) = (&queries[h], &keys[h * sizes.kv_heads / sizes.heads]);
            let at = |x: &[f32], t: usize| x[t * sizes.d_head..(t + 1) * sizes.d_head].to_vec();
            let q = at(q, t);
            let first = plan.window.map_or(0, |window| (t + 1).saturating_sub(window));
            let score = |s: usize| {
                let product: f64 = q.iter().zip(at(k, s)).map(|(&q, k)| f64::from(q) * f64::from(k)).sum();
                let score = product * plan.scale;
                model.score_cap.map_or(score, |cap| cap * (score / cap).tanh())
            };
            let scores: Vec<f64> = (first..=t).map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
            for (s, score) in scores.into_iter().enumerate() {
                out[first + s] = ((score - most).exp() / sum) as f32;
            }
        }
        self.finite("the attention pattern", Site::Z(block, 0), 0, &pattern)?;
        Ok(pattern)
    }
}
