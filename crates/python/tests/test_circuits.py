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
    predictors = ["integrated", "integrated_activations", "relp"]
    result = model.edges(CLEAN, CORRUPTED, J, predictors=predictors, exact=True, random=1)
    writers, readers = (result.metadata[key].split(",") for key in ("writers", "readers"))
    edges = result["edges"].astype(int)
    assert (len(writers), len(readers), edges.shape) == (11, 27, (110, 2))
    assert writers[edges[0, 0]] == "input" and readers[edges[-1, 1]] == "logits"
    for name in ("first_order", *predictors, "exact", "random_exact"):
        assert result[name].shape == (110,)
    assert np.isfinite(result["exact"]).all() and "agreement.relp" in result.metadata
    # The edges from the embedding share one path with it.
    of_input = edges[:, 0] == 0
    assert np.allclose(result["integrated"][of_input], result["integrated_activations"][of_input], atol=1e-4)
    with pytest.raises(ValueError, match="no predictor `curvature`"):
        model.edges(CLEAN, CORRUPTED, J, predictors=["curvature"])


def test_edges_at_each_token(model):
    result = model.edges(CLEAN, CORRUPTED, J, predictors=["relp"], exact=True, by_token=True)
    tokens = len(model.to_tokens(CLEAN))
    for name in ("first_order", "relp", "random", "exact"):
        assert result[name + "_by_token"].shape == (110, tokens)
    for name in ("first_order", "relp"):
        assert np.allclose(result[name + "_by_token"].sum(axis=1), result[name], atol=1e-4)
    # Before the first token that differs, nothing moves.
    assert (result["exact_by_token"][:, :9] == 0).all() and np.abs(result["exact_by_token"]).max() > 0
    prompts = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}], observable=J)
    many = prompts.edges(by_token=True)["first_order_by_token"]
    assert np.allclose(many[0], result["first_order_by_token"], atol=1e-4)
    assert "first_order_by_token" not in prompts.edges().arrays


def test_edges_of_edited_runs(model):
    edits = [
        resolvent.Edit.scale("blocks.1.hook_resid_pre", -1, 0.5),
        resolvent.Edit.ablate("blocks.0.hook_mlp_out", -1),
    ]
    clean, corrupted = model.run(CLEAN, edits), model.run(CORRUPTED, edits)
    result = model.edges(clean, corrupted, J, exact=True)
    assert "edits" in result.metadata and "of_writer" in result.checks
    plain = model.edges(CLEAN, CORRUPTED, J, exact=True)
    assert np.abs(result["exact"] - plain["exact"]).max() > 1e-2
    many = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}], observable=J, edits=edits).edges(exact=True)
    assert np.allclose(many["exact"][0], result["exact"], atol=1e-4)
    with pytest.raises(ValueError, match="different edits of the stream"):
        model.edges(clean, CORRUPTED, J)


def test_paths_between_chosen_nodes(model):
    exact = model.edges(CLEAN, CORRUPTED, J, exact=True)
    writers, readers = (exact.metadata[key].split(",") for key in ("writers", "readers"))
    one = {(writers[int(w)], readers[int(r)]): x for (w, r), x in zip(exact["edges"], exact["exact"])}
    for sender, receiver in (("a0.h1", "logits"), ("m0", "a1.h2<v>"), ("input", "m1")):
        patched = model.path_patch(CLEAN, CORRUPTED, J, sender, receiver)
        assert patched == pytest.approx(one[sender, receiver], abs=1e-4)
    # All paths together restore the clean run.
    whole = model.path_patch(CLEAN, CORRUPTED, J, writers, readers)
    assert whole == pytest.approx(exact["clean_value"][0] - exact["corrupted_value"][0], abs=1e-3)
    heads = [f"a0.h{head}" for head in range(4)]
    assert model.path_patch(CLEAN, CORRUPTED, J, heads) == pytest.approx(sum(one[h, "logits"] for h in heads), rel=0.2)
    for senders, receivers, message in (
        ("a1.h0", "m0", "no sender writes before a receiver reads"),
        ("a9.h0", "logits", "the model has no sender a9.h0"),
        ("m0", "a1.h9<q>", "the model has no receiver a1.h9<q>"),
        ("head", "logits", "invalid writer `head`"),
    ):
        with pytest.raises(ValueError, match=message):
            model.path_patch(CLEAN, CORRUPTED, J, senders, receivers)
    # A head alone is its queries, keys and values; each path is beside all of them together.
    result = model.paths(CLEAN, CORRUPTED, J, ["m0", "a0.h1"], "a1.h2")
    assert result["exact"].shape == (6,) and {"alone", "together"} <= set(result.checks)
    ends = [(writers[int(w)], readers[int(r)]) for w, r in result["edges"]]
    assert {end for _, end in ends} == {"a1.h2<q>", "a1.h2<k>", "a1.h2<v>"}
    assert np.allclose(result["exact"], [one[end] for end in ends], atol=1e-4)
    together = model.path_patch(CLEAN, CORRUPTED, J, ["m0", "a0.h1"], "a1.h2")
    assert result["together"][0] == pytest.approx(together, abs=1e-5)
    prompts = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}], observable=J)
    many = prompts.paths(["m0", "a0.h1"], "a1.h2")
    assert many["together"][0, 0] == pytest.approx(together, abs=1e-4)


