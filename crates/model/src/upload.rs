//! Uploading of weights, tensor by tensor.

use std::collections::BTreeMap;
use std::ops::Range;

use resolvent_engine::{Device, Shape, Tensor};
use resolvent_ops::Weight;
use resolvent_ops::embed::Vocabulary;
use resolvent_ops::matmul::Matmul;

use crate::arch::{Orientation, Part};
use crate::error::Result;
use crate::packed::{Packed, Rounding};
use crate::source::WeightSource;
use crate::transposed::transpose;

/// Elements converted and uploaded at a time. This bounds the host memory of loading, besides the file itself and one
/// matrix that is stored in another layout.
const CHUNK: usize = 1 << 22;

/// Uploaded bytes after which loading waits for the device, so that staging copies do not pile up.
const SUBMIT_BYTES: usize = 64 << 20;

/// An upload of a model's weights.
pub(crate) struct Upload<'a> {
    device: &'a Device,
    source: &'a dyn WeightSource,
    unsubmitted: usize,
    rounding: Rounding,
    /// Memory for a matrix that is stored in another layout.
    matrix: Vec<f32>,
    /// By length: the bias of every matrix without one.
    zeros: BTreeMap<usize, Tensor>,
    /// Gain and bias of the norms that were uploaded, by the name of their modules.
    pub(crate) norms: BTreeMap<String, [Option<Tensor>; 2]>,
}

/// A function that uploads a chunk. Its first argument is the number of elements before the chunk.
type Write<'w> = &'w mut dyn FnMut(usize, &[f32]) -> Result<()>;

impl<'a> Upload<'a> {
    pub(crate) fn new(device: &'a Device, source: &'a dyn WeightSource) -> Self {
        Self {
            device,
            source,
            unsubmitted: 0,
            rounding: Rounding::default(),
            matrix: Vec::new(),
            zeros: BTreeMap::new(),
            norms: BTreeMap::new(),
        }
    }

