"""Many prompts at once, and what else Python has of the library."""

import json
import pickle
import zipfile

import numpy as np
import pytest

import resolvent
from resolvent import Edit, Model, Observable, Prompts, Source, entropy, logit_diff

PAIRS = [
    {"clean": [7, 3, 21, 9, 30, 2], "corrupted": [7, 3, 8, 9, 30, 2], "observable": "logit(#11) - logit(#4)"},
    {"clean": [5, 1, 6], "corrupted": [5, 2, 6], "target": "#4", "label": "short", "roles": {"changed": 1}},
    {"clean": [1, 2, 3, 4], "corrupted": [1, 9, 3, 4], "target": "#4", "against": "#9", "roles": {"changed": 1}},
]


@pytest.fixture(scope="module")
def model(tiny):
    return tiny


def test_a_prompt_has_its_own_numbers(model):
    prompts = model.prompts(PAIRS)
    assert isinstance(prompts, Prompts) and len(prompts) == 3
    assert prompts.names == ["row 0", "short", "row 2"]
    assert prompts.tokens[1] == [5, 1, 6] and prompts.left_out == []
    assert prompts.observables[2] == "logit(#4)@3 - logit(#9)@3"
    swept = prompts.patch(sites=["resid", "z"], predictors=["relp"])
    assert swept.axes == ("prompt", "level", "token")
    for n, pair in enumerate(PAIRS):
        j = Observable(prompts.observables[n])
        alone = model.patch_sweep(pair["clean"], pair["corrupted"], j, sites=["resid", "z"], predictors=["relp"])
        t = len(pair["clean"])
        for name in ["effect", "effect.z", "predicted"]:
            np.testing.assert_allclose(swept[name][n, ..., :t], alone[name], atol=1e-5)
            assert np.isnan(swept[name][n, ..., t:]).all()
    np.testing.assert_allclose(swept["effect.mean"][:, -1], swept["effect"][[0, 1, 2], :, [5, 2, 3]].mean(0), rtol=1e-5)
    assert json.loads(swept.metadata["roles"]) == ["changed"]
    np.testing.assert_allclose(swept["effect.role"][0], swept["effect"][1:, :, 1].mean(0), rtol=1e-5)
    assert swept["lengths"].tolist() == [6, 3, 4] and np.isnan(swept["effect.low"]).all()


def test_sources_at_a_place_of_each_prompt(model):
    prompts = model.prompts(PAIRS)
    given = np.linspace(-1, 1, model.cfg.d_model, dtype=np.float32)
    for direction in ["random:3", "displacement", "sensitivity", given]:
        place = (1, 1) if isinstance(direction, str) and direction == "displacement" else (1, -2)
        rows = PAIRS[1:] if place == (1, 1) else PAIRS
        found = model.prompts(rows).green(place, direction, unit=True, geometry=True, directions=3)
        for n, pair in enumerate(rows):
            j = Observable(model.prompts(rows).observables[n])
            run, t = model.run(pair["clean"]), len(pair["clean"])
            alone = run.green(
                place, direction, unit=True, observable=j, donor=pair["corrupted"], geometry=True, directions=3
            )
            np.testing.assert_allclose(found["norm"][n, :, :t], alone["norm"], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found["gain"][n], alone["gain"], rtol=1e-5)
    finite = prompts.green((1, -2), given, nodes=2)
    assert finite.metadata["nodes"] == "2" and "finite" not in prompts.green((1, -2), given)
    for n, pair in enumerate(PAIRS):
        run, t = model.run(pair["clean"]), len(pair["clean"])
        alone = run.green((1, -2), given, nodes=2)
        for name in ["finite", "secant"]:
            np.testing.assert_allclose(finite[name][n, :, :t], alone[name], rtol=1e-4, atol=1e-5)
            assert np.isnan(finite[name][n, :, t:]).all()
    with pytest.raises(ValueError, match="nodes"):
        prompts.green((1, -2), given, nodes=17)
    regime = prompts.regime("random:3", sites=[(0, -1), (2, -2)], amplitudes=[0.01, 0.1], nodes=2)
    chosen = prompts.invert(0.25, sites=[(1, -1)], refine=2)
    for n, pair in enumerate(PAIRS):
        j, run = Observable(prompts.observables[n]), model.run(pair["clean"])
        alone = run.regime(j, "random:3", sites=[(0, -1), (2, -2)], amplitudes=[0.01, 0.1], nodes=2)
        for name in ["radius", "finite", "secant"]:
            np.testing.assert_allclose(regime[name][n], alone[name], rtol=1e-3)
        alone = run.invert([(j, 0.25)], sites=[(1, -1)], refine=2)
        np.testing.assert_allclose(chosen["achieved"][n], alone["achieved"], rtol=1e-4)
    with pytest.raises(ValueError, match="one direction for each place"):
        prompts.green((1, -1), np.stack([given, given]))
    with pytest.raises(ValueError, match="out of range"):
        prompts.green((9, 0), "random:3")


