"""A research day: batches, many edited runs at once, functions of logits, weights, whole heads, patterns, tables."""

import gc
import pickle

import numpy as np
import pytest
import resolvent
from conftest import JOHN, MARY, ROOT
from resolvent import Edit, Model, Observable, Source, log_prob, logit, logit_diff

Z = "blocks.1.attn.hook_z"
SITE = "blocks.1.hook_resid_pre"
PROMPT = [3, 1, 4, 1, 5]


def heads(tiny):
    return [Edit.ablate(f"{Z}[{h}]", t) for h in range(tiny.cfg.n_heads) for t in range(5)]


def test_unequal_prompts_run_together(model):
    prompts = [MARY, "The capital of France is", "The"]
    runs = model.run_all(prompts)
    assert [len(run.tokens) for run in runs] == [14, 5, 1]
    for run, prompt in zip(runs, prompts):
        alone = model.run(prompt)
        assert run == alone
        np.testing.assert_allclose(run.field, alone.field, rtol=1e-4, atol=1e-4)
    j = logit_diff(" Mary", " John")
    np.testing.assert_allclose(runs[0].value(j), model.run(MARY).value(j), rtol=1e-5)
    together = model.prompts(prompts).logits()
    np.testing.assert_allclose(together, [run.logits_at() for run in runs], rtol=1e-4, atol=1e-4)
    # Positions of edits are those of each prompt.
    edited = model.run_all(prompts[:2], Edit.ablate("blocks.0.hook_resid_pre", -1))
    assert [run.field[0, -1].any() for run in edited] == [False, False]
    assert [run.field[0, 0].any() for run in edited] == [True, True]
    assert model.run_all([]) == []
    with pytest.raises(ValueError, match="the prompt is empty"):
        model.run_all([[], [1]])


WORK = {
    "field": lambda m, r, o, j: r.field,
    "logits": lambda m, r, o, j: r.logits,
    "z": lambda m, r, o, j: r["z", 0],
    "attn_out": lambda m, r, o, j: r["attn_out", 0],
    "pattern": lambda m, r, o, j: r["pattern", 0],
    "result": lambda m, r, o, j: r.result(),
    "sensitivity": lambda m, r, o, j: r.sensitivity(j),
    "green": lambda m, r, o, j: r.green((1, 1), "random:1"),
    "flow": lambda m, r, o, j: r.flow(j, (1, 1), "random:1"),
    "identities": lambda m, r, o, j: r.identities(j),
    "growth": lambda m, r, o, j: r.growth(),
    "slice": lambda m, r, o, j: r.slice("random", rank=2, progress=False),
    "regime": lambda m, r, o, j: r.regime(j, "random:1", sites=[(1, 1)]),
    "invert": lambda m, r, o, j: r.invert((j, 1.0)),
    "locate": lambda m, r, o, j: r.locate(r.green((1, 1), "random:1")["response"]),
    "transfer": lambda m, r, o, j: r.transfer(o, j),
    "lens": lambda m, r, o, j: m.lens(r, j),
    "attribute": lambda m, r, o, j: m.attribute(r, j),
    "edges from": lambda m, r, o, j: m.edges(r, o, j, exact=True)["exact"],
    "edges into": lambda m, r, o, j: m.edges(o, r, j, exact=True)["exact"],
    "patch from": lambda m, r, o, j: m.patch_sweep(r, o, j, sites=["resid", "z", "attn_out"]),
    "patch into": lambda m, r, o, j: m.patch_sweep(o, r, j, predictors=["curvature", "hvp", "integrated", "relp"]),
    "subspace": lambda m, r, o, j: m.subspace(r, o, j, "blocks.0.hook_mlp_out")["effect"],
    "path": lambda m, r, o, j: m.path_patch(o, r, j, "a0.h0"),
    "values_under": lambda m, r, o, j: r.values_under([Edit.ablate(Z)], [j]),
    "logits_under": lambda m, r, o, j: r.logits_under([Edit.ablate(Z)]),
    "vjp": lambda m, r, o, j: r.linearize().vjp(j),
    "jvp": lambda m, r, o, j: r.linearize().jvp(Source(SITE, 1, np.ones(32))),
    "jet": lambda m, r, o, j: r.linearize().jet(Source(SITE, 1, np.ones(32)))[1],
    "hvp": lambda m, r, o, j: r.linearize().hvp(Source(SITE, 1, np.ones(32)), j),
    "along": lambda m, r, o, j: r.linearize().along(Source(SITE, 1, np.ones(32)), j),
}


