"""Rows of prompts: answers of several tokens, runs as prompts."""

import numpy as np
import pytest
from resolvent import Edit


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
