//! Tensors: a buffer range with named dimensions.

use std::fmt;
use std::ops::Range;

use crate::buffer::Buffer;
use crate::error::{Error, Result};

/// Named dimensions, outermost first: `[rows=16, d=768]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Shape(Vec<(&'static str, usize)>);

impl Shape {
    /// Dimensions by name, outermost first.
    pub fn new(dims: &[(&'static str, usize)]) -> Self {
        Self(dims.to_vec())
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.0.iter().map(|&(_, n)| n).product()
    }

    /// Lengths, outermost first.
    pub fn lengths(&self) -> Vec<usize> {
        self.0.iter().map(|&(_, n)| n).collect()
    }

    /// Dimensions with their names.
    pub fn dims(&self) -> &[(&'static str, usize)] {
        &self.0
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(|(name, n)| format!("{name}={n}")).collect();
        write!(f, "[{}]", dims.join(", "))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A row-major array in device memory: a [`Buffer`] range and a [`Shape`]. Elements are f32 or u32.
#[derive(Clone, Debug)]
pub struct Tensor {
    buffer: Buffer,
    offset: usize,
    shape: Shape,
}

impl Tensor {
    /// The whole of `buffer`, seen as `shape`.
    pub fn new(buffer: Buffer, shape: Shape) -> Result<Self> {
        Self::view(buffer, 0, shape)
    }

    /// `shape.elements()` words of `buffer` from `offset` on.
    pub fn view(buffer: Buffer, offset: usize, shape: Shape) -> Result<Self> {
        let end = offset + shape.elements();
        if end > buffer.words() {
            return Err(Error::Buffer {
                label: buffer.label().to_owned(),
                reason: format!("has {} words, and {shape} at {offset} needs {end}", buffer.words()),
            });
        }
        Ok(Self { buffer, offset, shape })
    }

    /// The buffer behind it.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Dimensions.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The words of the buffer that belong to this tensor.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.shape.elements()
    }

    /// Length of the dimension `name`; an error of `op` if there is none.
    pub fn dim(&self, op: &'static str, name: &'static str) -> Result<usize> {
        let found = self.shape.dims().iter().find(|(n, _)| *n == name);
        found.map(|&(_, n)| n).ok_or_else(|| {
            Error::shape(op, format!("`{}` is {}, without a dimension `{name}`", self.buffer.label(), self.shape))
        })
    }

    /// Checks that the tensor has exactly the dimensions `wanted`; an error of `op` otherwise.
    pub fn expect(&self, op: &'static str, wanted: &[(&'static str, usize)]) -> Result<()> {
        let same = self.shape.dims().len() == wanted.len()
            && self.shape.dims().iter().zip(wanted).all(|(have, want)| have.1 == want.1);
        if same {
            return Ok(());
        }
        let wanted = Shape::new(wanted);
        Err(Error::shape(op, format!("`{}` is {}, wanted {wanted}", self.buffer.label(), self.shape)))
    }
}
