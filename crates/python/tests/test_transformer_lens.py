"""Compares the rows of the page on TransformerLens with TransformerLens 4.3, if it is installed.

The usual tests skip this file. To run it, `pip install transformer-lens==4.3.0` into an environment that has the wheel.
"""

import numpy as np
import pytest
from conftest import JOHN, MARY, ROOT
from resolvent import Edit, Model, logit_diff

torch = pytest.importorskip("torch")
pytest.importorskip("transformer_lens")

FILES = ROOT / "crates/model/atlas/nano"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def ours():
    return Model.from_pretrained("atlas-nano", device="host")


@pytest.fixture(scope="module")
def bridge():
    import transformers
    from transformer_lens.model_bridge import TransformerBridge

    model = transformers.GPT2LMHeadModel.from_pretrained(FILES, attn_implementation="eager", dtype=torch.float32)
    return TransformerBridge.boot_transformers(str(FILES), hf_model=model.eval(), device="cpu")


def ids(ours, text):
    return torch.tensor(ours.to_tokens(text).astype(np.int64))[None]


@pytest.fixture(scope="module")
def answers(ours):
    return ours.to_single_token(" Mary"), ours.to_single_token(" John")


def close(ours, theirs):
    theirs = np.asarray(theirs.detach(), dtype=np.float64)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def test_the_cache(bridge, ours):
    logits, cache = bridge.run_with_cache(ids(ours, MARY))
    run = ours.run(MARY)
    close(run.logits, logits[0])
    # Scores of keys that a query does not see are the smallest f32 there, and minus infinity here.
    shared = [name for name in run if name in cache and not name.endswith("hook_attn_scores")]
    assert len(shared) >= 9 * ours.cfg.n_layers
    for name in shared:
        close(run[name].reshape(cache[name][0].shape), cache[name][0])
    close(run["resid_pre", -1], cache["resid_pre", -1][0])
    close(run["z", 1][:, 3], cache["z", 1][0, :, 3])
    close(run.pattern(1), cache["pattern", 1][0])
    close(run.field, cache.accumulated_resid(apply_ln=False)[:, 0])


def test_hooks_are_edits(bridge, ours):
    site, vector = "blocks.1.hook_resid_pre", np.linspace(-1, 1, ours.cfg.d_model).astype(np.float32)

    def add(value, hook):
        value[:, -1] += torch.tensor(vector)
        return value

    def ablate(value, hook):
        value[:, 3, 1] = 0
        return value

    theirs = bridge.run_with_hooks(ids(ours, MARY), fwd_hooks=[(site, add), ("blocks.1.attn.hook_z", ablate)])
    edits = [Edit.add(site, -1, vector), Edit.ablate("blocks.1.attn.hook_z[1]", 3)]
    close(ours.run(MARY, edits).logits, theirs[0])


def test_hooks_of_attention_are_edits(bridge, ours):
    def hide(scores, hook):
        scores[:, 1, -1, 2] = -torch.inf
        return scores

    def zero(pattern, hook):
        pattern[:, 0, 5, 3] = 0
        return pattern

    scores, pattern = "blocks.0.attn.hook_attn_scores", "blocks.1.attn.hook_pattern"
    theirs = bridge.run_with_hooks(ids(ours, MARY), fwd_hooks=[(scores, hide), (pattern, zero)])
    edits = [Edit.put(f"{scores}[1,2]", -1, [-np.inf]), Edit.ablate(f"{pattern}[0,3]", 5)]
    close(ours.run(MARY, edits).logits, theirs[0])


def test_hooks_of_norms_are_edits(bridge, ours):
    scale, rows, last = "blocks.1.ln1.hook_scale", "blocks.0.ln2.hook_normalized", "ln_final.hook_scale"
    vector = np.linspace(-1, 1, ours.cfg.d_model).astype(np.float32)

    def double(value, hook):
        value = value.clone()
        value[:, 4:] *= 2
        return value

    def put(value, hook):
        value = value.clone()
        value[:, -1] = 1.5 if value.shape[-1] == 1 else torch.tensor(vector)
        return value

    theirs = bridge.run_with_hooks(ids(ours, MARY), fwd_hooks=[(scale, double), (rows, put), (last, put)])
    edits = [Edit.scale(scale, slice(4, None), 2), Edit.put(rows, -1, vector), Edit.put(last, -1, [1.5])]
    close(ours.run(MARY, edits).logits, theirs[0])