def test_slices_between_places_of_each_prompt(model):
    vectors = np.linalg.qr(np.random.default_rng(3).normal(size=(model.cfg.d_model, 3)))[0].astype(np.float32)
    places = {"sources": [(0, -2), (1, -1)], "targets": [(3, -1)]}
    for basis, readout, options in [
        ("random:5", None, {"rank": 4}),
        (vectors, "unembed:#3,#4", {"rank": None}),
        (vectors, None, {"nodes": 2, "amplitude": 0.3}),
    ]:
        found = model.prompts(PAIRS).slice(basis, readout, **places, **options)
        assert found.axes[0] == "prompt" and found.metadata.get("nodes") == ("2" if "nodes" in options else None)
        for n, pair in enumerate(PAIRS):
            alone = model.run(pair["clean"]).slice(basis, readout, progress=False, **places, **options)
            secants = ["secant_error"] if "nodes" in options else []
            for name in ["blocks", "singular_values", "effective_rank", *secants]:
                np.testing.assert_array_equal(found[name][n], alone[name])
        np.testing.assert_allclose(found["blocks.mean"], found["blocks"].mean(0), rtol=1e-5, atol=1e-6)
    # The donor of a displacement is the corrupted prompt of the row.
    moved = model.prompts(PAIRS[1:]).slice("displacement", "sensitivity", sources=[(1, 1)], targets=[(3, -1)])
    for n, pair in enumerate(PAIRS[1:]):
        j, run = Observable(model.prompts(PAIRS[1:]).observables[n]), model.run(pair["clean"])
        ends = {"sources": [(1, 1)], "targets": [(3, -1)], "observable": j, "donors": [pair["corrupted"]]}
        alone = run.slice("displacement", "sensitivity", progress=False, **ends)
        np.testing.assert_array_equal(moved["blocks"][n], alone["blocks"])
    prompts = model.prompts(PAIRS)
    for message, wrong in [
        ("differ from prompt to prompt", lambda: prompts.slice("pca", **places)),
        ("needs a place in sources", lambda: prompts.slice("random", sources=[], targets=[(3, -1)])),
        ("out of range", lambda: prompts.slice("random", sources=[(9, 0)], targets=[(3, -1)])),
        ("amplitude", lambda: prompts.slice("random", **places, nodes=2, amplitude=-1.0)),
        ("invalid shape", lambda: prompts.slice(vectors[:-1], **places)),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()


def test_one_observable_for_all(model):
    rows = [pair["clean"] for pair in PAIRS]
    for j in [entropy(), Observable("entropy()"), 0.5 * logit_diff(3, 4)]:
        sensitive = model.prompts(rows, observable=j).sensitivity()
        for n, row in enumerate(rows):
            alone = model.run(row).sensitivity(j)
            np.testing.assert_allclose(sensitive["norm"][n, :, : len(row)], alone["norm"], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(sensitive["value"][n], alone["value"], rtol=1e-5)


def test_logits_of_the_last_token(model):
    rows = [pair["clean"] for pair in PAIRS]
    prompts = model.prompts(rows)
    logits = prompts.logits()
    assert logits.shape == (3, model.cfg.d_vocab)
    for row, of_row in zip(rows, logits):
        np.testing.assert_allclose(of_row, model.run(row).logits[-1], atol=1e-5)
    assert prompts.run()["logits"].shape == (3, 1, model.cfg.d_vocab)
    np.testing.assert_array_equal(prompts.logits(0)[0], model.run(rows[0]).logits_at(0))


def test_results_are_saved_and_read_back(model, tmp_path):
    swept = model.prompts(PAIRS).transfer(controls=2)
    assert swept["fraction"].shape == (3, 4, 6)
    swept.save(tmp_path / "x.safetensors")
    again = resolvent.Result.load(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(again["fraction"], swept["fraction"])
    assert again.metadata["not_finite.fraction"].endswith("after the end of a shorter prompt")


def test_prompts_run_under_edits(model):
    """All analyses of a set under edits have the numbers of single edited runs, and not those without edits."""
    vector = np.linspace(-1, 1, model.cfg.d_head, dtype=np.float32)
    edits = [Edit.ablate("blocks.0.attn.hook_z[1]"), Edit.add("blocks.1.attn.hook_v[0]", -1, vector)]
    prompts, plain = model.prompts(PAIRS, edits=edits), model.prompts(PAIRS)
    place, sites = (1, 0), [(0, -1), (2, -1)]
    of_set = [prompts, plain]
    swept, sensitive = [each.patch(predictors=["hvp"]) for each in of_set], [each.sensitivity() for each in of_set]
    runs, transferred = [each.run() for each in of_set], [each.transfer(controls=2) for each in of_set]
    green, regime = [each.green(place) for each in of_set], [each.regime(sites=sites) for each in of_set]
    chosen, lens = [each.invert(0.1, sites=sites[:1]) for each in of_set], [each.lens() for each in of_set]
    flow, attributed = [each.flow() for each in of_set], [each.attribute() for each in of_set]
    logits, edges = [each.logits() for each in of_set], [each.edges() for each in of_set]
    for n, pair in enumerate(PAIRS):
        j, t = Observable(prompts.observables[n]), len(pair["clean"])
        clean, corrupted = (model.run(pair[which], edits=edits) for which in ["clean", "corrupted"])
        single = [
            (swept, "effect", model.patch_sweep(clean, corrupted, j, predictors=["hvp"])),
            (swept, "predicted", model.patch_sweep(clean, corrupted, j, predictors=["hvp"])),
            (sensitive, "norm", clean.sensitivity(j)),
            (transferred, "fraction", clean.transfer(corrupted, j, controls=2)),
            (green, "norm", clean.green(place)),
            (regime, "radius", clean.regime(j, sites=sites)),
            (chosen, "predicted", clean.invert([(j, 0.1)], sites=sites[:1])),
            (flow, "flow", corrupted.flow(j, donor=clean)),
            (attributed, "direct", model.attribute(clean, j)),
            (edges, "first_order", model.edges(clean, corrupted, j)),
        ]
        for found, name, alone in single:
            part = found[0][name][n]
            part = part[tuple(slice(0, length) for length in alone[name].shape)]
            np.testing.assert_allclose(part, alone[name], rtol=1e-3, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(logits[0][n], clean.logits[-1], atol=1e-5)
        np.testing.assert_allclose(runs[0]["logits"][n, 0], clean.logits[-1], atol=1e-5)
        np.testing.assert_allclose(runs[0]["field"][n, :, :t], clean.field, atol=1e-5)
    circuits = [each.circuit(score="first_order", shares=[0.0, 0.3, 1.0]) for each in of_set]
    whole = [model.run(pair["clean"], edits=edits).value(Observable(j)) for pair, j in zip(PAIRS, prompts.observables)]
    np.testing.assert_allclose(circuits[0]["value"][:, -1], whole, atol=1e-4)
    for pair in [circuits, swept, sensitive, runs, transferred, green, regime, chosen, lens, flow, attributed, edges]:
        assert "edits, hash" in pair[0].metadata["edits"] and "edits" not in pair[1].metadata
    assert not np.allclose(logits[0], logits[1]) and not np.allclose(
        sensitive[0]["norm.mean"], sensitive[1]["norm.mean"]
    )
    # A position that a prompt lacks leaves it out, and analyses that take no edits say so.
    short = model.prompts(PAIRS, edits=Edit.scale("blocks.0.hook_attn_out", 3, 0.5))
    assert short.names == ["row 0", "row 2"] and short.left_out[0][0] == "short"
    for refused in [lambda: prompts.reduce(), lambda: prompts.average(), lambda: prompts.reach()]:
        with pytest.raises(ValueError, match="takes no edits; make the prompts without `edits`"):
            refused()


def test_rows_that_do_not_fit(model, tmp_path):
    bad = [*PAIRS, {"clean": [1, 2], "corrupted": [1], "target": "#3", "label": "uneven"}]
    prompts = model.prompts(bad)
    assert len(prompts) == 3 and prompts.left_out[0][0] == "uneven"
    assert "give prompts of the same length" in prompts.left_out[0][1]
    with pytest.raises(ValueError, match="uneven: the clean prompt has 2 tokens"):
        model.prompts(bad, strict=True)
    with pytest.raises(ValueError, match="no prompt can be analysed; row 0: .*no corrupted prompt"):
        model.prompts([[1, 2, 3]], observable=entropy()).patch()
    with pytest.raises(ValueError, match="no observable"):
        model.prompts([[1, 2, 3]]).sensitivity()
    with pytest.raises(ValueError, match="invalid row of prompts"):
        model.prompts([{"corrupted": "x"}])
    file = tmp_path / "rows.csv"
    file.write_text('clean_tokens,target\n"1,2,3",#4\n"1,x",#4\n')
    prompts = model.prompts(file)
    assert prompts.tokens == [[1, 2, 3]] and prompts.left_out[0][0] == "line 3"


def test_hessian_vector_products(model):
    run = model.run(PAIRS[0]["clean"])
    j, d = logit_diff(3, 4), model.cfg.d_model
    u, v = np.random.default_rng(0).standard_normal((2, d)).astype(np.float32)
    a, b = (Source("blocks.1.hook_resid_pre", 2, vector) for vector in (u, v))
    linear = run.linearize()
    both = linear.hvp([a, b], j)
    assert both.shape == (2, *run.field.shape)
    second = linear.along([a, b, [a, b]], j)
    # (a + b)^T H (a + b) = a^T H a + b^T H b + 2 a^T H b
    cross = (second[2][1] - second[0][1] - second[1][1]) / 2
    np.testing.assert_allclose(both[1][1, 2] @ u, cross, rtol=1e-2, atol=1e-4)


def test_interactions_at_places_of_all_prompts(model):
    at = [2, 1, 1]
    prompts = model.prompts([{**row, "roles": {"subject": at[n]}} for n, row in enumerate(PAIRS)])
    places = [(0, "subject"), (1, "subject"), (-1, -1)]
    swept = prompts.patch(interactions=places)
    assert swept.axes_of("interaction_actual") == ("prompt", "source", "with")
    assert swept["interaction_actual"].shape == (len(prompts), 3, 3)
    assert json.loads(swept.metadata["interaction_places"]) == ["0,subject", "1,subject", "-1,-1"]
    for n, row in enumerate(PAIRS):
        j, own = Observable(prompts.observables[n]), [(0, at[n]), (1, at[n]), (-1, -1)]
        alone = model.patch_sweep(row["clean"], row["corrupted"], j, interactions=own)
        for name in ("interaction", "interaction_actual", "interaction_single", "interaction_size"):
            np.testing.assert_array_equal(swept[name][n], alone[name])
    own = prompts.patch(sites="z", interactions=2, joint="add")
    assert own["superadditive"].shape == (len(prompts), 1)
    with pytest.raises(ValueError, match="no token has the role `subject`: the prompt names no roles"):
        model.patch_sweep(PAIRS[0]["clean"], PAIRS[0]["corrupted"], j, interactions=[(0, "subject")])
    for wrong in [(0, 1), [0, 1], "0,1", [[0, None]], 1.5]:
        with pytest.raises(TypeError, match="invalid interactions .*: expected a number of patches, or a list of"):
            prompts.patch(interactions=wrong)


def test_places_of_all_prompts(model):
    prompts, row = model.prompts(PAIRS), PAIRS[0]
    j, run = Observable(prompts.observables[0]), model.run(PAIRS[0]["clean"])
    grown = prompts.growth([-1, 0])
    assert grown.axes_of("gain") == ("prompt", "block", "token")
    np.testing.assert_array_equal(grown["gain"][0], run.growth([-1, 0])["gain"])
    expanded = prompts.quadratic((1, -1), rank=2, samples=4, probes=2)
    alone = run.quadratic(j, (1, -1), rank=2, samples=4, probes=2, donor=row["corrupted"])
    for name in ("curvature", "response", "moved_effect"):
        np.testing.assert_array_equal(expanded[name][0], alone[name])
    patched = prompts.subspace("blocks.1.hook_resid_pre", controls=2)
    alone = model.subspace(row["clean"], row["corrupted"], j, "blocks.1.hook_resid_pre", controls=2)
    for name in ("effect", "row_effect", "kernel", "random"):
        np.testing.assert_array_equal(patched[name][0], alone[name])


def test_interactions(model):
    j = logit_diff(11, 4)
    swept = model.patch_sweep(PAIRS[0]["clean"], PAIRS[0]["corrupted"], j, interactions=2, joint="add")
    assert swept["interaction"].shape == (2, 2) == swept["interaction_actual"].shape
    assert swept.metadata["interaction_joint"] == "add"
    with pytest.raises(ValueError, match="invalid"):
        model.patch_sweep(PAIRS[0]["clean"], PAIRS[0]["corrupted"], j, interactions=2, joint="both")


def test_scale():
    small, large = (Model.from_pretrained(name, device="host") for name in ["atlas-nano", "atlas-micro"])
    result = small.scale(large, tasks=["agreement"], limit=4)
    assert result["correlation"].shape == (3, 4)


class Unpickler(pickle.Unpickler):
    """Reads a lens file as `torch.load(weights_only=True)` does, with numpy in place of torch."""

    def __init__(self, archive, folder):
        super().__init__(archive.open(f"{folder}/data.pkl"))
        self.archive, self.folder = archive, folder

    def persistent_load(self, reference):
        tag, kind, key, _, count = reference
        array = np.frombuffer(self.archive.read(f"{self.folder}/data/{key}"), kind)
        assert tag == "storage" and len(array) == count
        return array

    def find_class(self, module, name):
        def rebuild(storage, offset, shape, strides, requires_grad, hooks):
            assert strides == (shape[1], 1) and not requires_grad and not hooks
            return storage[offset : offset + shape[0] * shape[1]].reshape(shape)

        known = {
            ("torch._utils", "_rebuild_tensor_v2"): rebuild,
            ("torch", "FloatStorage"): np.float32,
            ("collections", "OrderedDict"): dict,
        }
        return known[module, name]


def test_averaged_operators_go_to_lens_files_and_back(model, tmp_path):
    prompts = model.prompts([[7, 3, 21, 9, 30, 2], [5, 1, 6, 8], [1, 2]])
    averaged = prompts.average(skip_first=1)
    assert averaged.name == "operator" and averaged.axes == ("level", "to", "from")
    assert averaged["positions"].tolist() == [4, 2] and "2 tokens have no position" in averaged.metadata["left_out"]
    # The same from the response of each unit source.
    jvp = np.zeros((2, 32, 32))
    for n, ids in enumerate(prompts.tokens[:2]):
        linear, places = model.run(ids).linearize(), range(1, len(ids) - 1)
        for j in range(32):
            unit = np.eye(32)[j]
            response = linear.jvp([[Source("blocks.1.hook_resid_pre", t, unit) for t in places]])[0]
            jvp[n, :, j] = response[-1, 1:-1].sum(0) / len(places)
    np.testing.assert_allclose(averaged.values[1], jvp.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(averaged["standard_error"][1], np.abs(jvp[0] - jvp[1]) / 2, rtol=1e-4, atol=1e-5)

    operator = resolvent.AveragedOperator.of(averaged)
    assert operator.levels == [0, 1, 2, 3] and operator.n_prompts == 2
    path = tmp_path / "lens.pt"
    operator.save(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        lens = Unpickler(archive, "lens").load()
        assert archive.read("lens/version") == b"3\n"
    assert list(lens["J"]) == lens["source_layers"] == [0, 1] and lens["n_prompts"] == 2 and lens["d_model"] == 32
    assert lens["metadata"]["target_layer"] == 2 and lens["metadata"]["skip_first_positions"] == 1
    np.testing.assert_array_equal(lens["J"][0], averaged.values[1])
    again = resolvent.AveragedOperator.load(path)
    assert again.levels == [1, 2]
    np.testing.assert_array_equal(again.operator(2), averaged.values[2])
    read = model.lens([5, 1, 6, 8], averaged=operator, top=1)
    of_file = model.lens([5, 1, 6, 8], averaged=again, top=1)
    np.testing.assert_array_equal(read["answer"][1:], of_file["answer"][1:])
    assert np.isnan(of_file["answer"][0]).all() and np.isfinite(read["answer"]).all()
    with pytest.raises(ValueError, match="no operator of level 0"):
        again.operator(0)
    path.write_bytes(b"no archive")
    with pytest.raises(OSError, match="not a lens file"):
        resolvent.AveragedOperator.load(path)


def test_reach_and_growth(model):
    reached = model.prompts([[7, 3, 21, 9], [5, 1, 6]]).reach(directions=0)
    assert reached.axes == ("depth", "distance") and reached["gain"].shape == (4, 4)
    assert reached["gain"][0].tolist() == [1, 0, 0, 0] and reached["prompts_at"].tolist() == [2, 2, 2, 1]
    run = model.run([7, 3, 21, 9])
    assert run.growth()["gain"].shape[1] == 1
    grown = run.growth([0, -1])
    linear = run.linearize()
    blocks = [
        np.stack([linear.jvp(Source(f"blocks.{l}.hook_resid_pre", -1, e))[l + 1, -1] for e in np.eye(32)], 1).astype(
            float
        )
        for l in range(3)
    ]
    np.testing.assert_allclose(grown["gain"][:, 1], [np.linalg.norm(a, 2) for a in blocks], rtol=1e-5)
    eigenvalues = [np.linalg.eigvals(a) for a in blocks]
    np.testing.assert_allclose(grown["radius"][:, 1], [np.abs(v).max() for v in eigenvalues], rtol=1e-3)
    np.testing.assert_allclose(grown["abscissa"][:, 1], [v.real.max() - 1 for v in eigenvalues], rtol=1e-3, atol=1e-4)
    rates = [np.linalg.eigvalsh((a + a.T) / 2).max() - 1 for a in blocks]
    np.testing.assert_allclose(grown["numerical_abscissa"][:, 1], rates, rtol=1e-4)
    departure = []
    for a, v in zip(blocks, eigenvalues):
        norm = ((a - np.eye(32)) ** 2).sum()
        departure.append(np.sqrt((norm - (np.abs(v - 1) ** 2).sum()) / norm))
    np.testing.assert_allclose(grown["departure"][:, 1], departure, rtol=1e-3)


def test_windows_of_a_text():
    model = Model.from_pretrained("atlas-nano", device="host")
    text = "When Mary and John went to the store, John gave a drink to Mary."
    ids = model.to_tokens(text).tolist()
    assert model.windows(text, 6) == [ids[0:6], ids[6:12]]
    assert model.windows(text, len(ids) + 1) == [ids]
    with pytest.raises(ValueError, match="windows of 129 tokens: the model has positions for 128"):
        model.windows(text, 129)
