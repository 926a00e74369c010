"""Arguments as Python programs give them: integers and arrays of numpy, one item or a list, results as input."""

import numpy as np
import pytest
from resolvent import Cotangent, Edit, Model, Source, continuation, kl_divergence, logit, logit_diff, prob, projection

J = logit_diff(2, 6)
SITE = "blocks.1.hook_resid_pre"


def test_a_run_is_a_mapping(run):
    names = list(run)
    assert names == run.keys() and len(run) == len(names) and len(set(names)) == len(names)
    for name in names:
        matrix = name.endswith(("hook_attn_scores", "hook_pattern"))
        assert name in run and run[name].shape[1 if matrix else 0] == 5
    assert {"blocks.0.hook_mlp_out", "blocks.2.attn.hook_z", "blocks.1.mlp.hook_post"} <= set(names)
    assert "blocks.9.hook_resid_pre" not in run and "blocks.0.attn.hook_rot_q" not in run and 3 not in run
    assert ("z", -1) in run and ("z", 3) not in run and "blocks.1.attn.hook_z[1]" in run
    np.testing.assert_array_equal(run["resid_pre", -1], run["resid_pre", np.int64(2)])
    np.testing.assert_array_equal(run["post", 0], run["blocks.0.mlp.hook_post"])
    assert run.pattern(-1).shape == run.pattern(np.int64(2)).shape
    with pytest.raises(ValueError, match=r'invalid site 3: expected a name .* or a pair such as \("resid_pre", 3\)'):
        run[3]
    with pytest.raises(ValueError, match="block 3 is out of range"):
        run["resid_pre", 3]


def test_a_result_is_iterated_by_name(run):
    chi = run.sensitivity(J)
    assert list(chi) == chi.keys() == ["sensitivity", "norm", "value"] and len(chi) == 3
    assert dict(chi).keys() == chi.arrays.keys() and [name for name, _ in chi.items()] == list(chi)
    assert 3 not in chi and None not in chi
    with pytest.raises(KeyError, match="there are sensitivity"):
        chi[0]


def test_places_are_any_pairs_of_integers(run):
    same = [
        run.green(at, "random:1").values
        for at in [(1, -1), [1, 4], np.array([1, -1]), (np.int64(1), np.int32(4)), np.array([1.0, 4.0], np.float32)]
    ]
    for values in same:
        np.testing.assert_array_equal(values, same[0])
    for wrong in [1, (1,), (1, 2, 3), "12", (1, 2.5), None, (1, "2")]:
        with pytest.raises(TypeError, match=r"expected \(level, position\), two whole numbers, got"):
            run.green(wrong)
    places = np.array([[0, 1], [2, -1]])
    listed = run.invert((J, 1.0), sites=[(0, 1), (2, -1)])
    for sites in (places, places.tolist(), [[0, 1], [2, 4]]):
        np.testing.assert_array_equal(run.invert((J, 1.0), sites=sites)["sources"], listed["sources"])
    # One place, and the places of a result.
    assert len(run.invert((J, 1.0), sites=(0, 1))["sites"]) == 1
    found = run.invert((J, 1.0), sparse=2)
    again = run.invert((J, 1.0), sites=found["sites"])
    np.testing.assert_array_equal(again["sites"], found["sites"])
    regime = run.regime(J, found["sources"], sites=found["sites"], amplitudes=np.array([0.1, 0.2]))
    np.testing.assert_array_equal(regime["sites"], found["sites"])
    sliced = run.slice("random", rank=2, sources=found["sites"], targets=places)
    assert sliced["pairs"].shape[1] == 4
    add = [Edit.add("blocks.0.hook_resid_pre", 0, np.zeros(32))]
    assert run.values_under([add, add[0]], J)[0] == run.values_under([[]], J)[0]


def test_goals_in_every_form(run):
    one = run.invert((J, 1.0))["sources"]
    for goals in ([(J, 1.0)], ((J, 1.0),), [[J, np.float32(1)]], [(J, 1)]):
        np.testing.assert_array_equal(run.invert(goals)["sources"], one)
    field = run.invert(((3, -1), np.ones(32)), sites=(3, -1))
    np.testing.assert_array_equal(field.values, run.invert([(np.array([3, 4]), np.ones(32))], sites=[(3, 4)]).values)
    for wrong in ([J], [(1, 2, 3)], [("x", 1.0)]):
        with pytest.raises(ValueError, match="invalid goal: expected"):
            run.invert(wrong)


def test_one_item_instead_of_a_list(run, tiny):
    clean, corrupted = [3, 1, 4, 1, 5], [3, 1, 9, 1, 5]
    one = tiny.patch_sweep(clean, corrupted, J, sites="z", predictors="relp")
    assert one == tiny.patch_sweep(clean, corrupted, J, sites=["z"], predictors=("relp",))
    edit = Edit.ablate("blocks.1.hook_mlp_out", np.int64(2))
    assert tiny.run(clean, edit) == tiny.run(clean, [edit]) == tiny.run(clean, edits=(edit,))
    assert tiny.run(clean, sites="blocks.1.hook_mlp_out").tokens.tolist() == clean
    assert len(run.regime(J, sites=[(1, 2)], amplitudes=0.1)["amplitudes"]) == 1


