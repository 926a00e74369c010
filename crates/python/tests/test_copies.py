"""Objects compare, are hashed, copied and pickled."""

import copy
import pickle

import numpy as np
import pytest
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

SITE = "blocks.1.hook_resid_pre"
V = np.arange(32, dtype=np.float32)


def small(run):
    """Pairs of equal objects, each made twice, and an object that differs from them."""
    return [
        (lambda: logit(1), logit(2)),
        (lambda: logit(" a", 2), logit(" a", 3)),
        (lambda: logit_diff(1, 2), logit_diff(2, 1)),
        (lambda: log_prob(7), logit(7)),
        (lambda: prob([1, "#2"]), prob([1])),
        (lambda: 0.5 * entropy() - logit(3), 0.25 * entropy() - logit(3)),
        (lambda: continuation([1, 2], 0), continuation([1, 3], 0)),
        (lambda: projection(1, -1, V), projection(1, -1, 2 * V)),
        (lambda: kl_divergence(run), kl_divergence(run, reverse=True)),
        (lambda: Observable("kl(base) + entropy()", base=run), Observable("kl(base) + entropy()")),
        (lambda: Edit.add(SITE, -1, V), Edit.put(SITE, -1, V)),
        (lambda: Edit.project_out(SITE, 0, V), Edit.project_out(SITE, 1, V)),
        (lambda: Edit.scale(SITE, 0, 0.5), Edit.ablate(SITE, 0)),
        (lambda: Source(SITE, 2, V), Source(SITE, 2, -V)),
        (lambda: Cotangent(2, -1, V), Cotangent(1, -1, V)),
    ]


def test_equal_objects_are_equal(run):
    for make, other in small(run):
        one = make()
        assert one == make() and hash(one) == hash(make()) and one != other and one != "text"
        for again in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            assert again == one and hash(again) == hash(one) and repr(again) == repr(one)


def test_what_was_pickled_computes_the_same(run, tiny):
    for make, _ in small(run)[2:9]:
        one = make()
        if isinstance(one, Observable) and "continuation" not in repr(one):
            assert pickle.loads(pickle.dumps(one)).__class__ is Observable
            assert run.value(pickle.loads(pickle.dumps(one))) == run.value(one)
    edited = tiny.run(run.tokens, pickle.loads(pickle.dumps(Edit.add(SITE, -1, V))))
    np.testing.assert_array_equal(edited.field, tiny.run(run.tokens, Edit.add(SITE, -1, V)).field)


def test_models_are_pickled_by_name(tmp_path, monkeypatch):
    model = Model.from_pretrained("random:3", "host", f16_weights=True, memory=1 << 20)
    again = pickle.loads(pickle.dumps(model))
    assert again == model and hash(again) == hash(model) and again.hash == model.hash
    assert copy.copy(model) is model and copy.deepcopy([model])[0] is model
    assert model != Model.from_pretrained("random:4", "host") and model != Model.from_pretrained("random:3", "host")
    run = model.run([3, 1, 4], [Edit.scale(SITE, 1, 0.5)])
    back = pickle.loads(pickle.dumps(run))
    assert back == run and back != model.run([3, 1, 4]) and hash(back) == hash(run)
    np.testing.assert_array_equal(back.field, run.field)
    # The model is what it was, or it is refused.
    function, arguments = model.__reduce__()
    with pytest.raises(ValueError, match="other weights than when it was pickled"):
        function("random:4", *arguments[1:])


def test_results_are_equal_to_their_copies(run, tiny):
    for result in (run.sensitivity(logit(1)), run.regime(logit(1), amplitudes=[0.1]), run.slice(rank=2)):
        again = pickle.loads(pickle.dumps(result))
        assert again == result and hash(again) == hash(result) and repr(again) == repr(result)
        assert again.checks == result.checks and again.str_tokens == result.str_tokens
        assert not again.values.flags.writeable and again.svg() == result.svg()
        assert copy.copy(result) is result and copy.deepcopy(result) is result
    assert run.sensitivity(logit(1)) == run.sensitivity(logit(1)) != run.sensitivity(logit(2))
    assert run.sensitivity(logit(1)) != "sensitivity"