@pytest.mark.parametrize("name", WORK)
def test_every_analysis_takes_runs_of_a_batch(tiny, name):
    """The rows of the second and third run begin in the middle of the batch's, at odd places."""
    prompts = [PROMPT, [2, 7, 1, 8], [9, 3, 5]]
    for run, prompt in list(zip(tiny.run_all(prompts), prompts))[1:]:
        alone, other, j = tiny.run(prompt), tiny.run([5] * len(prompt)), logit_diff(3, 4)
        found, expected = (WORK[name](tiny, one, other, j) for one in (run, alone))
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-3, atol=1e-3)


def test_several_observables_take_one_sweep(tiny, run):
    edits, js = heads(tiny), [logit(3), log_prob(7, -2), logit_diff(2, 6)]
    together = run.values_under(edits, js)
    assert together.shape == (len(edits), 3) and together.dtype == np.float64
    for column, j in zip(together.T, js):
        np.testing.assert_allclose(column, run.values_under(edits, j), atol=1e-6)
    assert run.values_under(edits, [logit(3)]).shape == (len(edits), 1)
    assert run.values_under([], js).shape == (0, 3)
    with pytest.raises(TypeError, match="expected an observable, a list of them, or a function of logits"):
        run.values_under(edits, 3)


def test_a_function_of_logits_is_called_once_for_a_batch(tiny, run):
    edits, shapes = heads(tiny), []

    def difference(logits):
        shapes.append(logits.shape)
        return logits[:, 2] - logits[:, 6]

    found = run.values_under(edits, difference)
    # Edits that do not reach the position are a batch of their own.
    assert len(shapes) <= 2 and sum(n for n, _ in shapes) == len(edits) and shapes[0][1] == tiny.cfg.d_vocab
    np.testing.assert_allclose(found, run.values_under(edits, logit_diff(2, 6)), atol=1e-5)
    early = run.values_under(edits, difference, position=1)
    np.testing.assert_allclose(early, run.values_under(edits, logit_diff(2, 6, 1)), atol=1e-5)
    rows = run.values_under(edits, lambda logits: logits[:, :4])
    np.testing.assert_allclose(rows, run.logits_under(edits)[:, :4], atol=1e-6)
    whole = [tiny.run(PROMPT, edit).logits_at() for edit in edits]
    np.testing.assert_allclose(run.logits_under(edits), whole, atol=1e-5)
    assert np.abs(whole - run.logits_at()).max() > 1e-3


def test_faults_of_a_function_are_raised(tiny, run):
    edits = heads(tiny)
    with pytest.raises(ZeroDivisionError):
        run.values_under(edits, lambda logits: 1 / 0)
    with pytest.raises(ValueError, match="expected a value for each row"):
        run.values_under(edits, lambda logits: 1.0)
    with pytest.raises(ValueError, match="no edited runs"):
        run.values_under([], lambda logits: logits[:, 0])
    assert run.value(logit(3)) == run.value(logit(3))