def test_writers_of_a_place(model):
    one = model.edges_into(CLEAN, CORRUPTED, J, (1, -1))
    assert one["random"].shape == one["exact"].shape == (6,)
    many = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}], observable=J).edges_into((1, -1))
    assert np.allclose(many["exact"][0], one["exact"], atol=1e-4)


def test_graphs_have_as_many_edges_as_asked(model):
    result = model.edges(CLEAN, CORRUPTED, J)
    drawn = {edges: result.svg(edges=edges).count('class="edge"') for edges in (5, 30)}
    assert drawn == {5: 5, 30: 30} and result.svg().count('class="edge"') == 40


def test_subspace_patches_and_their_parts(model):
    site = "blocks.0.mlp.hook_post"
    best = model.subspace(CLEAN, CORRUPTED, J, site)
    assert best["source"].shape == (256, 1) and best["rank"][0] == 64
    assert 0 < best["kernel"][0] < 1 and abs(best["kernel_effect"][0]) < 1e-4
    again = model.subspace(CLEAN, CORRUPTED, J, site, -1, directions=best["source"])
    assert again["effect"][0] == pytest.approx(best["effect"][0], abs=1e-4)
    whole = model.subspace(CLEAN, CORRUPTED, J, site, directions="displacement", readers="all", controls=2)
    assert whole["effect"][0] == pytest.approx(whole["whole_effect"][0], abs=1e-4)
    with pytest.raises(ValueError, match="nothing reads it linearly"):
        model.subspace(CLEAN, CORRUPTED, J, "blocks.0.attn.hook_q[0]")


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
    above = prompts.circuit(score="first_order", thresholds=[1.0, 0.1], controls=0)
    sizes = [(np.abs(above["score"]) >= least).sum() for least in (1.0, 0.1)]
    assert list(above["size"]) == sizes and 0 < sizes[0] < sizes[1] and np.allclose(above["threshold"], [1.0, 0.1])
    with pytest.raises(ValueError, match="give one of both"):
        prompts.circuit(thresholds=[0.1], shares=[0.5])
    with pytest.raises(ValueError, match="first_order, integrated, integrated_activations, relp or exact"):
        prompts.circuit(score="curvature")
    assert prompts.edges()["first_order"].shape == (1, 110)
    assert prompts.attribute()["direct"].shape[:2] == (1, 11)
    third = CLEAN.replace("drink", "book")
    rows = [{"clean": clean, "corrupted": CORRUPTED} for clean in (CLEAN, CORRUPTED, third)]
    beside = model.prompts(rows, observable=J).attribute(controls=2)
    assert beside["other_prompts_first_order"].shape == beside["random_first_order"].shape


def test_a_flow_sums_to_the_effect(model):
    run = model.run(CORRUPTED)
    between = run.flow(J, donor=CLEAN, steps=16)
    change = model.run(CLEAN).value(J) - run.value(J)
    assert between["flow"].shape == between["secant"].shape == run.field.shape[:2]
    assert np.allclose(between["flow"].sum(axis=1), between["effect"], atol=1e-4)
    assert np.allclose(between["secant"].sum(axis=1), change, rtol=1e-2)
    of_source = run.flow(J, (1, -1), "random:2", unit=True)
    assert np.allclose(of_source["flow"][1:].sum(axis=1), of_source["effect"], atol=1e-4)
    with pytest.raises(ValueError, match="donor"):
        run.flow(J)
    many = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}], observable=J).flow()
    assert np.allclose(many["flow"][0], between["flow"], atol=1e-4)


def test_identities_hold(model):
    result = model.run(CLEAN).identities(J)
    names = result.metadata["identities"].split(",")
    true = {name for name in names if f"left_out.{name}" not in result.metadata}
    assert {"shift", "keys", "gauge"} <= true and result["figures"].shape == (len(names),)
    prompts = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}, {"clean": CORRUPTED}], observable=J)
    many = prompts.identities()
    assert many["figures"].shape == (2, len(names)) and many.metadata["identities"] == result.metadata["identities"]
    assert many["figures"][0] == pytest.approx(result["figures"], abs=1e-6)


def test_the_lens_ends_at_the_answer(model):
    result = model.lens(CLEAN, J, top=3)
    run = model.run(CLEAN)
    best = run.logits.argmax(axis=-1)
    assert (result["top_tokens"][-1, :, 0] == best).all() and (result["rank"][-1] == 0).all()
    assert result["value"][-1] == pytest.approx(run.value(J), abs=1e-3)
    assert result["answer"].shape == result["kl"].shape == (3, len(run.tokens))
    assert "value" not in model.lens(run)
    many = model.prompts([CLEAN, CORRUPTED]).lens()
    assert many["kl"].shape[0] == 2 and "top_tokens" not in many


