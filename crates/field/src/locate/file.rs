//! Responses that a user provides in a safetensors file, such as a result of `green` or `run`.

use std::path::Path;

use crate::error::{Error, Result};
use crate::input::Input;
use crate::place::shape;

use super::observed::Observed;

impl Observed<'_> {
    /// Reads what is observed `[M]` from a file: a part of the array `response` or `field` `[L+1, T, d]`, or the array
    /// `values [M]` if observables are observed. With `minus`, a second file, the difference of both.
    ///
    /// # Errors
    /// A file that cannot be read, lacks the arrays, or has another shape.
    pub fn read(&self, path: &Path, minus: Option<&Path>) -> Result<Vec<f32>> {
        let mut read = self.read_one(path)?;
        if let Some(minus) = minus {
            read.iter_mut().zip(self.read_one(minus)?).for_each(|(a, b)| *a -= b);
        }
        Ok(read)
    }

    fn read_one(&self, path: &Path) -> Result<Vec<f32>> {
        let file = Input::open(path)?;
        if self.is_values() {
            return Ok(file.needed("values", &[Some(self.count())])?.1);
        }
        let (levels, tokens, d) = shape(self.run());
        for name in ["response", "field"] {
            if let Some((_, field)) = file.array(name, &[Some(levels), Some(tokens), Some(d)])? {
                return self.of_field(&field);
            }
        }
        let reason = "has no array `response` or `field`; give a result of `green` or `run`".to_owned();
        Err(Error::File { path: path.to_owned(), reason })
    }
}