def test_weights_compute_the_logits(tiny, run):
    cfg = tiny.cfg
    assert tiny.W_E.shape == (cfg.d_vocab, cfg.d_model) and tiny.W_U.shape == (cfg.d_model, cfg.d_vocab)
    assert tiny.W_Q.shape == (cfg.n_layers, cfg.n_heads, cfg.d_model, cfg.d_head)
    assert tiny.W_O.shape == (cfg.n_layers, cfg.n_heads, cfg.d_head, cfg.d_model)
    assert tiny.W_in.shape == (cfg.n_layers, cfg.d_model, cfg.d_mlp) and tiny.W_gate is None
    assert tiny.W_out.shape == (cfg.n_layers, cfg.d_mlp, cfg.d_model) and tiny.b_in.shape == (cfg.n_layers, cfg.d_mlp)

    def norm(x, w, b):
        x = x.astype(np.float64)
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + cfg.eps) * w + b

    np.testing.assert_array_equal(run.field[0], tiny.W_E[PROMPT] + tiny.W_pos[: len(PROMPT)])
    normed = norm(run.field[-1], tiny.ln_final.w, tiny.ln_final.b)
    np.testing.assert_allclose(normed @ tiny.W_U + tiny.b_U, run.logits, atol=1e-4)
    for block in range(cfg.n_layers):
        x = norm(run["resid_pre", block], tiny.ln1.w[block], tiny.ln1.b[block])
        for name, w, b in (("q", tiny.W_Q, tiny.b_Q), ("k", tiny.W_K, tiny.b_K), ("v", tiny.W_V, tiny.b_V)):
            np.testing.assert_allclose(np.einsum("td,hdk->thk", x, w[block]) + b[block], run[name, block], atol=1e-4)
        out = np.einsum("thk,hkd->td", run["z", block], tiny.W_O[block]) + tiny.b_O[block]
        np.testing.assert_allclose(out, run["attn_out", block], atol=1e-4)
        y = norm(run["resid_mid", block], tiny.ln2.w[block], tiny.ln2.b[block])
        np.testing.assert_allclose(y @ tiny.W_in[block] + tiny.b_in[block], run["pre", block], atol=1e-4)
        np.testing.assert_allclose(
            run["post", block] @ tiny.W_out[block] + tiny.b_out[block], run["mlp_out", block], atol=1e-4
        )


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_weights_of_gated_families_with_shared_keys(family):
    model = Model.from_pretrained(ROOT / "tests/data/families" / family, device="host")
    run, cfg = model.run([3, 1, 4, 1, 5]), model.cfg
    assert model.W_K.shape == (cfg.n_layers, cfg.n_key_value_heads, cfg.d_model, cfg.d_head)
    assert model.W_pos is None and model.ln_final.b is None and model.ln1.b is None

    def norm(x, w):
        return x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + cfg.eps) * w

    normed = norm(run.field[-1], model.ln_final.w)
    np.testing.assert_allclose(normed @ model.W_U, run.logits, atol=1e-4)
    for block in range(cfg.n_layers):
        x = norm(run["resid_pre", block], model.ln1.w[block])
        for name, w, b in (("q", model.W_Q, model.b_Q), ("k", model.W_K, model.b_K), ("v", model.W_V, model.b_V)):
            np.testing.assert_allclose(np.einsum("td,hdk->thk", x, w[block]) + b[block], run[name, block], atol=1e-4)
        y = norm(run["resid_mid", block], model.ln2.w[block])
        np.testing.assert_allclose(y @ model.W_gate[block], run["pre", block], atol=1e-4)
        np.testing.assert_allclose(y @ model.W_in[block], run["pre_linear", block], atol=1e-4)


def test_weights_of_16_bits_are_those_of_the_products():
    rounded = Model.from_pretrained("random", device="host", f16_weights=True)
    full = Model.from_pretrained("random", device="host")
    for name in ("W_E", "W_Q", "W_O", "W_in", "W_out"):
        ours, theirs = getattr(rounded, name), getattr(full, name)
        np.testing.assert_array_equal(ours, theirs.astype(np.float16).astype(np.float32), err_msg=name)
        assert not np.array_equal(ours, theirs)