def test_graphs_are_files(model, tmp_path):
    edges = model.edges(CLEAN, CORRUPTED, J)
    edges.save(tmp_path / "edges.graphml")
    graph = (tmp_path / "edges.graphml").read_text()
    shown = np.count_nonzero(edges["first_order"])
    assert graph.count("<edge ") == shown and 'attr.name="first_order"' in graph
    prompts = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}], observable=J)
    prompts.edges().save(tmp_path / "many.graphml")
    assert (tmp_path / "many.graphml").read_text().count("<edge ") == shown
    with pytest.raises(ValueError, match="the result has no edges"):
        model.lens(CLEAN).save(tmp_path / "lens.graphml")


def test_features_of_a_dictionary(model, tmp_path):
    from safetensors.numpy import save_file

    d, n = model.cfg.d_model, 300
    random = np.random.default_rng(0)
    weights = {
        "W_enc": random.normal(size=(d, n)) / np.sqrt(d),
        "W_dec": random.normal(size=(n, d)) / np.sqrt(d),
        "b_enc": random.normal(size=n) * 0.1,
        "b_dec": random.normal(size=d) * 0.1,
    }
    weights = {key: value.astype(np.float32) for key, value in weights.items()}
    save_file(weights, tmp_path / "sae_weights.safetensors")
    config = '{"architecture": "standard", "d_in": %d, "d_sae": %d, "hook_name": "blocks.1.hook_resid_pre"}' % (d, n)
    (tmp_path / "cfg.json").write_text(config)
    dictionary = resolvent.Dictionary.load(tmp_path)
    assert dictionary.n_features == n and dictionary.hooks == ("blocks.1.hook_resid_pre",) * 2
    run = model.run(CORRUPTED)
    rows = run["blocks.1.hook_resid_pre"]
    want = np.maximum((rows - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"], 0)
    assert np.allclose(dictionary.encode(rows), want, atol=1e-4)
    assert np.array_equal(dictionary.directions([5, 7]), weights["W_dec"][[5, 7]].T)
    result = model.features(dictionary, run, J, target=CLEAN, top=4, exact=True)
    patched = model.run(CORRUPTED, [
        resolvent.Edit.put("blocks.1.hook_resid_pre", t, row) for t, row in enumerate(model.run(CLEAN)["resid_pre", 1])
    ])
    assert result["whole_exact"][0] == pytest.approx(patched.value(J) - run.value(J), abs=1e-2)
    assert result["features"].shape == result["exact"].shape == (4,)
    many = model.prompts([{"clean": CLEAN, "corrupted": CORRUPTED}], observable=J).features(
        dictionary, top=4, exact=True
    )
    assert np.array_equal(many["features"][0], result["features"])
    beside = model.prompts(
        [{"clean": clean, "corrupted": CORRUPTED} for clean in (CLEAN, CLEAN.replace("drink", "book"), CORRUPTED)],
        observable=J,
    ).features(dictionary, top=4, controls=2)
    assert beside["other_prompts"].shape == beside["random"].shape
    assert np.allclose(many["exact"][0], result["exact"], atol=1e-4)
    with pytest.raises(ValueError, match="feature 300: the dictionary has features 0 to 299"):
        dictionary.directions([300])


def test_reduced_descriptions(model):
    rows = [
        {
            "clean": f"The {one} near the {other}",
            "corrupted": f"The {one}s near the {other}",
            "target": " is",
            "against": " are",
        }
        for one in ("button", "painting", "cup")
        for other in ("cup", "shelves")
    ]
    prompts = model.prompts(rows)
    result = prompts.reduce(ranks=[1, 4], train=3)
    assert result.axes_of("error") == ("basis", "method", "rank") and result["error"].shape == (2, 7, 2)
    balanced = result.metadata["methods"].split(",").index("balanced")
    assert result["error"][1, balanced, 1] < 0.5 and result["trained_on"][0] == 3
    assert np.array_equal(result.values, result["error"])
    assert result["read"].shape == result["write"].shape == (4, 4, model.cfg.d_model)
    with pytest.raises(ValueError, match="expected first_order, relp or averaged"):
        prompts.reduce(sensitivities="exact")


def test_writers_of_a_difference_add_up_to_first_order(model):
    result = model.edges_into(CLEAN, CORRUPTED, J, (2, -1))
    writers = result.metadata["writers"].split(",")
    assert writers[0] == "input" and result["exact"].shape == result["first_order"].shape == (len(writers),)
    whole = model.patch_sweep(CLEAN, CORRUPTED, J)
    assert result["whole"][0] == pytest.approx(whole["first_order"][2, -1], rel=1e-3)
    assert result["whole"][1] == pytest.approx(whole["effect"][2, -1], rel=1e-4)
    strongest = writers[abs(result["exact"]).argmax()]
    run = model.run(CORRUPTED)
    response = run.green((2, -1), f"writer:{strongest}", donor=CLEAN)
    assert response["norm"].shape == (model.cfg.n_layers + 1, len(run.tokens))
    with pytest.raises(ValueError, match="writes after level 0"):
        run.green((0, -1), f"writer:{writers[-1]}", donor=CLEAN)
