"""Golden averaged operators of an embedded model, in float64 torch, and a lens file that TransformerLens wrote.

    pip install -r requirements.txt transformer-lens==4.3.0 tokenizers==0.23.3
    python make_averages.py

Writes averages/atlas-nano.safetensors and averages/atlas-nano.pt beside itself. The model is written out here, and each
element of a Jacobian comes from autograd. The script compares the average with `JacobianLens.fit`, and the readout with
`JacobianLens.readout`, both in float32. It prints the largest relative distances, and the time that `fit` takes.
"""

import json
import os
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from tokenizers import Tokenizer

from common import write_safetensors
from make_reductions import ATLAS, Model

HERE = Path(__file__).parent
SKIP_FIRST, SKIP_LAST = 2, 1
LENGTHS = (7, 12, 19)


def jacobian(model, ids):
    """The operators [L+1, d, d] of one prompt, averaged over its positions."""
    last, skip = len(ids) - SKIP_LAST, SKIP_FIRST
    found = []
    for level, h in enumerate(field := model.field(model.embed(ids))):
        end = lambda x: model.field(x[None], level)[-1][0]
        # [T', d', T, d]; pairs with t' < t are zero.
        whole = torch.autograd.functional.jacobian(end, h[0].detach())
        found.append(whole[skip:last, :, skip:last].sum((0, 2)) / (last - skip))
    return torch.stack(found), field


def main():
    tokenizer = Tokenizer.from_file(str(ATLAS / "tokenizer.json"))
    prompts = json.loads((ATLAS / "prompts.json").read_text())["tasks"]["ioi"]["prompts"]
    ids = tokenizer.encode(" ".join(row["clean"] for row in prompts[:6]), add_special_tokens=False).ids
    starts = [sum(LENGTHS[:n]) for n in range(len(LENGTHS))]
    parts = [torch.tensor(ids[start : start + length]) for start, length in zip(starts, LENGTHS)]
    model = Model(ATLAS / "nano")
    each = torch.stack([jacobian(model, part)[0] for part in parts])
    operator, count = each.mean(0), len(parts)
    error = each.std(0) / count**0.5
    field = jacobian(model, parts[1])[1]
    rows = torch.stack([h[0] @ j.T for h, j in zip(field, operator)])
    logits = model.norm(rows, "ln_f") @ model.w["wte.weight"].T
    arrays = {f"tokens.{n}": part for n, part in enumerate(parts)}
    arrays |= {"operator": operator, "standard_error": error, "log_p": logits.log_softmax(-1)[:, -1]}
    compare(parts, operator, logits)
    (HERE / "averages").mkdir(exist_ok=True)
    about = {"skip_first": str(SKIP_FIRST), "skip_last": str(SKIP_LAST), "torch": torch.__version__}
    write_safetensors(HERE / "averages" / "atlas-nano.safetensors", arrays, about)


def compare(parts, operator, logits):
    """Compares with TransformerLens, and saves its lens."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis import JacobianLens

    bridge = TransformerBridge.boot_transformers(str(ATLAS / "nano"), device="cpu", dtype=torch.float32)
    bridge.to_tokens = lambda ids: torch.tensor([ids])
    began = time.perf_counter()
    lens = JacobianLens.fit(
        bridge, [part.tolist() for part in parts], corpus="golden", skip_first_positions=SKIP_FIRST, dim_batch=64
    )
    seconds = (time.perf_counter() - began) / len(parts)
    for block, matrix in lens.jacobians.items():
        apart = (matrix.double() - operator[block + 1]).norm() / operator[block + 1].norm()
        print(f"JacobianLens.fit, block {block}: {apart:.1e}; {seconds:.3f} s a prompt")
        assert apart < 1e-5
    read = lens.readout(bridge, parts[1][None], return_full_logits=True)
    for block, got in read.lens_logits.items():
        wanted = logits[block + 1]
        print(f"JacobianLens.readout, block {block}: {(got.double() - wanted).abs().max() / wanted.abs().max():.1e}")
    lens.metadata["model_name"] = "atlas-nano"
    lens.save(str(HERE / "averages" / "atlas-nano.pt"))


if __name__ == "__main__":
    main()