def test_weights_are_read_once_and_read_only(tiny):
    assert tiny.W_E is tiny.W_E and not tiny.W_E.flags.writeable
    # Heads are views of one array, and a tied unembedding is a view of the embedding.
    assert np.shares_memory(tiny.W_Q, tiny.W_Q) and tiny.W_Q.base is not None and not tiny.W_Q.flags.writeable
    assert np.shares_memory(tiny.W_U, tiny.W_E)
    np.testing.assert_array_equal(tiny.W_U[:, 7], tiny.unembedding(7))
    with pytest.raises(ValueError, match="read-only"):
        tiny.W_O[0, 0, 0, 0] = 1


def test_an_edit_of_all_positions_and_of_whole_heads(tiny, run):
    one_by_one = [Edit.ablate(f"{Z}[{h}]", t) for h in range(tiny.cfg.n_heads) for t in range(5)]
    np.testing.assert_array_equal(tiny.run(PROMPT, Edit.ablate(Z)).field, tiny.run(PROMPT, one_by_one).field)
    site = "blocks.2.hook_resid_pre"
    vector = np.arange(32.0)
    same = {
        "slice": (Edit.add(site, slice(1, 4), vector), [1, 2, 3]),
        "step": (Edit.add(site, slice(None, None, 2), vector), [0, 2, 4]),
        "end": (Edit.add(site, slice(-2, None), vector), [3, 4]),
        "list": (Edit.add(site, [0, -1], vector), [0, 4]),
        "range": (Edit.add(site, range(2), vector), [0, 1]),
        "array": (Edit.add(site, np.array([1, 3]), vector), [1, 3]),
        "all": (Edit.add(site, None, vector), [0, 1, 2, 3, 4]),
    }
    for name, (edit, tokens) in same.items():
        single = [Edit.add(site, t, vector) for t in tokens]
        np.testing.assert_array_equal(tiny.run(PROMPT, edit).field, tiny.run(PROMPT, single).field, err_msg=name)
        assert pickle.loads(pickle.dumps(edit)) == edit and hash(edit) == hash(pickle.loads(pickle.dumps(edit)))
    assert repr(same["slice"][0]) == f"<resolvent.Edit add [32] at {site}, positions 1:4>"
    assert repr(Edit.ablate(Z)) == f"<resolvent.Edit scale 0 at {Z}, all positions>"
    np.testing.assert_array_equal(tiny.run(PROMPT, Edit.add(site, slice(2, 2), vector)).field, run.field)


def test_arrays_of_edits_are_broadcast(tiny, run):
    other = tiny.run([2, 7, 1, 8, 2])
    for name in ("blocks.1.hook_resid_pre", Z, "blocks.1.attn.hook_k"):
        patched = tiny.run(PROMPT, Edit.put(name, None, other[name]))
        np.testing.assert_array_equal(patched[name], other[name])
        # A TransformerLens cache has an axis of one prompt.
        cache = other.to_dict([name])
        np.testing.assert_array_equal(tiny.run(PROMPT, Edit.put(name, None, cache[name])).field, patched.field)
    mean = run["z", 1].mean(0)
    np.testing.assert_array_equal(
        tiny.run(PROMPT, Edit.put(Z, None, mean))["z", 1], np.broadcast_to(mean, (5, *mean.shape))
    )
    with pytest.raises(
        ValueError,
        match=r"invalid shape \[3, 32\] of a vector at .*, which is 32 wide: expected what broadcasts to \[5, 32\]",
    ):
        tiny.run(PROMPT, Edit.add("blocks.1.hook_resid_pre", None, np.ones((3, 32))))
    with pytest.raises(TypeError, match="expected a position, a list or a slice of them, or None for all"):
        Edit.ablate(Z, "last")
    with pytest.raises(ValueError, match="invalid step -1"):
        tiny.run(PROMPT, Edit.ablate(Z, slice(None, None, -1)))


