//! Weights of a model as read-only arrays, with the names and shapes of TransformerLens.
//!
//! Each kind is read from the device once. Arrays of heads are views of it.

use std::sync::PoisonError;

use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice, PyTuple};
use resolvent::model::Parameter;

use crate::arrays::to_numpy;
use crate::classes::PyModel;
use crate::failure::Result;
use crate::work::detached;

type Any<'py> = Bound<'py, PyAny>;

/// Heads that lie side by side in the last axis of an array: the first column, and the number of heads.
type Heads = (usize, usize);

impl PyModel {
    /// Returns weights as a read-only array of the given shape, or `None` if the model has none.
    fn weight<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        which: Parameter,
        shape: &[usize],
    ) -> Result<Option<Any<'py>>> {
        let known = self.weights.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(|a| a.clone_ref(py));
        if let Some(array) = known {
            return Ok(Some(array.into_bound(py)));
        }
        let model = &self.model;
        let Some(read) = detached(py, |_| model.parameter(which))? else { return Ok(None) };
        let array = read_only(to_numpy(py, read, shape)?)?;
        let stored = array.clone().unbind();
        self.weights.lock().unwrap_or_else(PoisonError::into_inner).insert(name, stored);
        Ok(Some(array))
    }

    /// Returns weights that every model has.
    fn own<'py>(&self, py: Python<'py>, name: &'static str, which: Parameter, shape: &[usize]) -> Result<Any<'py>> {
        Ok(self.weight(py, name, which, shape)?.unwrap_or_else(|| py.None().into_bound(py)))
    }

    /// Returns a view of heads: `[L, H, d, d_head]` of matrices, `[L, H, d_head]` of biases.
    fn heads<'py>(&self, py: Python<'py>, bias: bool, (first, heads): Heads) -> Result<Any<'py>> {
        let sizes = *self.model.sizes();
        let (layers, width) = (sizes.layers, sizes.q_width() + 2 * sizes.kv_width());
        let array = match bias {
            true => self.own(py, "qkv_bias", Parameter::QkvBias, &[layers, width])?,
            false => self.own(py, "qkv", Parameter::Qkv, &[layers, sizes.d, width])?,
        };
        let part = columns(&array, first, first + heads * sizes.d_head)?;
        match bias {
            true => Ok(part.call_method1("reshape", (layers, heads, sizes.d_head))?),
            false => {
                let split = part.call_method1("reshape", (layers, sizes.d, heads, sizes.d_head))?;
                Ok(split.call_method1("transpose", (0, 2, 1, 3))?)
            }
        }
    }

    /// Returns the first columns of queries, keys and values, and their heads.
    fn of_heads(&self) -> [Heads; 3] {
        let sizes = self.model.sizes();
        let (q, kv) = (sizes.q_width(), sizes.kv_width());
        [(0, sizes.heads), (q, sizes.kv_heads), (q + kv, sizes.kv_heads)]
    }

    /// Returns the input matrices or biases of the MLPs: all columns, `[L, (d,) n]`, and whether a gate comes first.
    fn up<'py>(&self, py: Python<'py>, bias: bool) -> Result<(Any<'py>, bool)> {
        let (sizes, gated) = (*self.model.sizes(), self.model.architecture().is_gated());
        let (layers, n) = (sizes.layers, if gated { 2 * sizes.inner } else { sizes.inner });
        let array = match bias {
            true => self.own(py, "up_bias", Parameter::UpBias, &[layers, n])?,
            false => self.own(py, "up", Parameter::Up, &[layers, sizes.d, n])?,
        };
        Ok((array, gated))
    }

    /// Returns gain and bias of a norm as `w` and `b`; `None` if the model has no such norm.
    fn norm<'py>(
        &self,
        py: Python<'py>,
        names: [&'static str; 2],
        which: [Parameter; 2],
        shape: &[usize],
    ) -> Result<Option<Any<'py>>> {
        let Some(gain) = self.weight(py, names[0], which[0], shape)? else { return Ok(None) };
        let parts = PyDict::new(py);
        parts.set_item("w", gain)?;
        parts.set_item("b", self.weight(py, names[1], which[1], shape)?)?;
        Ok(Some(py.import("types")?.getattr("SimpleNamespace")?.call((), Some(&parts))?))
    }
}

/// Makes an array read-only.
fn read_only(array: Bound<'_, PyArrayDyn<f32>>) -> Result<Any<'_>> {
    let array = array.into_any();
    let flags = PyDict::new(array.py());
    flags.set_item("write", false)?;
    array.call_method("setflags", (), Some(&flags))?;
    Ok(array)
}

/// Returns a view of some columns, the last axis.
fn columns<'py>(array: &Any<'py>, from: usize, to: usize) -> Result<Any<'py>> {
    let py = array.py();
    let range = PySlice::new(py, from as isize, to as isize, 1);
    Ok(array.get_item(PyTuple::new(py, [py.Ellipsis().into_bound(py), range.into_any()])?)?)
}