    pub(crate) fn device(&self) -> &'a Device {
        self.device
    }

    /// Waits for the uploads. Returns the relative rounding error of the weights that are stored in f16, in L2 norm.
    pub(crate) fn finish(self) -> Result<Option<f64>> {
        self.device.wait()?;
        Ok(self.rounding.relative())
    }

    /// Reads `rows` of the tensor `name`, each `width` elements wide, in chunks.
    fn chunks(&mut self, name: &str, rows: Range<usize>, width: usize, write: Write<'_>) -> Result<()> {
        let step = (CHUNK / width.max(1)).clamp(1, rows.len().max(1));
        let mut chunk = vec![0.0f32; step * width];
        for first in rows.clone().step_by(step) {
            let part = first..(first + step).min(rows.end);
            let elements = &mut chunk[..part.len() * width];
            self.source.read(name, part.clone(), elements)?;
            write((part.start - rows.start) * width, elements)?;
            self.wrote(elements.len())?;
        }
        Ok(())
    }

    fn wrote(&mut self, elements: usize) -> Result<()> {
        self.unsubmitted += elements * 4;
        if self.unsubmitted > SUBMIT_BYTES {
            self.device.wait()?;
            self.unsubmitted = 0;
        }
        Ok(())
    }

    /// Uploads rows of a tensor.
    pub(crate) fn tensor(&mut self, name: &str, rows: Range<usize>, dims: &[(&'static str, usize)]) -> Result<Tensor> {
        let (device, tensor) = (self.device, self.device.reserve(name, dims)?);
        let width = tensor.shape().elements() / rows.len().max(1);
        self.chunks(name, rows, width, &mut |before, elements| {
            Ok(device.write(&tensor, before, bytemuck::cast_slice(elements))?)
        })?;
        Ok(tensor)
    }

    /// Uploads a `[n]` vector.
    pub(crate) fn vector(&mut self, name: &str, dim: &'static str, n: usize) -> Result<Tensor> {
        self.tensor(name, 0..n, &[(dim, n)])
    }

    /// Reads a `[n]` vector.
    pub(crate) fn read(&self, name: &str, n: usize) -> Result<Vec<f32>> {
        let mut elements = vec![0.0; n];
        self.source.read(name, 0..n, &mut elements)?;
        Ok(elements)
    }

    /// Returns a `[n]` vector of zeros.
    pub(crate) fn zeros(&mut self, dim: &'static str, n: usize) -> Result<Tensor> {
        if let Some(zeros) = self.zeros.get(&n) {
            return Ok(Tensor::view(zeros.buffer().clone(), 0, Shape::new(&[(dim, n)]))?);
        }
        let zeros = self.device.upload("zeros", &[(dim, n)], &vec![0.0f32; n])?;
        self.zeros.insert(n, zeros.clone());
        Ok(zeros)
    }

    /// Uploads a matrix `[in, out]` whose outputs come from `parts`, side by side.
    pub(crate) fn matrix(&mut self, parts: &[Part]) -> Result<Matmul> {
        let names: Vec<String> = parts.iter().map(|part| format!("{}.weight", part.name)).collect();
        let name = &names.join(" | ");
        let (k, n) = (parts.first().map_or(0, |part| part.inputs), parts.iter().map(Part::width).sum());
        let w = match self.device.f16_weights() && Weight::packs(k, n) {
            true => self.f16_weight(name, [k, n], parts)?.rounding_inputs(self.device.f16_inputs()),
            false => {
                let (device, tensor) = (self.device, self.device.reserve(name, &[("k", k), ("n", n)])?);
                self.elements(parts, [k, n], &mut |before, elements| {
                    Ok(device.write(&tensor, before, bytemuck::cast_slice(elements))?)
                })?;
                Weight::full(tensor)
            }
        };
        let bias = match parts.iter().any(|part| part.bias) {
            true => {
                let mut bias = Vec::with_capacity(n);
                for part in parts {
                    let stored = match part.bias {
                        true => self.read(&format!("{}.bias", part.name), part.outputs)?,
                        false => vec![0.0; part.outputs],
                    };
                    bias.extend(part.outputs_taken().map(|output| stored[output]));
                }
                self.device.upload(&format!("{name}.bias"), &[("n", n)], &bias)?
            }
            false => self.zeros("n", n)?,
        };
        Ok(Matmul { w, bias, add: false })
    }

    /// Uploads a matrix rounded to f16.
    fn f16_weight(&mut self, name: &str, [k, n]: [usize; 2], parts: &[Part]) -> Result<Weight> {
        let mut packed = Packed::reserve(self.device, name, ("k", k), n)?;
        self.elements(parts, [k, n], &mut |before, elements| packed.write(before, elements))?;
        let (words, rounding) = packed.finish();
        self.rounding.add(rounding);
        Ok(Weight::f16s(words)?)
    }

    /// Passes the elements of a matrix `[k, n]` to `write`, in chunks of whole rows.
    fn elements(&mut self, parts: &[Part], [k, n]: [usize; 2], write: Write<'_>) -> Result<()> {
        if let [part] = parts
            && part.orientation == Orientation::InOut
            && part.width() == part.outputs
        {
            return self.chunks(&format!("{}.weight", part.name), 0..k, n, write);
        }
        // The system clears every page that it gives out, so the memory of the last matrix is used again.
        let mut matrix = std::mem::take(&mut self.matrix);
        matrix.resize(k * n, 0.0);
        let mut first = 0;
        for part in parts {
            self.place(part, &mut matrix, n, first)?;
            first += part.width();
        }
        let step = (CHUNK / n.max(1)).max(1) * n;
        for (i, chunk) in matrix.chunks(step).enumerate() {
            write(i * step, chunk)?;
            self.wrote(chunk.len())?;
        }
        self.matrix = matrix;
        Ok(())
    }

    /// Writes the outputs of a part to the columns of a matrix with rows of `n` elements, from column `first` on.
    fn place(&mut self, part: &Part, matrix: &mut [f32], n: usize, first: usize) -> Result<()> {
        let name = format!("{}.weight", part.name);
        let taken: Vec<usize> = part.outputs_taken().collect();
        match part.orientation {
            Orientation::InOut => self.chunks(&name, 0..part.inputs, part.outputs, &mut |before, elements| {
                let from = before / part.outputs;
                for (row, stored) in matrix.chunks_mut(n).skip(from).zip(elements.chunks(part.outputs)) {
                    for (x, &output) in row[first..].iter_mut().zip(&taken) {
                        *x = stored[output];
                    }
                }
                Ok(())
            }),
            Orientation::OutIn => {
                // By stored row: the column of the matrix that it becomes.
                let mut columns = vec![None; part.outputs];
                taken.iter().enumerate().for_each(|(i, &output)| columns[output] = Some(first + i));
                self.chunks(&name, 0..part.outputs, part.inputs, &mut |before, elements| {
                    let stored = columns[before / part.inputs..].iter().zip(elements.chunks(part.inputs));
                    let stored: Vec<(usize, &[f32])> = stored.filter_map(|(c, row)| Some(((*c)?, row))).collect();
                    transpose(&stored, matrix, n);
                    Ok(())
                })
            }
        }
    }

    /// Uploads a `[tokens, d]` table in parts that the device can bind. They are rounded to f16 if the device's options
    /// ask for that and d is even.
    pub(crate) fn vocabulary(&mut self, name: &str, tokens: usize, d: usize) -> Result<Vocabulary> {
        let is_f16 = self.device.f16_weights() && d.is_multiple_of(2);
        let element = if is_f16 { 2 } else { 4 };
        let most = (self.device.info().max_binding / (element * d as u64)).max(1) as usize;
        // Parts of nearly equal length avoid a small last part.
        let step = tokens.div_ceil(tokens.div_ceil(most));
        let mut parts = Vec::new();
        for first in (0..tokens).step_by(step) {
            let end = (first + step).min(tokens);
            let w = match is_f16 {
                true => self.f16_rows(name, first..end, d)?,
                false => Weight::full(self.tensor(name, first..end, &[("tokens", end - first), ("d", d)])?),
            };
            parts.push((first, w));
        }
        Ok(Vocabulary { parts, tokens, d })
    }

    /// Uploads rows of a table rounded to f16.
    fn f16_rows(&mut self, name: &str, rows: Range<usize>, d: usize) -> Result<Weight> {
        let mut packed = Packed::reserve(self.device, name, ("tokens", rows.len()), d)?;
        self.chunks(name, rows, d, &mut |before, elements| packed.write(before, elements))?;
        let (words, rounding) = packed.finish();
        self.rounding.add(rounding);
        Ok(Weight::f16_table(words))
    }
}
