"""A user's program, which mypy --strict accepts. `test_typed.py` runs both it and mypy."""

import copy
import pickle
from typing import List, Union

import numpy as np
import numpy.typing as npt
from resolvent import Edit, Model, Observable, Result, Run, Source, logit, logit_diff


def places() -> npt.NDArray[np.int64]:
    return np.array([[0, 1], [2, -1]])


def main(name: str = "random", device: Union[int, str] = "host") -> List[str]:
    model = Model.from_pretrained(name, device)
    prompt: List[int] = [3, 1, 4, 1, 5]
    position = np.int64(2)
    run = model.run(prompt, Edit.ablate("blocks.0.hook_resid_pre", position), sites="blocks.0.hook_mlp_out")
    tokens: npt.NDArray[np.uint32] = run.tokens
    again = model.run(tokens, edits=[Edit.scale("blocks.0.hook_resid_pre", np.int32(1), np.float32(2.0))])
    j: Observable = logit_diff(np.int64(2), 6)
    kinds: List[str] = ["resid", "z"]
    swept: Result = model.patch_sweep(run, again, j, sites=kinds)
    names: List[str] = list(swept)
    heads: npt.NDArray[np.float32] = run["z", np.int64(-1)]
    found: Result = run.invert([(j, 1.0)], sites=places(), sparse=np.int64(1))
    green: Result = run.green(found["sites"][0], "random:1")
    model.generate(model.run(prompt), np.int64(1))
    run.slice("random", rank=np.int64(2), sources=found["sites"], targets=[(3, 4)])
    variants: List[List[Edit]] = [[Edit.ablate(f"blocks.{b}.hook_resid_pre", -1)] for b in range(3)]
    values: List[float] = run.values_under(variants, j)
    names += [f"{value:.1f}" for value in values]
    several: npt.NDArray[np.float64] = run.values_under(variants, [j, logit(1)])
    own = run.values_under(variants, lambda logits: logits[:, 2] - logits[:, 6], position=np.int64(-1))
    logits: npt.NDArray[np.float32] = run.logits_under(variants)
    runs: List[Run] = model.run_all([prompt, [3, 1]], Edit.ablate("blocks.0.attn.hook_z"))
    edits = [
        Edit.add("blocks.1.hook_resid_pre", at, model.W_E[3]) for at in (slice(1, 3), [0, -1], range(2), None, position)
    ]
    cache = again.to_dict(["blocks.1.attn.hook_z"])
    edits.append(Edit.put("blocks.1.attn.hook_z", None, cache["blocks.1.attn.hook_z"]))
    gain: npt.NDArray[np.float32] = model.ln_final.w
    assert several.shape == (3, 2) and own.shape == (3,) and logits.shape == (3, 50) and len(runs) == 2
    assert gain.shape == (32,) and model.run(prompt, edits).field.shape == model.run(prompt).field.shape
    source = Source("blocks.1.hook_resid_pre", position, np.ones(32))
    same: bool = copy.copy(source) == pickle.loads(pickle.dumps(source)) and logit(1) == logit(1)
    different = {logit(1): 1, logit(2): 2}
    assert same and len(different) == 2 and heads.ndim == 3 and green.name in green and len(run) == len(list(run))
    assert "blocks.0.hook_resid_pre" in run and isinstance(hash(model), int)
    return names


if __name__ == "__main__":
    print(main())