def test_scores_and_patterns_are_values_of_a_run(tiny, run):
    name = "blocks.1.attn.hook_pattern"
    assert name in run and name in list(run) and "blocks.9.attn.hook_pattern" not in run
    pattern, scores = run[name], run["attn_scores", 1]
    np.testing.assert_array_equal(pattern, run.pattern(1))
    q, k = run["q", 1], run["k", 1]
    want = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(tiny.cfg.d_head)
    seen = np.tril(np.ones((5, 5), dtype=bool))
    np.testing.assert_allclose(scores[:, seen], want[:, seen], atol=1e-5)
    assert (scores[:, ~seen] == -np.inf).all()
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(pattern, weights / weights.sum(-1, keepdims=True), atol=1e-6)


def test_scores_and_patterns_are_edited(tiny, run):
    pattern, scores = "blocks.1.attn.hook_pattern", "blocks.1.attn.hook_attn_scores"
    before = run[pattern]
    # A hidden key leaves its weight to the others; a weight of zero does not.
    hidden = tiny.run(PROMPT, Edit.put(f"{scores}[0,1]", 3, [-np.inf]))
    rest = before[0, 3] / (1 - before[0, 3, 1])
    rest[1] = 0
    np.testing.assert_allclose(hidden[pattern][0, 3], rest, atol=1e-6)
    zeroed = tiny.run(PROMPT, Edit.ablate(f"{pattern}[0,1]", 3))
    want = before.copy()
    want[0, 3, 1] = 0
    np.testing.assert_allclose(zeroed[pattern], want, atol=1e-6)
    z, v = zeroed["z", 1], run["v", 1]
    np.testing.assert_allclose(z, np.einsum("hqk,khd->qhd", want, v), atol=1e-5)
    # All keys of a head, and of all heads: as they are read.
    other = tiny.run([6, 2, 8, 3, 9])[pattern]
    np.testing.assert_allclose(tiny.run(PROMPT, Edit.put(pattern, None, other))[pattern], other, atol=1e-6)
    one = tiny.run(PROMPT, Edit.put(f"{pattern}[1]", None, other[1]))[pattern]
    np.testing.assert_allclose(one, np.stack([before[0], other[1], *before[2:]]), atol=1e-6)
    last = tiny.run(PROMPT, Edit.put(f"{pattern}[1]", -1, np.full(5, 0.2)))
    np.testing.assert_allclose(last[pattern][1, -1], np.full(5, 0.2), atol=1e-6)
    assert not tiny.run(PROMPT, Edit.ablate(pattern))["z", 1].any()
    uniform = tiny.run(PROMPT, Edit.scale(scores, None, 0.0))[pattern]
    np.testing.assert_allclose(uniform[0, -1], np.full(5, 0.2), atol=1e-6)


def test_edits_of_attention_are_swept_and_differentiated(tiny, run):
    pattern, j = "blocks.0.attn.hook_pattern", logit(1) - logit(2)
    variants = [Edit.ablate(f"{pattern}[{h},{k}]", 3) for h in range(tiny.cfg.n_heads) for k in range(4)]
    values = run.values_under(variants, j)
    want = [tiny.run(PROMPT, edit).value(j) for edit in variants]
    np.testing.assert_allclose(values, want, atol=1e-5)
    assert np.ptp(values) > 1e-3
    # Its certificates are checked: one that fails is an error.
    assert np.isfinite(tiny.run(PROMPT, variants[0]).sensitivity(j)["sensitivity"]).all()
    tokens = tiny.generate(PROMPT, 3, variants[0])
    assert tokens[0] == int(np.argmax(tiny.run(PROMPT, variants[0]).logits[-1]))


