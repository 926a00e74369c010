//! Attention scores and patterns: how much each token of each head attends to each earlier one.

use resolvent_ops::attention_edit::HIDDEN;

use crate::batch::{KeyEdit, ScheduledChange};
use crate::capture::captures;
use crate::error::{Error, Result};
use crate::read::dot;
use crate::run::Run;
use crate::site::Site;

/// Queries and keys of all blocks of several runs, from which their attention patterns are computed.
pub struct Patterns<'a> {
    runs: Vec<&'a Run>,
    /// Of each run, those of all blocks.
    read: Vec<Vec<Vec<f32>>>,
}

impl<'a> Patterns<'a> {
    /// Reads the queries and keys of runs of one device, with one wait.
    ///
    /// # Errors
    /// A value that is not finite, or a device error.
    pub fn of(runs: &[&'a Run]) -> Result<Self> {
        let sites = |run: &&Run| -> Result<Vec<Site>> {
            let blocks = (0..run.sizes().layers).map(|block| run.pattern_sites(block));
            Ok(blocks.collect::<Result<Vec<_>>>()?.concat())
        };
        let sites = runs.iter().map(sites).collect::<Result<Vec<_>>>()?;
        let wanted = runs.iter().zip(&sites).map(|(run, sites)| (*run, &sites[..]));
        Ok(Self { runs: runs.to_vec(), read: captures(&wanted.collect::<Vec<_>>())? })
    }

    /// Returns the pattern of a block of the n-th run, `[H, T, T]`, as [`Run::pattern`] does.
    ///
    /// # Errors
    /// A run or a block that is not there, or a pattern that is not finite.
    pub fn get(&self, n: usize, block: usize) -> Result<Vec<f32>> {
        let none = || Error::Place(format!("run {n} of patterns: there are {}", self.runs.len()));
        let run = *self.runs.get(n).ok_or_else(none)?;
        let of_block = run.pattern_sites(block)?.len();
        run.pattern_of(block, &self.read[n][block * of_block..][..of_block])
    }
}

impl Run {
    /// Returns the attention pattern of each head of block l, TransformerLens' `hook_pattern`: `[H, T, T]`, queries by
    /// keys.
    ///
    /// It is computed on the host from the queries and keys of the run, in f64, and has the edits of the run. Without
    /// edits of the pattern, each row sums to 1 over the keys that the query sees: its own and earlier ones, within the
    /// block's window.
    ///
    /// # Errors
    /// A block that the model lacks, or a device error.
    pub fn pattern(&self, block: usize) -> Result<Vec<f32>> {
        self.pattern_of(block, &self.captures(&self.pattern_sites(block)?)?)
    }

    /// Returns the pattern, given the queries and keys of the block.
    fn pattern_of(&self, block: usize, read: &[Vec<f32>]) -> Result<Vec<f32>> {
        let (mut scores, tokens) = (self.scores(block, read)?, self.tokens().len());
        for row in scores.chunks_mut(tokens) {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|score| (score - most).exp()).sum();
            row.iter_mut().for_each(|score| *score = (*score - most).exp() / sum);
        }
        self.edit_keys(block, &mut scores, |site| matches!(site, Site::Pattern(..)));
        let pattern: Vec<f32> = scores.into_iter().map(|weight| weight as f32).collect();
        self.finite("the attention pattern", Site::Z(block, 0), 0, &pattern)?;
        Ok(pattern)
    }

    /// Returns the attention scores of each head of block l before the softmax, scaled and capped as the model does:
    /// TransformerLens' `hook_attn_scores`, `[H, T, T]`. A key that the query does not see has minus infinity.
    ///
    /// # Errors
    /// A block that the model lacks, a score that is not finite, or a device error.
    pub fn attention_scores(&self, block: usize) -> Result<Vec<f32>> {
        let scores = self.scores(block, &self.captures(&self.pattern_sites(block)?)?)?;
        Ok(scores.into_iter().map(|score| score as f32).collect())
    }

    /// Returns the sites from which the pattern of a block is computed: the queries of its heads, and its keys.
    fn pattern_sites(&self, block: usize) -> Result<Vec<Site>> {
        let sizes = self.sizes();
        Site::Q(block, 0).check(sizes)?;
        let turned = self.model().architecture().attention_rotates(block);
        let queries = (0..sizes.heads).map(|h| if turned { Site::RotQ(block, h) } else { Site::Q(block, h) });
        let keys = (0..sizes.kv_heads).map(|h| if turned { Site::RotK(block, h) } else { Site::K(block, h) });
        Ok(queries.chain(keys).collect())
    }

    fn scores(&self, block: usize, read: &[Vec<f32>]) -> Result<Vec<f64>> {
        let (sizes, model, tokens) = (*self.sizes(), self.model().architecture(), self.tokens().len());
        let plan = model.attention[block];
        let (queries, keys) = read.split_at(sizes.heads);
        let mut scores = vec![f64::NEG_INFINITY; sizes.heads * tokens * tokens];
        for (row, out) in scores.chunks_mut(tokens).enumerate() {
            let (h, t) = (row / tokens, row % tokens);
            let (q, k) = (&queries[h], &keys[h * sizes.kv_heads / sizes.heads]);
            let q = &q[t * sizes.d_head..][..sizes.d_head];
            for (s, out) in out.iter_mut().enumerate().take(t + 1).skip(self.program().first_key(block, t)) {
                let score = dot(q, &k[s * sizes.d_head..][..sizes.d_head]) * plan.scale;
                *out = model.score_cap.map_or(score, |cap| cap * (score / cap).tanh());
                self.finite("the attention score", Site::Z(block, h), t, &[*out as f32])?;
            }
        }
        self.edit_keys(block, &mut scores, |site| matches!(site, Site::AttnScores(..)));
        Ok(scores)
    }

    /// Applies this run's edits of a kind of site to scores or weights `[H, T, T]` of a block.
    fn edit_keys(&self, block: usize, matrix: &mut [f64], of: impl Fn(Site) -> bool) {
        let tokens = self.tokens().len();
        for edit in self.edits().iter().filter(|edit| edit.site.layer() == block && of(edit.site)) {
            let ScheduledChange::Key(KeyEdit { head, key, factor, add, .. }) = edit.primal(self.sizes()) else {
                continue;
            };
            let score = &mut matrix[(head * tokens + edit.token) * tokens + key];
            *score = if factor == 0.0 { 0.0 } else { f64::from(factor) * *score } + f64::from(add);
            // A hidden key is shown as one that the query does not see.
            if *score <= f64::from(HIDDEN) {
                *score = f64::NEG_INFINITY;
            }
        }
    }
}
