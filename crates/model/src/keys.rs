//! Edits of the scores or weights of all keys that a query sees.

use crate::edit::{Change, Edit};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::site::Site;

impl Model {
    /// Returns the edits that change the scores, or the weights, of all keys which the query at a token sees. `site`
    /// names one of the keys.
    ///
    /// A vector of `change` has an element for each key from token 0 on, as a row of [`crate::Run::pattern`] or
    /// [`crate::Run::attention_scores`] has. For keys that the query does not see, its elements must be those of such a
    /// row: 0, or minus infinity.
    ///
    /// # Errors
    /// A site without keys, a block or a head that the model lacks, a vector that is too short or that changes other
    /// keys, or a change that is not one of each key.
    pub fn key_edits(&self, site: Site, token: usize, change: &Change) -> Result<Vec<Edit>> {
        site.check(self.sizes())?;
        let of: fn(usize, usize, usize) -> Site = match site {
            Site::AttnScores(..) => Site::AttnScores,
            Site::Pattern(..) => Site::Pattern,
            _ => {
                return Err(Error::Place(format!(
                    "{site} has no keys; give attn.hook_attn_scores or attn.hook_pattern"
                )));
            }
        };
        let (l, h) = (site.layer(), site.head().unwrap_or(0));
        let first = self.0.program.first_key(l, token);
        let row = match change {
            Change::Add(s) | Change::Put(s) => s,
            Change::Scale(amount) => {
                return Ok((first..=token).map(|key| Edit::scale(of(l, h, key), token, *amount)).collect());
            }
            Change::Project(_) | Change::Take(_) => {
                return Err(Error::Place(format!("{site}: each key has a single number; use add, put or scale")));
            }
        };
        if row.len() <= token {
            let keys = row.len();
            return Err(Error::Place(format!(
                "{site} at token {token}: the vector has {keys} elements; give one for each key up to the query's own"
            )));
        }
        let outside = |key: &usize| !(first..=token).contains(key);
        if let Some(key) = (0..row.len()).filter(outside).find(|&key| row[key] != 0.0 && row[key] != f32::NEG_INFINITY)
        {
            return Err(Error::Place(format!(
                "{site} at token {token}: element {key} of the vector is {}, but the query sees keys {first} to {token}; give 0",
                row[key]
            )));
        }
        let edit = |key: usize| {
            let s = vec![row[key]];
            let change = if matches!(change, Change::Add(_)) { Change::Add(s) } else { Change::Put(s) };
            Edit { site: of(l, h, key), token, change }
        };
        Ok((first..=token).map(edit).collect())
    }
}
