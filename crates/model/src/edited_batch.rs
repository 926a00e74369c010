//! The edits of a batch at one op: of the attention that it computes, and of the value.

use resolvent_engine::{Device, Recording, Result, Tensor};
use resolvent_ops::attention_edit::EditedAttention;
use resolvent_ops::splice::RowSource;

use crate::batch::Batch;
use crate::program::{Program, ValueId};

impl Batch {
    /// Returns the attention of a value under the edits of its scores and weights, over the first `rows` rows; `None`
    /// if there are none, or if no attention computes the value.
    pub(crate) fn edited_attention(
        &self,
        device: &Device,
        (program, value): (&Program, ValueId),
        rows: usize,
    ) -> Result<Option<EditedAttention>> {
        let Some(attention) = program.attention(value) else { return Ok(None) };
        let edits = self.head_edits(device, (attention, value), rows)?;
        Ok(edits.map(|edits| EditedAttention { attention, edits }))
    }

    /// Records the edits scheduled at `value` on all its rows, and returns these.
    pub(crate) fn edited(&self, rec: &mut Recording, value: ValueId, x: Tensor) -> Result<Tensor> {
        let (rows, width) = (self.rows.count(), x.shape().lengths()[1..].iter().product());
        match self.plan(&rec.device().clone(), value, width, [rows, rows], |_, _| RowSource::Zero)? {
            Some(plan) => plan.primal(rec, &x, &x),
            None => Ok(x),
        }
    }
}
