//! The class `Run` as a mapping from names of sites to their values.

use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::PyList;
use resolvent::model::{RunOptions, Site, from_end};

use crate::arrays::to_numpy;
use crate::classes::PyRun;
use crate::failure::{Result, value_error};
use crate::lists::shown;
use crate::work::detached;

type Array<'py> = Bound<'py, PyArrayDyn<f32>>;

/// Sites of a block, in the order in which they are computed.
const HOOKS: [&str; 14] = [
    "hook_resid_pre",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_rot_q",
    "attn.hook_rot_k",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "mlp.hook_pre",
    "mlp.hook_pre_linear",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
];

#[pymethods]
impl PyRun {
    /// Returns the value of a site at every token.
    ///
    /// The key is a name, or a pair such as `("resid_pre", -1)`. The shape is [T, d]; for one head
    /// (`blocks.3.attn.hook_z[5]`) [T, d_head]; for all heads (`blocks.3.attn.hook_z`) [T, H, d_head]. Outputs of
    /// attention and MLP need another forward pass unless the run was asked for them.
    fn __getitem__<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> Result<Array<'py>> {
        let (sites, one) = self.sites(&self.site_name(key)?)?;
        let (run, tokens) = (&self.run, self.run.tokens().len());
        let values = detached(py, |_| match sites.iter().all(|site| run.has(*site)) {
            true => run.captures(&sites),
            false => {
                let options = RunOptions { edits: run.edits().to_vec(), sites: sites.clone() };
                run.model().run_with(run.tokens(), &options)?.captures(&sites)
            }
        })?;
        let width = sites[0].width(run.model().sizes());
        let arrays = values.into_iter().map(|value| to_numpy(py, value, &[tokens, width]));
        let mut arrays = arrays.collect::<PyResult<Vec<_>>>()?;
        match one {
            true => Ok(arrays.remove(0)),
            false => {
                let stacked = py.import("numpy")?.call_method1("stack", (arrays, 1))?;
                Ok(stacked.cast_into().map_err(PyErr::from)?)
            }
        }
    }

    /// Whether the model has a site of this name: a key of the run.
    fn __contains__(&self, key: &Bound<'_, PyAny>) -> bool {
        self.site_name(key).is_ok_and(|name| self.exists(&name))
    }

    /// Names of all sites.
    fn keys(&self) -> Vec<String> {
        self.names()
    }

    fn _ipython_key_completions_(&self) -> Vec<String> {
        self.names()
    }

    fn __len__(&self) -> usize {
        self.names().len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        Ok(PyList::new(py, self.names())?.try_iter()?.into_any())
    }
}

impl PyRun {
    /// Returns the name of a site for a key: the name itself, or a pair such as `("resid_pre", -1)`.
    fn site_name(&self, key: &Bound<'_, PyAny>) -> Result<String> {
        if let Ok(name) = key.extract::<String>() {
            return Ok(name);
        }
        let (short, block) = key.extract::<(String, i64)>().map_err(|_| {
            let form = "expected a name such as blocks.3.hook_resid_pre, or a pair such as (\"resid_pre\", 3)";
            value_error(format!("invalid site {}: {form}", shown(key)))
        })?;
        let block = from_end("block", block, self.run.model().sizes().layers)?;
        Ok(match short.as_str() {
            "q" | "k" | "v" | "z" | "rot_q" | "rot_k" => format!("blocks.{block}.attn.hook_{short}"),
            "pre" | "post" | "pre_linear" => format!("blocks.{block}.mlp.hook_{short}"),
            _ => format!("blocks.{block}.hook_{short}"),
        })
    }

    /// Returns the names of all sites of the model. Queries, keys, values and outputs of all heads have one name.
    fn names(&self) -> Vec<String> {
        let blocks = 0..self.run.model().sizes().layers;
        let all = blocks.flat_map(|block| HOOKS.map(|hook| format!("blocks.{block}.{hook}")));
        all.filter(|name| self.exists(name)).collect()
    }

    /// Returns whether the model has all sites of a name.
    fn exists(&self, name: &str) -> bool {
        self.sites(name).is_ok_and(|(sites, _)| sites.iter().all(|site| self.run.model().has_site(*site)))
    }

    /// Returns the sites of a name, and whether it names one site: q, k, v and z without a head name all heads.
    fn sites(&self, name: &str) -> Result<(Vec<Site>, bool)> {
        let ends = |hooks: &[&str]| hooks.iter().any(|hook| name.ends_with(hook));
        let sizes = self.run.model().sizes();
        let heads = match () {
            () if ends(&["hook_q", "hook_rot_q", "hook_z"]) => Some(sizes.heads),
            () if ends(&["hook_k", "hook_rot_k", "hook_v"]) => Some(sizes.kv_heads),
            () => None,
        };
        match heads {
            None => Ok((vec![name.parse()?], true)),
            Some(heads) => {
                let heads = 0..heads;
                Ok((heads.map(|h| Ok(format!("{name}[{h}]").parse()?)).collect::<Result<_>>()?, false))
            }
        }
    }
}
