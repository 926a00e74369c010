"""Models, runs, edits and linearisations: their shapes and names, and equal treatment of all kinds of arrays."""

import numpy as np
import pytest
from conftest import MARY
from resolvent import (
    Cotangent,
    Edit,
    Model,
    Observable,
    Source,
    continuation,
    entropy,
    kl_divergence,
    log_prob,
    logit,
    logit_diff,
    prob,
    projection,
)

J = logit_diff(2, 6)


class ByArray:
    """A tensor of a library that supports `__array__`."""

    def __init__(self, numbers):
        self.numbers = np.asarray(numbers)

    def __array__(self, dtype=None, copy=None):
        return self.numbers.astype(dtype or self.numbers.dtype)


class ByDLPack:
    """A tensor of a library that supports only DLPack."""

    def __init__(self, numbers):
        self.numbers = np.asarray(numbers)

    def __dlpack__(self, **options):
        return self.numbers.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.numbers.__dlpack_device__()


def test_observables_are_shown_in_their_grammar(run):
    shown = {
        logit_diff(" Mary", " John"): 'logit(" Mary") - logit(" John")',
        logit_diff(2, "#6", position=3): "logit(#2)@3 - logit(#6)@3",
        log_prob('"', position=2): 'logprob("\\"")@2',
        kl_divergence(run): "kl(base)",
        projection(2, -1, np.ones(32)): "project(2, -1, u)",
    }
    for j, text in shown.items():
        assert repr(j) == f"<resolvent.Observable {text}>"
    assert run.sensitivity(logit_diff(2, 6)).metadata["observable"] == "logit(#2)@4 - logit(#6)@4"


def test_observables_are_text_and_sums(run):
    both = 0.5 * log_prob(2) - entropy(-2)
    assert repr(both) == "<resolvent.Observable 0.5 * logprob(#2) - entropy()@-2>"
    assert run.value(both) == pytest.approx(run.value(Observable("0.5 * logprob(#2) - entropy()@-2")))
    logits = run.logits_at(-1).astype(np.float64)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    assert run.value(log_prob(2)) == pytest.approx(np.log(p[2]), abs=1e-5)
    assert run.value(prob([2, 6])) == pytest.approx(p[2] + p[6], rel=1e-5)
    assert run.value(entropy()) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)
    for j in ("kl(base)", "kl_from(base)"):
        assert run.value(Observable(j)) == 0.0
        assert np.abs(run.linearize().vjp(Observable(j))).max() == 0.0
    with pytest.raises(ValueError, match="finite number"):
        both * float("inf")
    with pytest.raises(ValueError, match="expected"):
        run.value(Observable("logits(#1)"))


def test_a_continuation_extends_its_prompt(tiny):
    j = continuation([7, 8, 9])
    prompt = j.extend(tiny, [3, 1, 4])
    assert prompt == [3, 1, 4, 7, 8]
    long = tiny.run(prompt)
    parts = sum(long.value(log_prob(token, 2 + i)) for i, token in enumerate([7, 8, 9]))
    assert long.value(continuation([7, 8, 9], 2)) == pytest.approx(parts, abs=1e-5)
    with pytest.raises(ValueError, match="Observable::extend"):
        tiny.run([3, 1, 4]).value(continuation([7, 8, 9], 1))


def test_text_and_tokens_convert_both_ways(model):
    tokens = model.to_tokens(MARY)
    assert tokens.dtype == np.uint32 and tokens.shape == (14,)
    assert model.to_string(tokens) == MARY and "".join(model.to_str_tokens(MARY)) == MARY
    mary = model.to_single_token(" Mary")
    assert mary == tokens[9 - 8] and model.to_string(mary) == " Mary"
    cfg = model.cfg
    assert (cfg.n_layers, cfg.d_model, cfg.d_head * cfg.n_heads) == (8, 192, 192)
    np.testing.assert_array_equal(model.embedding(" Mary"), model.embedding(mary))


