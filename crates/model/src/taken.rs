//! Rows that edits take from other runs.

use std::borrow::Cow;

use resolvent_engine::{Device, Shape, Tensor};

use crate::edit::{Change, DeviceRow, Edit};
use crate::error::Result;
use crate::passes::Trace;
use crate::program::Program;

/// Returns edits whose rows to take are rows of the values of `base`: all others are read and put in place. Without a
/// base that is all of them.
pub(crate) fn resolved<'e>(
    device: &Device,
    program: &Program,
    base: Option<&Trace>,
    edits: &'e [Edit],
) -> Result<Cow<'e, [Edit]>> {
    let is_here = |edit: &Edit, row: &DeviceRow| {
        let value = program.value(edit.site).and_then(|value| base?.values[value].as_ref());
        value.is_some_and(|value| value.buffer().id() == row.values.buffer().id())
    };
    let (mut places, mut rows) = (Vec::new(), Vec::new());
    for (i, edit) in edits.iter().enumerate() {
        if let Change::Take(row) = &edit.change
            && !is_here(edit, row)
        {
            let width = row.values.shape().lengths()[1];
            let from = row.values.range().start + row.row * width + row.columns.start;
            let shape = Shape::new(&[("d", row.columns.len())]);
            rows.push(Tensor::view(row.values.buffer().clone(), from, shape)?);
            places.push(i);
        }
    }
    if places.is_empty() {
        return Ok(Cow::Borrowed(edits));
    }
    let (mut resolved, read) = (edits.to_vec(), device.read_many(&rows.iter().collect::<Vec<&Tensor>>())?);
    places.into_iter().zip(read).for_each(|(i, s)| resolved[i].change = Change::Put(s));
    Ok(Cow::Owned(resolved))
}