def test_patching(bridge, ours, answers):
    from transformer_lens import patching

    _, cache = bridge.run_with_cache(ids(ours, MARY))

    def metric(logits):
        return logits[0, -1, answers[0]] - logits[0, -1, answers[1]]

    base = float(metric(bridge(ids(ours, JOHN))).detach())
    swept = ours.patch_sweep(MARY, JOHN, logit_diff(*answers), sites=["resid", "attn_out", "mlp_out", "z"])
    layers = ours.cfg.n_layers
    for name, patched in [
        ("effect", patching.get_act_patch_resid_pre),
        ("effect.attn_out", patching.get_act_patch_attn_out),
        ("effect.mlp_out", patching.get_act_patch_mlp_out),
    ]:
        close(swept[name][:layers] + base, patched(bridge, ids(ours, JOHN), cache, metric))
    heads = patching.get_act_patch_attn_head_out_by_pos(bridge, ids(ours, JOHN), cache, metric)
    close(swept["effect.z"].transpose(0, 2, 1) + base, heads)


def test_weights(bridge, ours, answers):
    close(ours.embedding(answers[0]), bridge.W_E[answers[0]])
    close(ours.unembedding(answers[0]), bridge.W_U[:, answers[0]])
    for name in (
        "W_E",
        "W_U",
        "W_Q",
        "W_K",
        "W_V",
        "W_O",
        "W_in",
        "W_out",
        "b_Q",
        "b_K",
        "b_V",
        "b_O",
        "b_in",
        "b_out",
    ):
        close(getattr(ours, name), getattr(bridge, name))
    close(ours.W_pos[:5], bridge.W_pos[:5])


def test_a_cache_as_a_dictionary(bridge, ours):
    _, cache = bridge.run_with_cache(ids(ours, MARY))
    for name, array in ours.run(MARY).to_dict(["blocks.1.attn.hook_z", "blocks.0.hook_resid_pre"]).items():
        close(array.reshape(cache[name].shape), cache[name])
        # Their array is put back into a run of ours.
        theirs = cache[name].detach().numpy().reshape(array.shape)
        close(ours.run(JOHN, Edit.put(name, None, theirs))[name].reshape(cache[name].shape[1:]), cache[name][0])
    scores, seen = cache["attn_scores", 1][0], np.tril(np.ones((14, 14), dtype=bool))
    close(ours.run(MARY)["attn_scores", 1][:, seen], scores[:, torch.tensor(seen)])


def test_a_batch_of_unequal_prompts(bridge, ours):
    prompts = [MARY, "The capital of France is", "Once upon a time"]
    runs = ours.run_all(prompts)
    for run, prompt in zip(runs, prompts):
        close(run.logits, bridge(ids(ours, prompt))[0])
    tokens = [ours.to_tokens(prompt).astype(np.int64) for prompt in prompts]
    padded = torch.zeros(len(tokens), 14, dtype=torch.long)
    for row, own in zip(padded, tokens):
        row[: len(own)] = torch.tensor(own)
    last = torch.tensor([len(own) - 1 for own in tokens])
    close(ours.prompts(prompts).logits(), bridge(padded)[torch.arange(3), last])


def test_a_metric_of_logits_over_whole_heads(bridge, ours, answers):
    def metric(logits):
        return logits[:, answers[0]] - logits[:, answers[1]]

    found = ours.run(MARY).values_under([Edit.ablate(f"blocks.1.attn.hook_z[{h}]") for h in range(3)], metric)
    for head in range(3):

        def ablate(value, hook):
            value[:, :, head] = 0
            return value

        theirs = bridge.run_with_hooks(ids(ours, MARY), fwd_hooks=[("blocks.1.attn.hook_z", ablate)])
        close(found[head : head + 1], metric(theirs[:, -1]))


def test_the_direct_path(bridge, ours, answers):
    from transformer_lens import patching

    caches = [bridge.run_with_cache(ids(ours, text))[1] for text in (MARY, JOHN)]

    def metric(logits):
        return logits[0, -1, answers[0]] - logits[0, -1, answers[1]]

    base = float(metric(bridge(ids(ours, JOHN))).detach())
    theirs = patching.get_act_patch_direct_path(bridge, ids(ours, JOHN), *caches, metric, src_layer=0, src_head=1)
    found = ours.edges(MARY, JOHN, logit_diff(*answers), exact=True)
    writers, readers = (found.metadata[key].split(",") for key in ("writers", "readers"))
    effects = {(writers[int(w)], readers[int(r)]): x for (w, r), x in zip(found["edges"], found["exact"])}
    queries = [effects["a0.h1", f"a1.h{head}<q>"] for head in range(ours.cfg.n_heads)]
    close(np.array(queries) + base, theirs[1])


def test_generation(bridge, ours):
    greedy = dict(do_sample=False, stop_at_eos=False, return_type="tokens")
    tokens = bridge.generate(ids(ours, MARY), max_new_tokens=5, **greedy)
    assert ours.generate(MARY, 5).tolist() == tokens[0, -5:].tolist()
