//! Uploading of weights, tensor by tensor.

use std::collections::BTreeMap;
use std::ops::Range;

use half::f16;
use resolvent_engine::{Device, Shape, Tensor};
use resolvent_ops::Weight;
use resolvent_ops::embed::Vocabulary;
use resolvent_ops::matmul::Matmul;

use crate::arch::{Orientation, Part};
use crate::error::Result;
use crate::formats::{Format, Rounding, STAGE, Stored};
use crate::source::WeightSource;
use crate::transposed::transpose;

/// Words uploaded to a GPU at a time. This bounds the host memory of loading, besides the file itself and one matrix
/// that is stored in another layout.
const CHUNK: usize = 1 << 22;

/// Uploaded bytes after which loading waits for the device, so that staging copies do not pile up.
const SUBMIT_BYTES: usize = 64 << 20;

/// An upload of a model's weights.
pub(crate) struct Upload<'a> {
    device: &'a Device,
    source: &'a dyn WeightSource,
    unsubmitted: usize,
    rounding: Rounding,
    memory: Memory,
    /// By length: the bias of every matrix without one.
    zeros: BTreeMap<usize, Tensor>,
    /// Gain and bias of the norms that were uploaded, by the name of their modules.
    pub(crate) norms: BTreeMap<String, [Option<Tensor>; 2]>,
}

/// Memory that all tensors use one after another: the system clears every page that it gives out.
#[derive(Default)]
struct Memory {
    /// f32 elements, to be converted.
    stage: Vec<f32>,
    /// Words of stored rows.
    rows: Vec<f32>,
    /// Words of a matrix for a GPU.
    matrix: Vec<f32>,
}

/// Returns the first `len` elements of `words`, which grows if it is too short.
fn elements<T: Format>(words: &mut Vec<f32>, len: usize) -> &mut [T] {
    words.resize(words.len().max((len * size_of::<T>()).div_ceil(4)), 0.0);
    &mut bytemuck::cast_slice_mut(words)[..len]
}

/// Returns the number of elements of a tensor, whose words contain one or several each.
fn len_of<T: Format>(tensor: &Tensor) -> usize {
    tensor.shape().elements() * 4 / size_of::<T>()
}

