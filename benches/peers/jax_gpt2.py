"""GPT-2 in JAX: pure functions of a tree of weights, to be jitted."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from common import AGAINST, EPSILON, HEADS, LAYERS, TARGET, TOKENS, WIDTH, Weights


class Affine(NamedTuple):
    """A product [in, out] and its bias, or a norm's gain and shift."""

    weight: jax.Array
    bias: jax.Array


class Block(NamedTuple):
    """Weights of one block."""

    ln_1: Affine
    qkv: Affine
    out: Affine
    ln_2: Affine
    up: Affine
    down: Affine


class Model(NamedTuple):
    """All weights; `read` are the two rows of the unembedding."""

    wte: jax.Array
    positions: jax.Array
    read: jax.Array
    blocks: list[Block]
    ln_f: Affine


PARTS = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")


def load(weights: Weights) -> Model:
    """The tree of these weights."""

    def affine(name: str) -> Affine:
        return Affine(jnp.asarray(weights[f"{name}.weight"]), jnp.asarray(weights[f"{name}.bias"]))

    wte = jnp.asarray(weights["wte.weight"])
    blocks = [Block(*(affine(f"h.{layer}.{part}") for part in PARTS)) for layer in range(LAYERS)]
    positions = jnp.asarray(weights["wpe.weight"][:TOKENS])
    return Model(wte, positions, wte[jnp.array([TARGET, AGAINST])], blocks, affine("ln_f"))


def norm(x: jax.Array, ln: Affine) -> jax.Array:
    """Layer norm over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * ln.weight + ln.bias


def linear(x: jax.Array, w: Affine) -> jax.Array:
    """[..., in] to [..., out]."""
    return x @ w.weight + w.bias


def heads(x: jax.Array) -> jax.Array:
    """[..., T, d] to [..., T, H, d / H]."""
    return x.reshape(*x.shape[:-1], HEADS, WIDTH // HEADS)


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """The last queries [..., Q, d] over all keys and values [..., T, d] to heads' outputs [..., Q, d]."""
    first = k.shape[-2] - q.shape[-2]
    causal = jnp.arange(k.shape[-2]) <= first + jnp.arange(q.shape[-2])[:, None]
    scores = jnp.einsum("...qhe,...khe->...hqk", heads(q), heads(k)) / (WIDTH // HEADS) ** 0.5
    pattern = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), -1)
    return jnp.einsum("...hqk,...khe->...qhe", pattern, heads(v)).reshape(q.shape)


def block(h: jax.Array, w: Block, last: bool = False) -> jax.Array:
    """[..., T, d] to the same; with `last` to the last token's [..., 1, d]."""
    q, k, v = jnp.split(linear(norm(h, w.ln_1), w.qkv), 3, -1)
    if last:
        h, q = h[..., -1:, :], q[..., -1:, :]
    h = h + linear(attend(q, k, v), w.out)
    return h + linear(jax.nn.gelu(linear(norm(h, w.ln_2), w.up), approximate=True), w.down)


def embed(model: Model, tokens: jax.Array) -> jax.Array:
    """Tokens [T] to level 0 [T, d]."""
    return model.wte[tokens] + model.positions


def field(model: Model, level_0: jax.Array, added: jax.Array | None = None) -> jax.Array:
    """Level 0 [T, d] to all levels [13, T, d], each with its row of `added` [13, T, d]."""
    levels = [level_0 if added is None else level_0 + added[0]]
    for layer, w in enumerate(model.blocks):
        h = block(levels[-1], w)
        levels.append(h if added is None else h + added[layer + 1])
    return jnp.stack(levels)


def difference(model: Model, last: jax.Array) -> jax.Array:
    """Rows [..., d] of the last level to the logit difference [...]."""
    logits = norm(last, model.ln_f) @ model.read.T
    return logits[..., 0] - logits[..., 1]


def forward(model: Model, tokens: jax.Array) -> jax.Array:
    """Tokens [T] to the logit difference of the last one; the last block computes its row alone."""
    h = embed(model, tokens)
    for layer, w in enumerate(model.blocks):
        h = block(h, w, last=layer == LAYERS - 1)
    return difference(model, h[0])


def gradient(model: Model, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens [T] to J, and dJ/dh [13, T, d]: the derivative by what is added at each level."""
    nothing = jnp.zeros((LAYERS + 1, TOKENS, WIDTH), jnp.float32)

    def value(added: jax.Array) -> jax.Array:
        return difference(model, field(model, embed(model, tokens), added)[-1, -1])

    return jax.value_and_grad(value)(nothing)


def sweep(model: Model, clean: jax.Array, corrupted: jax.Array) -> jax.Array:
    """Prompts [T] to J after each clean h[l, t], [12, T]: one batch that T runs join at each level."""
    from_clean, base = (field(model, embed(model, tokens)) for tokens in (clean, corrupted))
    runs, places = jnp.zeros((0, TOKENS, WIDTH), jnp.float32), jnp.arange(TOKENS)
    for layer, w in enumerate(model.blocks):
        joined = jnp.tile(base[layer], (TOKENS, 1, 1)).at[places, places].set(from_clean[layer])
        runs = block(jnp.concatenate([runs, joined]), w, last=layer == LAYERS - 1)
    return difference(model, runs[:, 0]).reshape(LAYERS, TOKENS)


def responses(model: Model, level_0: jax.Array, tangents: jax.Array) -> jax.Array:
    """Tangents [K, T, d] at level 0 to those of all levels [K, 13, T, d], the forward pass included."""
    _, response = jax.linearize(lambda h: field(model, h), level_0)
    return jax.vmap(response)(tangents)