def test_integers_of_numpy(run, tiny):
    assert logit(np.int64(3)) == logit(3) and prob(np.array([1, 2])) == prob([1, 2])
    assert continuation(np.array([1, 2], np.uint32)) == continuation([1, 2])
    assert run.logits_at(np.int16(-1)).shape == (50,)
    assert run.slice("random", rank=np.int64(2), progress=False).values.shape[1:] == (2, 2)
    assert tiny.patch_sweep([1, 2], [1, 3], J, interactions=np.uint8(1)).values.shape == (4, 2)
    # Seeds have all 64 bits.
    for seed in (2**63, 2**64 - 1, np.uint64(2**64 - 1)):
        found = tiny.generate([1, 2], 8, temperature=2, seed=seed)
        assert (found == tiny.generate([1, 2], 8, temperature=2, seed=int(seed))).all()
        assert run.transfer([1, 2, 3, 4, 5], J, controls=2, seed=seed).values is not None
    assert Source(SITE, np.int64(1), np.ones(32)) == Source(SITE, 1, np.ones(32))


def test_several_prompts_are_not_one(tiny):
    for several, message in [(["a", "b"], "a list of texts; give it to run_all"), ([[1], [2]], "run_all and prompts")]:
        with pytest.raises(ValueError, match=message):
            tiny.run(several)


@pytest.mark.parametrize(
    ("message", "act"),
    [
        ("invalid token id -1: expected text that is one token, or an id", lambda m, r: logit(-1)),
        ("invalid token id -2", lambda m, r: prob([1, -2])),
        ("invalid token id -1 at position 1", lambda m, r: continuation([1, -1])),
        ("invalid token id -1", lambda m, r: m.to_string(-1)),
        ("invalid token id -1", lambda m, r: m.embedding(-1)),
        ("invalid rank=-1: expected a whole number that is not negative", lambda m, r: r.slice(rank=-1)),
        ("invalid memory=-1", lambda m, r: Model.from_pretrained("random", "host", memory=-1)),
        ("invalid interactions=-1", lambda m, r: m.patch_sweep([1], [2], J, interactions=-1)),
        ("invalid sparse=-1", lambda m, r: r.invert((J, 1.0), sparse=-1)),
        ("invalid refine=-1", lambda m, r: r.invert((J, 1.0), refine=-1)),
        ("invalid controls=-1", lambda m, r: r.transfer([1, 2, 3, 4, 5], J, controls=-1)),
        ("invalid seed=-1", lambda m, r: r.transfer([1, 2, 3, 4, 5], J, seed=-1)),
        (
            "invalid seed=18446744073709551616: expected a whole number from 0 to 2**64 - 1",
            lambda m, r: m.generate([1], seed=2**64),
        ),
        ("invalid skip_first=-1", lambda m, r: m.prompts([[1]]).average(skip_first=-1)),
        ("invalid directions=-1", lambda m, r: m.prompts([[1]]).reach(directions=-1)),
        ("invalid length=-1", lambda m, r: m.windows("", -1)),
        ("invalid directions=-1", lambda m, r: r.green((0, 0), directions=-1)),
        ("invalid steps=-1", lambda m, r: r.flow(J, (0, 0), steps=-1)),
        ("invalid draws=-1", lambda m, r: r.locate(r.field, draws=-1)),
        ("invalid top=-1", lambda m, r: m.lens([1], top=-1)),
        ("invalid limit=-1", lambda m, r: m.prompts([[1]], limit=-1)),
        ("invalid ranks=-1", lambda m, r: m.prompts([[1]]).reduce(ranks=[-1])),
        ("invalid resamples=-1", lambda m, r: m.prompts([[1]]).circuit(resamples=-1)),
        ('invalid device=-1: expected "auto"', lambda m, r: Model.from_pretrained("random", -1)),
    ],
)
def test_negative_numbers(tiny, run, message, act):
    with pytest.raises(ValueError) as caught:
        act(tiny, run)
    assert str(caught.value).startswith(message)


def test_devices_by_index():
    import resolvent

    many = len(resolvent.devices())
    with pytest.raises(resolvent.DeviceError, match=f"no GPU adapter matches `{many}`") as caught:
        Model.from_pretrained("random", device=many)
    assert 'device="host"' in str(caught.value) and "--" not in str(caught.value)
    if many:
        assert Model.from_pretrained("random", device=0).device == Model.from_pretrained("random", device="0").device
    for wrong in (None, 1.5, ["gpu"]):
        with pytest.raises(TypeError, match="invalid device=.*expected \"auto\""):
            Model.from_pretrained("random", device=wrong)


