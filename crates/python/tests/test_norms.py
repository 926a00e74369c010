"""Scales and normalized rows of norms, which are sites."""

import numpy as np
import pytest
from resolvent import Edit, Source, logit_diff

PROMPT = [3, 1, 4, 1, 5]


def test_scales_of_norms_are_sites(tiny, run):
    scale, rows, last = "blocks.1.ln2.hook_scale", "blocks.1.ln2.hook_normalized", "ln_final.hook_scale"
    other = tiny.run([2, 7, 1, 8, 2])
    for name in (scale, rows, last, "ln_final.hook_normalized"):
        patched = tiny.run(PROMPT, Edit.put(name, None, other[name]))
        np.testing.assert_array_equal(patched[name], other[name])
        assert not np.allclose(patched.logits, run.logits)
    # The run's own scale is a constant: values stay, and derivatives by the row do not pass through it.
    J = logit_diff("#2", "#4")
    own = tiny.run(PROMPT, [Edit.put(name, None, run[name]) for name in run.keys() if name.endswith("hook_scale")])
    np.testing.assert_allclose(own.logits, run.logits, rtol=1e-4, atol=1e-5)
    frozen = run.linearize("frozen_norm").vjp(J)
    np.testing.assert_allclose(own.linearize().vjp(J), frozen, rtol=1e-3, atol=1e-5)
    # With twice the scale rows are half as long; a source at the scale is its derivative.
    doubled = tiny.run(PROMPT, Edit.scale(scale, 3, 2))
    np.testing.assert_allclose(doubled[rows][3], run[rows][3] / 2, rtol=1e-5)
    named = tiny.run(PROMPT, sites=[scale, last])
    slope = named.linearize().along(Source(scale, 3, [1.0]), J)[0]
    near = np.subtract(*named.values_under([Edit.add(scale, 3, [h]) for h in (1e-2, -1e-2)], J)) / 2e-2
    assert slope == pytest.approx(near, rel=1e-2, abs=1e-4)
    with pytest.raises(ValueError, match="a norm divides by its scale; give another factor than 0"):
        tiny.run(PROMPT, Edit.ablate(scale, 0))
