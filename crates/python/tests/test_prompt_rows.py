"""Rows of prompts: answers of several tokens, runs as prompts, values under edits."""

import numpy as np
import pytest
from resolvent import Edit, Observable

ROWS = [
    {"clean": [7, 3, 21, 9, 30, 2], "observable": "logit(#11) - logit(#4)"},
    {"clean": [5, 1, 6], "target": "#4", "label": "short"},
    {"clean": [1, 2, 3, 4], "target": "#4", "against": "#9"},
]


def test_answers_of_several_tokens_are_means(tiny):
    clean = [1, 2, 3, 4]
    answers = [("#4|#5", 9), (["#4", 5], "#9"), (4, [9])]
    rows = [{"clean": clean, "target": target, "against": against} for target, against in answers]
    prompts = tiny.prompts(rows)
    assert prompts.observables[0] == prompts.observables[1] == "0.5 * logit(#4)@3 + 0.5 * logit(#5)@3 - logit(#9)@3"
    assert prompts.observables[2] == "logit(#4)@3 - logit(#9)@3"


def test_a_run_is_a_prompt(tiny, model):
    run = tiny.run([7, 3, 21])
    assert tiny.prompts([run]).tokens == [[7, 3, 21]]
    np.testing.assert_array_equal(tiny.generate(run, 2), tiny.generate([7, 3, 21], 2))
    np.testing.assert_array_equal(tiny.run(run).logits, run.logits)
    for call in [model.run, lambda one: model.generate(one, 1), lambda one: model.prompts([one])]:
        with pytest.raises(ValueError, match="the run given as a prompt is of .* run its prompt with this model"):
            call(run)
    edited = tiny.run([7, 3, 21], edits=Edit.ablate("blocks.0.hook_resid_pre", 1))
    with pytest.raises(ValueError, match="a run with edits is no prompt"):
        tiny.run(edited)


def test_an_observable_as_text_alone_is_refused(tiny):
    with pytest.raises(TypeError, match=r'expected an observable, got .*; give Observable\("logit"\)'):
        tiny.prompts([[1, 2]], observable="logit")


def test_values_of_many_prompts_under_edits(tiny):
    vector = np.linspace(-1, 1, tiny.cfg.d_model, dtype=np.float32)
    variants = [
        Edit.ablate("blocks.0.attn.hook_z[1]", -1),
        [Edit.add("blocks.1.hook_resid_pre", 0, vector), Edit.scale("blocks.1.attn.hook_z", -2, 2.0)],
        [],
    ]
    edits = [Edit.scale("blocks.0.attn.hook_z", None, 0.5)]
    prompts = tiny.prompts(ROWS, edits=edits)
    found = prompts.values_under(variants)
    assert found.shape == (3, 3) and found.dtype == np.float64
    for n, row in enumerate(ROWS):
        run, j = tiny.run(row["clean"], edits), Observable(prompts.observables[n])
        np.testing.assert_allclose(found[n], run.values_under(variants, j), atol=1e-5)
        assert abs(found[n, :2] - found[n, 2]).min() > 1e-4
    assert prompts.values_under([]).shape == (3, 0)
    with pytest.raises(ValueError, match="short: .*-4"):
        prompts.values_under([Edit.ablate("blocks.0.attn.hook_z[1]", -4)])
    with pytest.raises(ValueError, match="row 0: no observable"):
        tiny.prompts([[1, 2, 3]]).values_under(variants)