#[pymethods]
impl PyModel {
    /// Token embeddings [V, d]. Weights are read-only arrays, read from the device once.
    #[getter(W_E)]
    fn w_e<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let sizes = self.model.sizes();
        self.own(py, "embedding", Parameter::Embedding, &[sizes.vocab, sizes.d])
    }

    /// Position embeddings [n_ctx, d]; None if the model learns none.
    #[getter(W_pos)]
    fn w_pos<'py>(&self, py: Python<'py>) -> Result<Option<Any<'py>>> {
        let sizes = self.model.sizes();
        self.weight(py, "positions", Parameter::Positions, &[sizes.n_ctx, sizes.d])
    }

    /// The unembedding [d, V].
    #[getter(W_U)]
    fn w_u<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let sizes = self.model.sizes();
        let rows = match self.model.ties_unembedding() {
            true => self.w_e(py)?,
            false => self.own(py, "unembedding", Parameter::Unembedding, &[sizes.vocab, sizes.d])?,
        };
        Ok(rows.getattr("T")?)
    }

    /// The bias of the unembedding [V]: zeros.
    #[getter(b_U)]
    fn b_u<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let vocab = self.model.sizes().vocab;
        read_only(to_numpy(py, vec![0.0; vocab], &[vocab])?)
    }

    /// Matrices of queries [L, H, d, d_head].
    #[getter(W_Q)]
    fn w_q<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        self.heads(py, false, self.of_heads()[0])
    }

    /// Matrices of keys [L, H, d, d_head], for key heads, which several query heads may share.
    #[getter(W_K)]
    fn w_k<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        self.heads(py, false, self.of_heads()[1])
    }

    /// Matrices of values [L, H, d, d_head], for key heads.
    #[getter(W_V)]
    fn w_v<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        self.heads(py, false, self.of_heads()[2])
    }

    /// Biases of queries [L, H, d_head].
    #[getter(b_Q)]
    fn b_q<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        self.heads(py, true, self.of_heads()[0])
    }

    /// Biases of keys [L, H, d_head].
    #[getter(b_K)]
    fn b_k<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        self.heads(py, true, self.of_heads()[1])
    }

    /// Biases of values [L, H, d_head].
    #[getter(b_V)]
    fn b_v<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        self.heads(py, true, self.of_heads()[2])
    }

    /// Output projections of heads [L, H, d_head, d].
    #[getter(W_O)]
    fn w_o<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let sizes = self.model.sizes();
        self.own(py, "out", Parameter::Out, &[sizes.layers, sizes.heads, sizes.d_head, sizes.d])
    }

    /// Biases of attention outputs [L, d].
    #[getter(b_O)]
    fn b_o<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let sizes = self.model.sizes();
        self.own(py, "out_bias", Parameter::OutBias, &[sizes.layers, sizes.d])
    }

    /// Matrices into the neurons [L, d, d_mlp]; in a gated MLP what the gate multiplies.
    #[getter(W_in)]
    fn w_in<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let inner = self.model.sizes().inner;
        match self.up(py, false)? {
            (array, true) => columns(&array, inner, 2 * inner),
            (array, false) => Ok(array),
        }
    }

    /// Matrices of gates [L, d, d_mlp]; None if the MLPs have none.
    #[getter(W_gate)]
    fn w_gate<'py>(&self, py: Python<'py>) -> Result<Option<Any<'py>>> {
        match self.up(py, false)? {
            (array, true) => columns(&array, 0, self.model.sizes().inner).map(Some),
            (_, false) => Ok(None),
        }
    }

    /// Biases of the neurons [L, d_mlp]; in a gated MLP of what the gate multiplies.
    #[getter]
    fn b_in<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let inner = self.model.sizes().inner;
        match self.up(py, true)? {
            (array, true) => columns(&array, inner, 2 * inner),
            (array, false) => Ok(array),
        }
    }

    /// Matrices out of the neurons [L, d_mlp, d].
    #[getter(W_out)]
    fn w_out<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let sizes = self.model.sizes();
        self.own(py, "down", Parameter::Down, &[sizes.layers, sizes.inner, sizes.d])
    }

    /// Biases of MLP outputs [L, d].
    #[getter]
    fn b_out<'py>(&self, py: Python<'py>) -> Result<Any<'py>> {
        let sizes = self.model.sizes();
        self.own(py, "down_bias", Parameter::DownBias, &[sizes.layers, sizes.d])
    }

    /// The final norm: `ln_final.w` [d], and `ln_final.b` [d] or None.
    #[getter]
    fn ln_final<'py>(&self, py: Python<'py>) -> Result<Option<Any<'py>>> {
        let shape = [self.model.sizes().d];
        self.norm(py, ["gain", "bias"], [Parameter::FinalGain, Parameter::FinalBias], &shape)
    }

    /// The norms before attention: `ln1.w` [L, d], and `ln1.b` [L, d] or None. None if the blocks have none.
    #[getter]
    fn ln1<'py>(&self, py: Python<'py>) -> Result<Option<Any<'py>>> {
        let shape = [self.model.sizes().layers, self.model.sizes().d];
        self.norm(py, ["ln1.gain", "ln1.bias"], [Parameter::AttentionGain, Parameter::AttentionBias], &shape)
    }

    /// The norms before the MLP, as `ln1`.
    #[getter]
    fn ln2<'py>(&self, py: Python<'py>) -> Result<Option<Any<'py>>> {
        let shape = [self.model.sizes().layers, self.model.sizes().d];
        self.norm(py, ["ln2.gain", "ln2.bias"], [Parameter::MlpGain, Parameter::MlpBias], &shape)
    }
}
