//! The rules of add as an op of a model's list.

use resolvent_engine::{Recording, Result, Tensor};

use super::{Add, NAME, add};
use crate::linear::Linear;

impl Linear for Add {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, rec: &mut Recording, x: &[&Tensor]) -> Result<Tensor> {
        add(rec, x[0], x[1])
    }

    fn transpose(&self, _: &mut Recording, y_bar: &Tensor) -> Result<Vec<Tensor>> {
        Ok(vec![y_bar.clone(), y_bar.clone()])
    }
}