impl<'a> Upload<'a> {
    pub(crate) fn new(device: &'a Device, source: &'a dyn WeightSource) -> Self {
        Self {
            device,
            source,
            unsubmitted: 0,
            rounding: Rounding::default(),
            memory: Memory::default(),
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

    /// Writes rows of the tensor `name` to `tensor`.
    fn rows<T: Format>(&mut self, tensor: &Tensor, name: &str, rows: Range<usize>) -> Result<()> {
        let (device, source, Memory { stage, rows: memory, .. }) = (self.device, self.source, &mut self.memory);
        let stored = |rows| Stored { source, name, rows };
        let read = |words: &mut [f32]| T::read(stored(rows.clone()), bytemuck::cast_slice_mut(words), stage);
        if let Some(read) = device.in_place(tensor, read)? {
            self.rounding.add(read?);
            return Ok(());
        }
        let width = len_of::<T>(tensor) / rows.len().max(1);
        let together = (CHUNK / width.max(1)).clamp(1, rows.len().max(1));
        for first in rows.clone().step_by(together) {
            let part = first..(first + together).min(rows.end);
            let elements = elements::<T>(memory, part.len() * width);
            self.rounding.add(T::read(stored(part), elements, stage)?);
            let before = (first - rows.start) * width * size_of::<T>();
            device.write(tensor, before / 4, bytemuck::cast_slice(elements))?;
            wrote(device, &mut self.unsubmitted, size_of_val(elements))?;
        }
        Ok(())
    }

    /// Uploads rows of a tensor.
    pub(crate) fn tensor(&mut self, name: &str, rows: Range<usize>, dims: &[(&'static str, usize)]) -> Result<Tensor> {
        let tensor = self.device.reserve(name, dims)?;
        self.rows::<f32>(&tensor, name, rows)?;
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
            true => {
                let words = self.device.reserve(name, &[("k", k), ("pairs", n / 2)])?;
                self.product::<f16>(&words, parts, [k, n])?;
                Weight::f16s(words)?.rounding_inputs(self.device.f16_inputs())
            }
            false => {
                let words = self.device.reserve(name, &[("k", k), ("n", n)])?;
                self.product::<f32>(&words, parts, [k, n])?;
                Weight::full(words)
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

    /// Writes the parts of a matrix `[k, n]` to `tensor`, side by side.
    fn product<T: Format>(&mut self, tensor: &Tensor, parts: &[Part], [k, n]: [usize; 2]) -> Result<()> {
        if let [part] = parts
            && part.orientation == Orientation::InOut
            && part.width() == part.outputs
        {
            return self.rows::<T>(tensor, &format!("{}.weight", part.name), 0..k);
        }
        let (device, source, Memory { stage, rows, matrix }) = (self.device, self.source, &mut self.memory);
        let mut fill = |to: &mut [T]| -> Result<Rounding> {
            let (mut first, mut sums) = (0, Rounding::default());
            for part in parts {
                sums.add(place(source, part, (to, n, first), (rows, stage))?);
                first += part.width();
            }
            Ok(sums)
        };
        if let Some(filled) = device.in_place(tensor, |words| fill(bytemuck::cast_slice_mut(words)))? {
            self.rounding.add(filled?);
            return Ok(());
        }
        let matrix = elements::<T>(matrix, k * n);
        self.rounding.add(fill(matrix)?);
        for (i, chunk) in bytemuck::cast_slice::<T, u8>(matrix).chunks(CHUNK * 4).enumerate() {
            device.write(tensor, i * CHUNK, chunk)?;
            wrote(device, &mut self.unsubmitted, chunk.len())?;
        }
        Ok(())
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
                true => {
                    let words = self.device.reserve(name, &[("tokens", end - first), ("pairs", d / 2)])?;
                    self.rows::<f16>(&words, name, first..end)?;
                    Weight::f16_table(words)
                }
                false => Weight::full(self.tensor(name, first..end, &[("tokens", end - first), ("d", d)])?),
            };
            parts.push((first, w));
        }
        Ok(Vocabulary { parts, tokens, d })
    }
}

/// Counts bytes that were written to the device, and waits for it from time to time.
fn wrote(device: &Device, unsubmitted: &mut usize, bytes: usize) -> Result<()> {
    *unsubmitted += bytes;
    if *unsubmitted > SUBMIT_BYTES {
        device.wait()?;
        *unsubmitted = 0;
    }
    Ok(())
}

/// Writes the outputs of a part to the columns of a matrix with rows of `n` elements, from column `first` on. `rows`
/// and `stage` are memory.
fn place<T: Format>(
    source: &dyn WeightSource,
    part: &Part,
    (matrix, n, first): (&mut [T], usize, usize),
    (rows, stage): (&mut Vec<f32>, &mut Vec<f32>),
) -> Result<Rounding> {
    let name = format!("{}.weight", part.name);
    let taken: Vec<usize> = part.outputs_taken().collect();
    // By stored output: the column of the matrix that it becomes.
    let mut columns = vec![None; part.outputs];
    taken.iter().enumerate().for_each(|(i, &output)| columns[output] = Some(first + i));
    let (height, width) = match part.orientation {
        Orientation::InOut => (part.inputs, part.outputs),
        Orientation::OutIn => (part.outputs, part.inputs),
    };
    let (together, mut sums) = ((STAGE / width.max(1)).max(1), Rounding::default());
    for from in (0..height).step_by(together) {
        let read = from..(from + together).min(height);
        let stored = elements::<T>(rows, read.len() * width);
        sums.add(T::read(Stored { source, name: &name, rows: read }, stored, stage)?);
        match part.orientation {
            Orientation::InOut => {
                for (row, stored) in matrix.chunks_mut(n).skip(from).zip(stored.chunks(width)) {
                    for (x, &output) in row[first..].iter_mut().zip(&taken) {
                        *x = stored[output];
                    }
                }
            }
            Orientation::OutIn => {
                let stored = columns[from..].iter().zip(stored.chunks(width));
                let stored: Vec<(usize, &[T])> = stored.filter_map(|(c, row)| Some(((*c)?, row))).collect();
                transpose(&stored, matrix, n);
            }
        }
    }
    Ok(sums)
}