def test_complex_vectors_are_refused(run):
    for make in (
        lambda v: Source(SITE, 0, v),
        lambda v: Edit.add(SITE, 0, v),
        lambda v: Cotangent(1, 0, v),
        lambda v: projection(1, 0, v),
        lambda v: run.green((1, 0), v),
        lambda v: run.linearize().jvp(np.zeros((4, 5, 32)) + v),
        lambda v: run.slice(v[:, None]),
    ):
        with pytest.raises(ValueError, match="complex numbers"):
            make(np.full(32, 1 + 2j))
        make(np.ones(32))


def test_runs_of_another_model_are_refused(tiny, run):
    other = Model.from_pretrained("random:1", "host")
    theirs = other.run([3, 1, 9, 1, 5])
    j = logit(2)
    calls = [
        lambda r: run.green((1, 2), "displacement", donor=r),
        lambda r: run.sensitivity(j, direction="displacement", donor=r),
        lambda r: run.regime(j, "displacement", donor=r, sites=[(1, -1)]),
        lambda r: run.flow(j, donor=r),
        lambda r: run.transfer(r, j),
        lambda r: run.transfer([3, 1, 9, 1, 5], j, others=[r]),
        lambda r: run.slice("displacement", donors=[r], rank=1),
        lambda r: run.value(kl_divergence(r)),
        lambda r: run.sensitivity(kl_divergence(r, reverse=True)),
        lambda r: run.locate([1.0], values=[(r, j)]),
        lambda r: tiny.patch_sweep(r, run, j),
        lambda r: tiny.patch_sweep(run, r, j),
        lambda r: tiny.patch_sweep(r, r, j),
        lambda r: tiny.edges(r, run, j),
        lambda r: tiny.edges(run, r, j),
        lambda r: tiny.attribute(r, j),
        lambda r: tiny.lens(r),
    ]
    for call in calls:
        with pytest.raises(ValueError) as caught:
            call(theirs)
        text = str(caught.value)
        assert "is of random:1 (3 layers, d 32) on host" in text and "this is random:0" in text, text
        assert text.endswith("another model; run its prompt with this model")
    # The same model, opened again on the host, has the same values.
    same = Model.from_pretrained("random", "host").run([3, 1, 9, 1, 5])
    for call in calls[:9] + calls[10:]:
        call(same)


def test_messages_name_python_things(run, tiny):
    with pytest.raises(ValueError, match=r"needs a second prompt \(donor=, "):
        run.green((1, 1), "displacement")
    with pytest.raises(ValueError, match=r"needs an observable \(observable=\)"):
        run.green((1, 1), "sensitivity")
    with pytest.raises(ValueError) as caught:
        run.values_under([[Edit.ablate("blocks.0.hook_mlp_out", 0)]], J)
    assert "`sites=` of Model.run" in str(caught.value)
    with pytest.raises(ValueError) as caught:
        run.linearize("relp").jet(Source(SITE, 0, np.ones(32)))
    assert "mode relp" in str(caught.value) and "Mode::" not in str(caught.value)


def test_heads_alone_have_values_and_maps(tiny):
    import matplotlib

    matplotlib.use("Agg")
    swept = tiny.patch_sweep([3, 1, 4, 1, 5], [3, 1, 9, 1, 5], J, sites="z")
    assert (swept.name, swept.axes) == ("effect.z", ("block", "head", "token"))
    np.testing.assert_array_equal(swept.values, swept["effect.z"])
    assert np.asarray(swept).shape == (3, 2, 5) and swept.to_pandas().index.names == ["block", "head", "token"]
    axes = swept.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
    np.testing.assert_array_equal(axes.get_images()[0].get_array(), swept.values.reshape(6, 5))
    assert "<svg" in swept.svg() and "<svg" in swept._repr_html_()
    matplotlib.pyplot.close("all")


def test_text_alone_is_no_observable(tiny, run):
    for call in (run.value, run.sensitivity, lambda J: tiny.attribute(run, J), lambda J: run.linearize().along([], J)):
        with pytest.raises(TypeError, match=r"expected an observable, got 'logit'; give Observable\(\"logit\"\), which"):
            call("logit")
        with pytest.raises(TypeError, match=r"expected an observable, got 3; give one such as logit\("):
            call(3)


def test_results_are_handed_to_tensor_libraries(run):
    chi = run.sensitivity(J)
    copied = np.from_dlpack(chi)
    np.testing.assert_array_equal(copied, chi.values)
    assert not np.shares_memory(copied, chi.values)


def test_tensors_of_torch(run, tiny):
    torch = pytest.importorskip("torch")
    for kind in (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64):
        assert Source(SITE, 0, torch.arange(32, dtype=kind)) == Source(SITE, 0, np.arange(32)), kind
    assert tiny.run(torch.tensor([3, 1, 4, 1, 5])) == run
    assert run.green(torch.tensor([1, -1]), "random:1") == run.green((1, -1), "random:1")
    with pytest.raises(ValueError, match="complex numbers"):
        Source(SITE, 0, torch.ones(32, dtype=torch.complex64))
    chi = run.sensitivity(J)
    for tensor in (torch.tensor(chi), torch.from_dlpack(chi)):
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor.numpy(), chi.values)