def test_the_model_answers(model):
    run = model.run(MARY)
    assert model.to_string(int(run.logits[-1].argmax())) == " Mary"
    assert run.value(logit_diff(" Mary", " John")) > 0 > run.value(log_prob(" Mary"))
    assert run.value(kl_divergence(run)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", [list, np.array, ByArray, ByDLPack, lambda ids: np.array([ids]), tuple])
def test_prompts_come_in_many_kinds(tiny, run, kind):
    again = tiny.run(kind([3, 1, 4, 1, 5]))
    np.testing.assert_array_equal(again.field, run.field)


def test_runs_have_the_field_and_sites(tiny, run):
    assert run.field.shape == (4, 5, 32) and run.field.dtype == np.float32
    assert run.logits.shape == (5, 50)
    np.testing.assert_array_equal(run.logits[-1], run.logits_at())
    np.testing.assert_array_equal(run["blocks.1.hook_resid_pre"], run.field[1])
    np.testing.assert_array_equal(run["resid_post", 2], run.field[3])
    heads = run["blocks.1.attn.hook_z"]
    assert heads.shape == (5, 2, 16)
    np.testing.assert_array_equal(heads[:, 1], run["blocks.1.attn.hook_z[1]"])
    np.testing.assert_array_equal(heads, run["z", 1])
    # Outputs of attention and MLP, which the run has fused, are computed again under the run's edits.
    edited = tiny.run([3, 1, 4, 1, 5], edits=[Edit.ablate("blocks.0.hook_mlp_out", 2)])
    assert not edited["blocks.0.hook_mlp_out"][2].any() and edited["blocks.0.hook_mlp_out"][1].any()
    whole = edited["attn_out", 1] + edited["resid_pre", 1]
    np.testing.assert_allclose(whole, edited["resid_mid", 1], atol=1e-5)


def test_fields_are_handed_over_without_a_copy(run):
    field = run.field
    owner = field.base
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert owner is not None and type(owner).__name__ not in ("ndarray", "bytes")
    assert field.flags.c_contiguous and field.flags.writeable


@pytest.mark.parametrize("kind", [list, np.array, ByArray, ByDLPack, lambda v: np.array(v, np.float32)[::1]])
def test_edits_take_any_vector(tiny, run, kind):
    vector = [float(i) for i in range(32)]
    edited = tiny.run(run.tokens, edits=[Edit.add("blocks.1.hook_resid_pre", -1, kind(vector))])
    np.testing.assert_allclose(edited.field[1][4] - run.field[1][4], vector, atol=1e-5)
    np.testing.assert_array_equal(edited.field[:, :4], run.field[:, :4])


def test_each_edit_changes_the_field(tiny, run):
    site, tokens = "blocks.1.hook_resid_pre", run.tokens
    h = run.field[1][2]
    for edit, expected in [
        (Edit.put(site, 2, np.ones(32)), np.ones(32)),
        (Edit.scale(site, 2, 0.5), h / 2),
        (Edit.ablate(site, 2), np.zeros(32)),
        (Edit.project_out(site, 2, h), np.zeros(32)),
    ]:
        np.testing.assert_allclose(tiny.run(tokens, [edit]).field[1][2], expected, atol=1e-5)
    variants = [[Edit.ablate(f"blocks.{layer}.attn.hook_z[0]", -1)] for layer in range(3)]
    values = run.values_under(variants, J)
    assert values == pytest.approx([tiny.run(tokens, v).value(J) for v in variants], abs=1e-5)


def test_linearizations_are_linear_adjoint_and_batched(run):
    linear, rng = run.linearize(), np.random.default_rng(0)
    u, v = (rng.normal(size=run.field.shape).astype(np.float32) for _ in range(2))
    forward, backward = linear.jvp(v), linear.vjp(u)
    assert forward.shape == backward.shape == run.field.shape
    assert np.vdot(u, forward) == pytest.approx(np.vdot(backward, v), rel=1e-4)
    s = Source("blocks.1.hook_resid_pre", 2, v[1][2])
    one, both = linear.jvp(s), linear.jvp([s, [s, s]])
    assert both.shape == (2, *run.field.shape)
    np.testing.assert_allclose(both[1], 2 * one, atol=1e-4)
    assert not one[:, :2].any() and not one[0].any()
    chi = linear.vjp([J, Cotangent(3, -1, np.ones(32))])
    np.testing.assert_allclose(chi[0], run.sensitivity(J).values, atol=1e-5)
    np.testing.assert_allclose(chi[1], linear.vjp(projection(3, -1, np.ones(32))), atol=1e-5)
    first, second = linear.jet(s)
    np.testing.assert_allclose(first, one, atol=1e-4)
    slope, curvature = linear.along(s, logit(2))
    assert linear.along([s], logit(2)) == [(slope, curvature)]
    assert slope == pytest.approx(np.vdot(linear.vjp(logit(2))[1][2], v[1][2]), rel=1e-3)
    assert second.any()


def test_modes_freeze_factors(run):
    exact = run.linearize().vjp(J)
    for mode in ("frozen_norm", "frozen_attention", "frozen", "relp"):
        frozen = run.linearize(mode).vjp(J)
        assert frozen.shape == exact.shape and not np.allclose(frozen, exact)
    with pytest.raises(ValueError, match="expected one of exact, frozen_norm"):
        run.linearize("imagined")


def test_a_prompt_is_continued(tiny, model):
    prompt, edit = [3, 1, 4], Edit.scale("blocks.1.hook_resid_pre", -1, -3.0)
    found = tiny.generate(prompt, 6, edit)
    assert found.dtype == np.uint32 and found.shape == (6,)
    tokens = list(prompt)
    # The edit stays at the last token of the prompt.
    for token in found:
        assert token == tiny.run(tokens, Edit.scale("blocks.1.hook_resid_pre", 2, -3.0)).logits_at().argmax()
        tokens.append(int(token))
    assert found.tolist() != tiny.generate(prompt, 6).tolist()
    assert tiny.generate(prompt, 6, edit, stop=found[0]).tolist() == found[:1].tolist()
    assert tiny.generate(prompt, 6, edit, stop=found[1:2]).tolist() == found[:2].tolist()
    sampled = [tiny.generate(prompt, 12, temperature=2, top_k=5, top_p=0.9, seed=seed).tolist() for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert model.to_string(model.generate("When Mary and John went to the store, John gave a drink to", 1)) == " Mary"
    for wrong in (dict(temperature=-1), dict(top_k=0), dict(top_k=-1), dict(top_p=2), dict(max_new_tokens=62)):
        with pytest.raises(ValueError, match="invalid|ask for at most 61"):
            tiny.generate(prompt, **{"max_new_tokens": 1, "temperature": 1.0, **wrong})


def test_models_open_by_path_too(tmp_path):
    assert Model.from_pretrained(device="host").name == "atlas-small"
    with pytest.raises(FileNotFoundError):
        Model.from_pretrained(tmp_path / "nothing", device="host")


def test_weights_may_be_f16():
    stored = Model.from_pretrained("atlas-nano", "host", f16_weights=True)
    older = Model.from_pretrained("atlas-nano", "host", half_weights=True)  # the spelling of 0.1
    assert older.weight_rounding == stored.weight_rounding
    with pytest.raises(TypeError, match="unexpected keyword argument 'f16'"):
        Model.from_pretrained("atlas-nano", "host", f16=True)
    assert stored.weight_rounding == 0.0, "it was stored so"
    assert Model.from_pretrained("random:1", "host").weight_rounding is None
    rounded = Model.from_pretrained("random:1", "host", f16_weights=True)
    assert 1e-4 < rounded.weight_rounding < 3e-4 and rounded.hash.endswith("-f16")


def test_inputs_may_be_f16():
    rounding = Model.from_pretrained("atlas-nano", "host", f16_inputs=True)
    assert rounding.weight_rounding == 0.0 and 1e-5 < rounding.input_rounding < 1e-2
    assert Model.from_pretrained("atlas-nano", "host", f16_weights=True).input_rounding is None
