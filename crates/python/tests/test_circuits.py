"""Edges, direct contributions, attention patterns and circuits."""

import numpy as np
import pytest
import resolvent

CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPTED = "When Mary and John went to the store, Mary gave a drink to"
J = resolvent.logit(" Mary") - resolvent.logit(" John")


@pytest.fixture(scope="module")
def model():
    return resolvent.Model.from_pretrained("atlas-nano", device="host")


def test_edges_predicted_and_exact(model):
    result = model.edges(CLEAN, CORRUPTED, J, predictors=["integrated", "relp"], exact=True)
    writers, readers = (result.metadata[key].split(",") for key in ("writers", "readers"))
    edges = result["edges"].astype(int)
    assert (len(writers), len(readers), edges.shape) == (11, 27, (110, 2))
    assert writers[edges[0, 0]] == "input" and readers[edges[-1, 1]] == "logits"
    for name in ("first_order", "integrated", "relp", "exact"):
        assert result[name].shape == (110,)
    assert np.isfinite(result["exact"]).all() and "agreement.relp" in result.metadata


def test_contributions_add_up(model):
    result = model.attribute(CLEAN, J, neurons=True, patterns=True)
    total = result["direct"].sum() + result["direct_biases"].sum() + result["constant"][0]
    assert total == pytest.approx(result["value"][0], abs=1e-3)
    tokens = result["direct"].shape[1]
    assert result["pattern"].shape == (2, 4, tokens, tokens)
    assert result["neurons"].shape == (2, 256)
    pattern = model.run(CLEAN).pattern(1)
    assert np.allclose(pattern, result["pattern"][1], atol=1e-5)
    assert np.allclose(pattern.sum(axis=-1), 1, atol=1e-5)


def test_circuits_of_prompts(model):
    prompts = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}], observable=J)
    result = prompts.circuit(score="first_order", shares=[0.0, 0.5, 1.0], controls=1)
    faithful = result["faithfulness.mean"]
    assert faithful[0] == pytest.approx(0, abs=1e-4) and faithful[2] == pytest.approx(1, abs=1e-4)
    assert list(result["size"]) == [0, 55, 110]
    with pytest.raises(ValueError, match="first_order, integrated, relp or exact"):
        prompts.circuit(score="curvature")
    assert prompts.edges()["first_order"].shape == (1, 110)
    assert prompts.attribute()["direct"].shape[:2] == (1, 11)
