//! The class `Run` as a mapping from names of sites to their values.

use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use resolvent::model::{Error, Run, RunOptions, Site, StreamNorm, from_end};

use crate::arrays::to_numpy;
use crate::classes::PyRun;
use crate::failure::{Failure, Result, value_error};
use crate::lists::{Many, shown};
use crate::work::detached;

type Array<'py> = Bound<'py, PyArrayDyn<f32>>;

/// What a run has besides sites: embeddings, norms of the stream, attention scores, patterns, outputs of heads.
const EMBEDDING: &str = "hook_embed";
const POSITIONS: &str = "hook_pos_embed";
const SCALE: &str = ".hook_scale";
const NORMALIZED: &str = ".hook_normalized";
const RESULT: &str = "attn.hook_result";
const SCORES: &str = "attn.hook_attn_scores";
const PATTERN: &str = "attn.hook_pattern";

/// Names of a block, in the order in which they are computed.
const HOOKS: [&str; 20] = [
    "hook_resid_pre",
    "ln1.hook_scale",
    "ln1.hook_normalized",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_rot_q",
    "attn.hook_rot_k",
    SCORES,
    PATTERN,
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "ln2.hook_scale",
    "ln2.hook_normalized",
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
    /// attention and MLP need another forward pass unless the run was asked for them. Attention scores and patterns
    /// (`blocks.3.attn.hook_attn_scores`, `hook_pattern`) are [H, T, T], queries by keys; scores of later keys are
    /// minus infinity. Norms have `blocks.3.ln1.hook_scale` [T, 1] and `hook_normalized` [T, d], before gain and bias;
    /// also `ln2` and `ln_final`. `blocks.3.attn.hook_result` [T, H, d], which is no key, is what each head adds to the
    /// stream before the bias; `hook_result[5]` is one head [T, d].
    fn __getitem__<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> Result<Array<'py>> {
        Ok(self.values(py, &[self.site_name(key)?])?.remove(0))
    }

    /// Returns the values of sites by name, of all sites or of those in `names`, as TransformerLens' cache has them:
    /// with a first axis of one prompt. At most one more forward pass computes what the run has not stored.
    #[pyo3(signature = (names = None), text_signature = "($self, names=None)")]
    fn to_dict<'py>(&self, py: Python<'py>, names: Option<Many<String>>) -> Result<Bound<'py, PyDict>> {
        let names = names.map_or_else(|| self.names(), |names| names.0);
        let cache = PyDict::new(py);
        for (name, array) in names.iter().zip(self.values(py, &names)?) {
            cache.set_item(name, array.get_item(py.None())?)?;
        }
        Ok(cache)
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

/// What a name denotes.
enum Named {
    /// One site.
    Site(Site),
    /// The sites of all heads.
    Heads(Vec<Site>),
    Scores(usize),
    Pattern(usize),
    /// What each head adds to the stream.
    Result(usize),
    Scale(StreamNorm),
    Normalized(StreamNorm),
    Embedding,
    Positions,
}

impl Named {
    fn sites(&self) -> &[Site] {
        match self {
            Self::Site(site) => std::slice::from_ref(site),
            Self::Heads(sites) => sites,
            _ => &[],
        }
    }

    /// Returns the values of a name that is not a site, with their shape.
    fn read(&self, run: &Run) -> resolvent::model::Result<Option<(Vec<f32>, Vec<usize>)>> {
        let (tokens, heads, d) = (run.tokens().len(), run.model().sizes().heads, run.model().sizes().d);
        Ok(Some(match self {
            Self::Site(_) | Self::Heads(_) => return Ok(None),
            Self::Scores(block) => (run.attention_scores(*block)?, vec![heads, tokens, tokens]),
            Self::Pattern(block) => (run.pattern(*block)?, vec![heads, tokens, tokens]),
            Self::Result(block) => (run.head_results(*block)?, vec![tokens, heads, d]),
            Self::Scale(norm) => (run.norm_scale(*norm)?, vec![tokens, 1]),
            Self::Normalized(norm) => (run.normalized(*norm)?, vec![tokens, d]),
            Self::Embedding => (run.token_embeddings()?, vec![tokens, d]),
            Self::Positions => {
                let none = || Error::Place(format!("{POSITIONS}: this model learns no positions; leave it out"));
                (run.position_embeddings()?.ok_or_else(none)?, vec![tokens, d])
            }
        }))
    }
}