def test_edits_of_attention_that_do_not_fit(tiny):
    pattern = "blocks.1.attn.hook_pattern"
    for edit, part in [
        (Edit.ablate(f"{pattern}[0,4]", 2), "give a key from 0 to 2"),
        (Edit.put(f"{pattern}[0]", 2, np.ones(5)), "the query sees keys 0 to 2; give 0"),
        (Edit.put(f"{pattern}[0]", 2, np.ones(3)), "which is 5 wide: expected what broadcasts to"),
        (Edit.project_out(f"{pattern}[0]", 2, np.ones(5)), "use add, put or scale"),
        (Edit.put("blocks.1.attn.hook_attn_scores[0,0]", 0, [-np.inf]), "hide every key"),
    ]:
        with pytest.raises(ValueError, match=part):
            tiny.run(PROMPT, edit)
    edit = Edit.ablate(pattern, 0)
    assert pickle.loads(pickle.dumps(edit)) == edit and repr(edit).endswith(f"at {pattern}, position 0>")


def test_a_run_as_a_dictionary(run):
    cache = run.to_dict()
    assert list(cache) == run.keys()
    for name, array in cache.items():
        assert array.shape[0] == 1
        # Another forward pass, which computes outputs apart from the stream, rounds differently.
        np.testing.assert_allclose(array[0], run[name], atol=1e-5)
    assert list(run.to_dict("blocks.0.hook_attn_out")) == ["blocks.0.hook_attn_out"]


def test_tables_of_other_packages(model):
    swept = model.patch_sweep(MARY, JOHN, logit_diff(" Mary", " John"), sites=["resid", "z"])
    polars = pytest.importorskip("polars")
    table = swept.to_polars()
    assert isinstance(table, polars.DataFrame) and table.columns[:3] == ["level", "token", "effect"]
    row = table.filter((polars.col("level") == 3) & (polars.col("token") == 10))
    assert row["effect"][0] == swept["effect"][3, 10]
    assert swept.to_polars("effect.z").columns[:3] == ["block", "head", "token"]
    pytest.importorskip("xarray")
    array = swept.to_xarray()
    assert array.dims == ("level", "token") and array.attrs["analysis"] == swept.analysis
    assert list(array["token_text"].values) == swept.str_tokens
    np.testing.assert_array_equal(array.sel(level=3) if "level" in array.coords else array[3], swept["effect"][3])


def test_tables_name_the_package_that_is_missing(model, monkeypatch):
    swept = model.patch_sweep(MARY, JOHN, logit_diff(" Mary", " John"))
    for package, use in (("polars", swept.to_polars), ("xarray", swept.to_xarray)):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        with pytest.raises(ImportError, match=f"needs {package}; install it: pip install {package}"):
            use()


def test_generation_reads_edits_of_whole_prompts(model):
    prompt = "The capital of France is"
    plain = model.generate(prompt, 8)
    for count in (1, 5):
        np.testing.assert_array_equal(model.generate(prompt, count), plain[:count])
    # Token by token, each from a whole run.
    tokens = list(model.to_tokens(prompt))
    for token in plain:
        assert int(model.run(tokens).logits_at().argmax()) == token
        tokens.append(int(token))
    ablated = model.generate(prompt, 8, Edit.ablate("blocks.0.hook_mlp_out"))
    assert list(ablated) != list(plain)


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_a_thousand_runs_leave_no_memory_behind(tiny):
    pytest.importorskip("resource", reason="reads /proc, on Linux")
    j = Observable("logit(#3)")

    def work(times):
        for _ in range(times):
            run = tiny.run(PROMPT, Edit.ablate(Z))
            run.sensitivity(j)
            run.values_under([Edit.ablate(Z, 1)], lambda logits: logits[:, 0])
            tiny.generate(PROMPT, 2)
        gc.collect()

    work(200)
    before = resident()
    work(1000)
    # One run has more than 40 KiB on the device, so 1000 of them are 40 MiB.
    assert resident() - before < 16 << 20


def test_the_model_of_a_run_is_equal(tiny, run):
    assert run.model == tiny and isinstance(run.model, Model)
    np.testing.assert_array_equal(run.model.W_E, tiny.W_E)
    assert resolvent.Edit.ablate(Z) == Edit.ablate(Z, None)
