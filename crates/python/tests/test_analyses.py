"""Each analysis: its arrays have the shapes of its docstring and the right values."""

import numpy as np
import pytest
from conftest import JOHN, MARY
from resolvent import Model, Result, kl_divergence, log_prob, logit, logit_diff, projection

J = logit_diff(" Mary", " John")
TINY = logit_diff(2, 6)


@pytest.fixture(scope="module")
def clean(model):
    return model.run(MARY)


@pytest.fixture(scope="module")
def corrupted(model):
    return model.run(JOHN)


def test_sensitivity(clean):
    chi = clean.sensitivity(J)
    assert (chi.analysis, chi.name, chi.axes) == ("sensitivity", "sensitivity", ("level", "token", "d"))
    assert chi.values.shape == (9, 14, 192) and chi["norm"].shape == (9, 14)
    assert chi["value"][0] == pytest.approx(clean.value(J), rel=1e-5)
    along = clean.sensitivity(J, direction="displacement", donor=JOHN)
    displacement = clean.model.run(JOHN).field - clean.field
    expected = (chi.values * displacement).sum(-1)
    np.testing.assert_allclose(along["directional"], expected, atol=1e-3)


def test_patch_sweep(model, clean, corrupted):
    swept = model.patch_sweep(clean, corrupted, J)
    assert swept.axes == ("level", "token") and swept.values.shape == (9, 14)
    whole = swept["clean_value"][0] - swept["corrupted_value"][0]
    assert swept.values[8, -1] == pytest.approx(whole, rel=1e-4)
    again = model.patch_sweep(MARY, JOHN, J, sites=["z", "mlp_out"])
    assert again["effect.z"].shape == (8, model.cfg.n_heads, 14) and again["effect.mlp_out"].shape == (8, 14)
    assert again.axes_of("effect.z") == ("block", "head", "token")
    # Runs that lack these sites are repeated with them.
    same = model.patch_sweep(clean, corrupted, J, sites=["mlp_out"])
    np.testing.assert_array_equal(same["effect.mlp_out"], again["effect.mlp_out"])


def test_predictors_of_patches(model, clean, corrupted):
    swept = model.patch_sweep(clean, corrupted, J, predictors=["curvature", "hvp", "integrated", "relp"])
    assert swept["predicted"].shape == (5, 9, 14) and swept.axes_of("predicted") == ("predictor", "level", "token")
    np.testing.assert_array_equal(swept["predicted"][0], swept["first_order"])
    error = np.square(swept["predicted"] - swept["effect"]).sum((1, 2))
    # On this prompt each predictor is better than first order, and all but the last cost more than ten forward passes.
    assert (error[1:] < error[0]).all() and (swept["cost"][1:4] > 10).all() and swept["cost"][4] < 2
    assert swept["reliability"].shape == (9, 14)
    with pytest.raises(ValueError, match="invalid predictor"):
        model.patch_sweep(clean, corrupted, J, predictors=["x"])


def test_green(clean):
    response = clean.green((4, 3), "token: Mary", unit=True)
    assert response.values.shape == (9, 14, 192)
    assert not response.values[:4].any() and not response.values[:, :3].any()
    assert response["norm"][4, 3] == pytest.approx(1, rel=1e-5)
    v = response.values[4, 3]
    given = clean.green((4, 3), v, geometry=True, directions=2)
    np.testing.assert_array_equal(given.values, response.values)
    assert given["energy"].shape == (9,) and given["gain"].shape == (2, 9)
    assert clean.green((0, 0), "sensitivity", observable=J)["norm"].any()


def test_slice(run):
    sliced = run.slice("random:1", "pca", rank=3, progress=False)
    pairs, blocks = sliced["pairs"].astype(int), sliced.values
    assert blocks.shape == (len(pairs), 3, 3) and sliced["singular_values"].shape == (len(pairs), 3)
    one = run.slice(rank=2, sources=[(0, 1)], targets=[(-1, -1)])
    assert one["pairs"].astype(int).tolist() == [[3, 4, 0, 1]]
    # Between given vectors, a block is U^T G V.
    v, u = np.eye(32, 2, dtype=np.float32), np.eye(32, 3, k=-5)
    block = run.slice(v, u, sources=[(1, 0)], targets=[(3, 2)]).values[0]
    from resolvent import Source

    response = run.linearize().jvp([Source("blocks.1.hook_resid_pre", 0, column) for column in v.T])
    np.testing.assert_allclose(block, u.T @ response[:, 3, 2].T, atol=1e-5)
    mixed = run.slice(v, "pca", rank=2)
    assert mixed.values.shape[1:] == (2, 2)


def test_slice_by_secants(run):
    places = {"sources": [(0, 1), (1, 2)], "targets": [(3, 3), (-1, -1)]}
    tangent, secant = (run.slice("random:1", rank=2, **places, **more) for more in ({}, {"nodes": 4, "amplitude": 1.0}))
    assert secant.values.shape == tangent.values.shape and secant["amplitude"].shape == (len(secant["pairs"]),)
    assert secant.metadata["nodes"] == "4" and float(secant.metadata["amplitude"]) == 1.0
    assert np.nanmax(secant["secant_error"]) < 0.01 * np.nanmin(secant["first_error"])
    near = run.slice("random:1", rank=2, **places, nodes=1, amplitude=1e-3)
    np.testing.assert_allclose(near.values, tangent.values, rtol=0.02, atol=0.02)
    assert not np.allclose(secant.values, tangent.values, rtol=0.02, atol=0.02)
    with pytest.raises(ValueError, match="invalid amplitude 0"):
        run.slice(rank=2, **places, nodes=2, amplitude=0.0)


