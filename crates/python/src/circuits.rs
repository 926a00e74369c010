//! Analyses of a model's levels and of its heads, MLPs and neurons.

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use pyo3::types::PyString;
use resolvent::field::{
    AttributeOptions, Case, EdgeOptions, EdgePredictor, FeatureOptions, LensOptions, Subspace, SubspaceOptions,
};
use resolvent::model::{Site, from_end, path_sites};

use crate::arguments::place as place_in;
use crate::arrays::{contiguous, floats};
use crate::averaged_operator::PyAveragedOperator;
use crate::classes::PyModel;
use crate::dictionary::PyDictionary;
use crate::failure::{Failure, Result, value_error};
use crate::lists::{Many, Pair, Seed, count};
use crate::observable::Given;
use crate::result::PyResultOf;
use crate::work::detached;

#[pymethods]
impl PyModel {
    /// How much of an effect passes along each edge from a writer (embedding, head, MLP) to a reader (queries, keys,
    /// values, MLP, logits): what patching that edge alone from the clean prompt into the corrupted one does to J.
    ///
    /// `predictors` are `integrated` (with `steps` runs between the prompts), `integrated_activations` (with `steps`
    /// runs for each MLP and each block's heads) and `relp`, beside first order. `exact` patches every edge too, and
    /// with `random` so many random displacements of the same norms, as a control. `by_token` adds all of this for each
    /// edge at each token alone.
    ///
    /// Arrays: `edges` [E, 2], indices into the comma-separated names `writers` and `readers` of the metadata;
    /// `first_order`, `integrated`, `integrated_activations`, `relp`, `exact`, `random`, `random_exact` [E];
    /// `clean_value`,
    /// `corrupted_value` [1]; with `by_token` those but `random_exact` also as `first_order_by_token` [E, T] and so on.
    #[pyo3(
        signature = (clean, corrupted, observable, *, predictors = Many::default(), steps = 8, exact = false,
            random = 0, seed = Seed(0), by_token = false),
        text_signature = "($self, clean, corrupted, observable, *, predictors=(), steps=8, exact=False, random=0, \
            seed=0, by_token=False)"
    )]
    fn edges(
        &self,
        py: Python<'_>,
        clean: &Bound<'_, PyAny>,
        corrupted: &Bound<'_, PyAny>,
        observable: Given<'_>,
        predictors: Many<String>,
        steps: i64,
        exact: bool,
        random: i64,
        seed: Seed,
        by_token: bool,
    ) -> Result<PyResultOf> {
        let predictors = predictors.0.iter().map(|name| Ok(name.parse()?)).collect::<Result<Vec<EdgePredictor>>>()?;
        let sites = path_sites(self.model.sizes());
        let [clean, corrupted] = self.pair([clean, corrupted], &sites)?;
        let (j, title) = (observable.get().beside(py, &corrupted, &clean)?, observable.get().title());
        let (steps, random, seed) = (count("steps", steps)?, count("random", random)?, seed.0);
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let options = EdgeOptions { predictors, steps, exact, by_token, controls: 0, random, seed };
        let result = detached(py, |_| resolvent::field::edges(&case, &options))?;
        PyResultOf::new(py, result, Some(&corrupted), Some(&title))
    }

    /// Which writers (embedding, heads, MLPs) carry the difference between two prompts at a place (level, token): the
    /// effects of adding what each of them changes there, to first order and exactly.
    ///
    /// Arrays, over the comma-separated `writers` of the metadata: `first_order`, `exact`, `norm` [W]; `whole` [2],
    /// both effects of the whole difference; `clean_value`, `corrupted_value` [1].
    fn edges_into(
        &self,
        py: Python<'_>,
        clean: &Bound<'_, PyAny>,
        corrupted: &Bound<'_, PyAny>,
        observable: Given<'_>,
        place: Pair,
    ) -> Result<PyResultOf> {
        let sites = path_sites(self.model.sizes());
        let [clean, corrupted] = self.pair([clean, corrupted], &sites)?;
        let (j, title) = (observable.get().beside(py, &corrupted, &clean)?, observable.get().title());
        let place = place_in(&corrupted, place)?;
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let result = detached(py, |_| resolvent::field::edges_into(&case, place))?;
        PyResultOf::new(py, result, Some(&corrupted), Some(&title))
    }

    /// Decomposes an observable over embedding, heads, MLPs and biases: their direct contributions, and their outputs
    /// times the derivative by them.
    ///
    /// `prompt` is text, ids or a run. `neurons` adds the contributions of every neuron, and lists the `listed` largest
    /// at single tokens; `patterns` adds all attention patterns.
    ///
    /// Arrays: `direct`, `first_order` [W, T] for the comma-separated `writers` of the metadata, and their controls
    /// `random_direct`, `random_first_order`; `direct_biases` [L, T], `constant` [1], `value` [1]; on request
    /// `neurons`, `neurons_first_order` [L, inner], `mlp_biases` [L], `neuron_places` [N, 3] (block, token, neuron),
    /// `neuron_effects` [N] and `pattern` [L, H, T, T].
    #[pyo3(
        signature = (prompt, observable, *, neurons = false, listed = 64, patterns = false),
        text_signature = "($self, prompt, observable, *, neurons=False, listed=64, patterns=False)"
    )]
    fn attribute(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        observable: Given<'_>,
        neurons: bool,
        listed: i64,
        patterns: bool,
    ) -> Result<PyResultOf> {
        let options = AttributeOptions { neurons, patterns, listed: count("listed", listed)?, controls: 0 };
        let run = self.prepared(prompt, &options.sites(self.model.sizes()), "the run")?;
        let (j, title) = (observable.get().of(py, &run)?, observable.get().title());
        let result = detached(py, |_| resolvent::field::attribute(&run, &j, options))?;
        PyResultOf::new(py, result, Some(&run), Some(&title))
    }

    /// Reads every level by the head: the logit lens.
    ///
    /// `prompt` is text, ids or a run; `top` is the number of most likely tokens of each place. With `averaged`, each
    /// level is read through its averaged operator; levels without one are NaN.
    ///
    /// Arrays: `answer` [L+1, T], the probability of the token that is most likely at level L, its `rank`, `entropy`
    /// and `kl` (KL(p[L,t] || p[l,t]), nats); `top_tokens`, `top_probability` [L+1, T, K]; with an observable `value`
    /// [L+1].
    #[pyo3(
        signature = (prompt, observable = None, *, top = 5, averaged = None),
        text_signature = "($self, prompt, observable=None, *, top=5, averaged=None)"
    )]
    fn lens(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        observable: Option<Given<'_>>,
        top: i64,
        averaged: Option<&Bound<'_, PyAveragedOperator>>,
    ) -> Result<PyResultOf> {
        let top = count("top", top)?;
        let run = self.prepared(prompt, &[], "the run")?;
        let j = observable.map(|one| Ok::<_, Failure>((one.get().of(py, &run)?, one.get().title()))).transpose()?;
        let on = j.as_ref().map(|(j, _)| j);
        let options = LensOptions { top, averaged: averaged.map(|one| &one.get().averaged) };
        let result = detached(py, |_| resolvent::field::lens(&run, on, options))?;
        PyResultOf::new(py, result, Some(&run), j.as_ref().map(|(_, title)| title.as_str()))
    }

    /// Patches a site at one token along a few directions, from the clean prompt into the corrupted one, and along the
    /// parts of these that linear readers see (row space) and do not see (kernel).
    ///
    /// `site` is of the residual stream, `blocks.L.mlp.hook_post` or `blocks.L.attn.hook_z[H]`. `directions` are `best`
    /// (the largest first-order effect), `sensitivity`, `displacement`, `random[:SEED]`, a file, or vectors [width, k].
    /// `readers` are those of the `next` block, or `all`. `controls` random displacements are as long as what the patch
    /// moves.
    ///
    /// Arrays: `effect`, `first_order`, `row_effect`, `kernel_effect`, `moved_row_effect`, `moved_kernel_effect`,
    /// `whole_effect`, `random`, `moved_kernel`, `whole_kernel`, `gain`, `rank` [1]; `kernel`, `by_kernel` [k];
    /// `source` [width, k].
    #[pyo3(
        signature = (clean, corrupted, observable, site, token = -1, *, directions = None, readers = "next",
            controls = 16, seed = Seed(0)),
        text_signature = "($self, clean, corrupted, observable, site, token=-1, *, directions=None, readers=\"next\", \
            controls=16, seed=0)"
    )]
    fn subspace(
        &self,
        py: Python<'_>,
        clean: &Bound<'_, PyAny>,
        corrupted: &Bound<'_, PyAny>,
        observable: Given<'_>,
        site: &str,
        token: i64,
        directions: Option<&Bound<'_, PyAny>>,
        readers: &str,
        controls: i64,
        seed: Seed,
    ) -> Result<PyResultOf> {
        let site: Site = site.parse()?;
        let of = directions_of(directions)?;
        let (random, seed) = (count("controls", controls)?, seed.0);
        let options = SubspaceOptions { readers: readers.parse()?, random, seed };
        let [clean, corrupted] = self.pair([clean, corrupted], &[site])?;
        let token = from_end("token position", token, corrupted.tokens().len())?;
        let (j, title) = (observable.get().beside(py, &corrupted, &clean)?, observable.get().title());
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let result = detached(py, |_| resolvent::field::subspace(&case, (site, token), &of, options))?;
        PyResultOf::new(py, result, Some(&corrupted), Some(&title))
    }

    /// Attributes an effect to the features of a dictionary, and to its error: what moving each does to J.
    ///
    /// With `target`, a prompt or run of as many tokens, features become those of it; without it, zero. The `top`
    /// features with the largest first-order effects are returned; `exact` moves them, and the error, exactly too.
    ///
    /// Arrays: `features`, `first_order`, `random` (a control), `exact` [K]; `first_order_by_token`, `factor`,
    /// `target_factor` [K, T]; `error_first_order`, `active`, `missed` [T]; `error_exact`, `whole_exact`, `value` [1].
    #[pyo3(
        signature = (dictionary, prompt, observable, *, target = None, top = 20, exact = false),
        text_signature = "($self, dictionary, prompt, observable, *, target=None, top=20, exact=False)"
    )]
    fn features(
        &self,
        py: Python<'_>,
        dictionary: &Bound<'_, PyDictionary>,
        prompt: &Bound<'_, PyAny>,
        observable: Given<'_>,
        target: Option<&Bound<'_, PyAny>>,
        top: i64,
        exact: bool,
    ) -> Result<PyResultOf> {
        let dictionary = &dictionary.get().dictionary;
        let sites = dictionary.sites(self.model.sizes())?.concat();
        let run = self.prepared(prompt, &sites, "the run")?;
        let target = target.map(|target| self.prepared(target, &sites, "the target")).transpose()?;
        let (j, title) = (observable.get().of(py, &run)?, observable.get().title());
        let options = FeatureOptions { top: count("top", top)?, exact, controls: 0 };
        let result = detached(py, |_| resolvent::field::features(&run, target.as_ref(), dictionary, &j, options))?;
        PyResultOf::new(py, result, Some(&run), Some(&title))
    }
}

/// Reads the directions of a subspace patch: a name, a file, or vectors `[width, k]`; without any, the best one.
pub(crate) fn directions_of(argument: Option<&Bound<'_, PyAny>>) -> Result<Subspace> {
    let Some(argument) = argument else { return Ok(Subspace::Best) };
    if let Ok(text) = argument.cast::<PyString>() {
        return Ok(Subspace::parse(&text.to_cow()?)?);
    }
    let array = floats(argument)?;
    let [_, k] = *array.shape() else {
        return Err(value_error(format!("invalid shape {:?}: expected vectors [width, k]", array.shape())));
    };
    let elements = contiguous(&array)?;
    Ok(Subspace::Vectors((0..k).map(|i| elements.iter().skip(i).step_by(k).copied().collect()).collect()))
}
