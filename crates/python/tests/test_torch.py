"""Compares the embedded model with `transformers` in f64, if torch and transformers are installed.

The usual tests skip this file. To run it, `pip install torch transformers` into an environment that has the wheel.
"""

import numpy as np
import pytest
from conftest import JOHN, MARY, ROOT
from resolvent import Cotangent, Model, Source, logit_diff

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4
FILES = ROOT / "crates/atlas/small"


@pytest.fixture(scope="module")
def gpt2():
    model = transformers.GPT2LMHeadModel.from_pretrained(FILES, attn_implementation="eager", dtype=torch.float64)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ours():
    return Model.from_pretrained("atlas-small", device="host")


def tokens(ours, text):
    return torch.tensor(ours.to_tokens(text).astype(np.int64))[None]


class Forward:
    """A forward pass of transformers that adds to, or replaces, each h[l] (the input of block l, or of ln_f)."""

    def __init__(self, gpt2, ids, add=None, put=None):
        self.field, handles = [], []
        places = [*gpt2.transformer.h, gpt2.transformer.ln_f]

        def hook(level):
            def before(_, args):
                h = args[0]
                if add is not None:
                    h = h + add[level]
                if put is not None and put[0] == level:
                    h = h.clone()
                    h[0, put[1]] = put[2]
                self.field.append(h)
                return (h, *args[1:])

            return before

        for level, module in enumerate(places):
            handles.append(module.register_forward_pre_hook(hook(level)))
        try:
            self.logits = gpt2(ids, use_cache=False).logits[0]
        finally:
            for handle in handles:
                handle.remove()

    def j(self, target, against):
        return self.logits[-1, target] - self.logits[-1, against]


def close(ours, theirs):
    theirs = np.asarray(theirs, dtype=np.float64)
    scale = np.abs(theirs).max()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE * scale


@pytest.fixture(scope="module")
def answers(ours):
    return ours.to_single_token(" Mary"), ours.to_single_token(" John")


def test_the_field_and_the_logits(gpt2, ours):
    theirs = Forward(gpt2, tokens(ours, MARY))
    run = ours.run(torch.tensor(ours.to_tokens(MARY).astype(np.int64)))
    close(run.field, torch.cat(theirs.field))
    close(run.logits, theirs.logits)


def test_the_sensitivity(gpt2, ours, answers):
    ids = tokens(ours, MARY)
    shape = (ours.cfg.n_layers + 1, ids.shape[1], ours.cfg.d_model)
    zero = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    (chi,) = torch.autograd.grad(Forward(gpt2, ids, add=zero).j(*answers), zero)
    close(ours.run(MARY).sensitivity(logit_diff(*answers)).values, chi)


def test_the_patch_sweep(gpt2, ours, answers):
    clean = torch.cat(Forward(gpt2, tokens(ours, MARY)).field)
    ids = tokens(ours, JOHN)
    base = Forward(gpt2, ids).j(*answers)
    effect = np.zeros(clean.shape[:2])
    for level in range(clean.shape[0]):
        for token in range(clean.shape[1]):
            patched = Forward(gpt2, ids, put=(level, token, clean[level, token]))
            effect[level, token] = patched.j(*answers) - base
    close(ours.patch_sweep(MARY, JOHN, logit_diff(*answers)).values, effect)


def test_jvp_and_vjp(gpt2, ours):
    ids, generator = tokens(ours, MARY), torch.Generator().manual_seed(0)
    shape = (ours.cfg.n_layers + 1, ids.shape[1], ours.cfg.d_model)
    source, cotangent = (torch.randn(shape[2], generator=generator, dtype=torch.float64) for _ in range(2))
    tangent = torch.zeros(shape, dtype=torch.float64)
    tangent[2, 3] = source

    def field(add):
        return torch.cat(Forward(gpt2, ids, add=add).field)

    zero = torch.zeros(shape, dtype=torch.float64)
    _, response = torch.autograd.functional.jvp(field, zero, tangent)
    linear = ours.run(MARY).linearize()
    close(linear.jvp(Source("blocks.2.hook_resid_pre", 3, source)), response)
    seed = torch.zeros(shape, dtype=torch.float64)
    seed[-1, -1] = cotangent
    _, chi = torch.autograd.functional.vjp(field, zero, seed)
    close(linear.vjp(Cotangent(-1, -1, cotangent)), chi)