impl PyRun {
    /// Returns the values of names. One more forward pass computes all sites that the run has not stored.
    fn values<'py>(&self, py: Python<'py>, names: &[String]) -> Result<Vec<Array<'py>>> {
        let named = names.iter().map(|name| self.named(name)).collect::<Result<Vec<Named>>>()?;
        let sites: Vec<Site> = named.iter().flat_map(Named::sites).copied().collect();
        let (run, tokens) = (&self.run, self.run.tokens().len());
        let (read, others) = detached(py, |_| {
            let read = match sites.iter().all(|site| run.has(*site)) {
                true => run.captures(&sites)?,
                false => {
                    let options = RunOptions { edits: run.edits().to_vec(), sites: sites.clone() };
                    run.model().run_with(run.tokens(), &options)?.captures(&sites)?
                }
            };
            let others = named.iter().map(|one| one.read(run)).collect::<resolvent::model::Result<Vec<_>>>()?;
            Ok::<_, Failure>((read, others))
        })?;
        let mut read = read.into_iter();
        let mut next = |site: &Site| {
            let width = site.width(run.model().sizes());
            to_numpy(py, read.next().unwrap_or_default(), &[tokens, width])
        };
        let mut arrays = Vec::with_capacity(named.len());
        for (one, other) in named.iter().zip(others) {
            arrays.push(match (one, other) {
                (_, Some((values, shape))) => to_numpy(py, values, &shape)?,
                (Named::Heads(sites), None) => {
                    let each = sites.iter().map(&mut next).collect::<PyResult<Vec<_>>>()?;
                    py.import("numpy")?.call_method1("stack", (each, 1))?.cast_into().map_err(PyErr::from)?
                }
                (one, None) => one.sites().first().map_or_else(|| to_numpy(py, Vec::new(), &[0]), &mut next)?,
            });
        }
        Ok(arrays)
    }

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
            "q" | "k" | "v" | "z" | "rot_q" | "rot_k" | "pattern" | "attn_scores" | "result" => {
                format!("blocks.{block}.attn.hook_{short}")
            }
            "pre" | "post" | "pre_linear" => format!("blocks.{block}.mlp.hook_{short}"),
            _ => format!("blocks.{block}.hook_{short}"),
        })
    }

    /// Returns the names of all sites of the model. Queries, keys, values and outputs of all heads have one name.
    fn names(&self) -> Vec<String> {
        let blocks = 0..self.run.model().sizes().layers;
        let all = blocks.flat_map(|block| HOOKS.map(|hook| format!("blocks.{block}.{hook}")));
        let first = [EMBEDDING, POSITIONS].map(str::to_owned).into_iter();
        let last = [SCALE, NORMALIZED].map(|hook| format!("{}{hook}", StreamNorm::Final));
        first.chain(all).chain(last).filter(|name| self.exists(name)).collect()
    }

    /// Returns whether the model has all sites of a name.
    fn exists(&self, name: &str) -> bool {
        let model = self.run.model();
        self.named(name).is_ok_and(|named| match &named {
            Named::Scale(norm) | Named::Normalized(norm) => model.has_norm(*norm),
            Named::Positions => model.has_positions(),
            one => one.sites().iter().all(|site| model.has_site(*site)),
        })
    }

    /// Returns what a name denotes: q, k, v and z without a head name all heads.
    fn named(&self, name: &str) -> Result<Named> {
        let ends = |hooks: &[&str]| hooks.iter().any(|hook| name.ends_with(hook));
        let sizes = self.run.model().sizes();
        let block = |hook: &str| name.strip_prefix("blocks.")?.strip_suffix(hook)?.strip_suffix('.')?.parse().ok();
        let within =
            |block: usize| Ok::<_, Failure>(from_end("block", i64::try_from(block).unwrap_or(i64::MAX), sizes.layers)?);
        for (hook, of) in
            [(SCORES, Named::Scores as fn(usize) -> Named), (PATTERN, Named::Pattern), (RESULT, Named::Result)]
        {
            if let Some(block) = block(hook) {
                return Ok(of(within(block)?));
            }
        }
        for (hook, of) in [(SCALE, Named::Scale as fn(StreamNorm) -> Named), (NORMALIZED, Named::Normalized)] {
            if let Some(norm) = name.strip_suffix(hook) {
                return Ok(of(norm.parse()?));
            }
        }
        if let Some(one) =
            [(EMBEDDING, Named::Embedding), (POSITIONS, Named::Positions)].into_iter().find(|(n, _)| *n == name)
        {
            return Ok(one.1);
        }
        let heads = match () {
            () if ends(&["hook_q", "hook_rot_q", "hook_z"]) => Some(sizes.heads),
            () if ends(&["hook_k", "hook_rot_k", "hook_v"]) => Some(sizes.kv_heads),
            () => None,
        };
        Ok(match heads {
            None => Named::Site(name.parse()?),
            Some(heads) => {
                let each = (0..heads).map(|h| Ok(format!("{name}[{h}]").parse()?));
                Named::Heads(each.collect::<Result<_>>()?)
            }
        })
    }
}