def test_slice_into_a_file(run, tmp_path):
    path = tmp_path / "slice.safetensors"
    written = run.slice("random", rank=2, out=path)
    np.testing.assert_array_equal(Result.load(path)["blocks"], written.values)
    np.testing.assert_array_equal(run.slice("random", rank=2).values, written.values)


def test_regime(run):
    found = run.regime(TINY, unit=True, amplitudes=[0.01, 0.1])
    n = len(found["sites"])
    assert found.values.shape == (n, 2) and found["radius"].shape == (n,)
    rows = np.eye(32, dtype=np.float32)[:2]
    two = run.regime(TINY, rows, sites=[(1, -1), (2, -1)], amplitudes=[0.1], absolute=True, field=True)
    assert two["sites"].astype(int).tolist() == [[1, 4], [2, 4]] and two["field_error"].shape == (2, 1)
    chi = run.sensitivity(TINY).values
    np.testing.assert_allclose(two["first_order"], [chi[1, 4, 0], chi[2, 4, 1]], rtol=1e-3)
    same = run.regime(TINY, rows[0], sites=[(1, -1), (2, -1)], amplitudes=[0.1])
    assert len(same["radius"]) == 2


def test_quadratic(run):
    found = run.quadratic(TINY, (1, -1), rank=3, amplitudes=[0.01, 0.1], samples=4)
    assert found["curvature"].shape == (3,) and found["response"].shape == (2, 4)
    chi = run.sensitivity(TINY).values[1, -1]
    np.testing.assert_allclose(found["direction"] @ chi, found["slope"], rtol=1e-4, atol=1e-6)
    given = run.quadratic(TINY, (1, -1), np.eye(32, 2, dtype=np.float32), donor=[1, 2, 3, 4, 6])
    assert given["moved_share"].shape == (1,) and 0 <= given["captured"][0] <= 1
    with pytest.raises(ValueError, match="does not depend"):
        run.quadratic(logit(1, position=1), (1, -1))


def test_locate():
    run = Model.from_pretrained("atlas-nano").run("The capital of France is")
    response = run.green((1, 2), "random:3")["response"]
    found = run.locate(response)
    assert tuple(found["best"][0]) == (1, 2) and found.values.shape == found["identifiable"].shape == (3, 5)
    both = run.locate(response, levels=[-2, -1], draws=0)
    assert tuple(both["best"][0]) == (1, 2) and "resolution" not in both.arrays
    two = run.locate(response + run.green((0, 4), "random:5")["response"], sources=3, draws=0)
    assert sorted(map(tuple, two["sources"])) == [(0, 4), (1, 2)] and two["gain"].shape == (2,)
    values = [logit(token) for token in range(5)]
    changes = [(run.sensitivity(j)["sensitivity"][0, 2]).sum() for j in values]
    few = run.locate(changes, values=values, draws=1)
    assert few.metadata["observed_count"] == "5" and len(few["best"]) > 1
    same = run.locate(changes, values=[(run, j) for j in values], draws=0)
    np.testing.assert_array_equal(same.values, few.values)
    for wrong in (dict(levels=[-1], values=values), dict(noise=0), dict(length=-1), dict(sources=0)):
        with pytest.raises(ValueError):
            run.locate(response, **wrong)


def test_invert(corrupted):
    found = corrupted.invert((J, 5.0), sparse=2, refine=6)
    assert len(found["sites"]) <= 2
    assert found["achieved"][0] == pytest.approx(5, abs=0.5) and found["target"][0] == 5
    field = corrupted.invert([((8, -1), np.ones(192)), (J, 1.0)], sites=[(8, -1)])
    assert field["target"].shape == (193,)


def test_transfer(clean, corrupted):
    fraction = corrupted.transfer(clean, J, controls=2, others=[JOHN.replace("store", "park")])
    assert fraction.values.shape == (9, 14)
    assert fraction.values[8, -1] == pytest.approx(1, abs=1e-3)
    assert {"random", "shuffled_high"} <= set(fraction.keys())


def test_every_observable_has_a_sensitivity(run, tiny):
    other = tiny.run([3, 1, 9, 1, 5])
    for j in (log_prob(7), kl_divergence(other), projection(2, 1, np.arange(32)), logit_diff(2, "#6", 1)):
        chi = run.sensitivity(j)
        assert np.isfinite(chi.values).all() and chi["value"][0] == pytest.approx(run.value(j), rel=1e-4)



def test_sensitivities_at_sites(model: Model) -> None:
    """Kinds of sites have their own arrays, of one prompt and of several."""
    prompt, j = "The capital of France is", logit(" Paris")
    kinds = ["z", "post", "ln1_scale"]
    run = model.run(prompt)
    alone = run.sensitivity(j, sites=["z", "post"])
    length = len(run.tokens)
    assert alone["norm.z"].shape[2] == length and alone["norm.post"].shape == (alone["norm.z"].shape[0], length)
    sizes = np.linalg.norm(alone["sensitivity.post"], axis=-1)
    assert np.allclose(sizes, alone["norm.post"], rtol=1e-5)
    many = model.prompts([{"clean": prompt}], observable=j).sensitivity(sites=kinds)
    assert np.allclose(many["norm.z"][0], alone["norm.z"], rtol=1e-4, atol=1e-6)
    assert many["norm.ln1_scale"].shape == (1, *alone["norm.post"].shape)
    with pytest.raises(ValueError, match="take z"):
        run.sensitivity(j, sites="pattern")
    with pytest.raises(ValueError, match="give sites or a direction"):
        run.sensitivity(j, sites="z", direction="random")
