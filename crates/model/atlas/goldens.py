"""Writes goldens.safetensors: what Hugging Face computes in f64 for the shipped weights, for our engine to meet.

    python goldens.py

Tensors: `ids.NN` (i32, token ids of prompt NN) and `MODEL.NN.last` (f64 logits after the last token). The prompts and
versions are in the metadata.
"""

from __future__ import annotations

import json

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

import evaluate as E

MODELS = ("nano", "micro", "small")


def prompts(tokenizer: Tokenizer) -> list[str]:
    """Two held-out study prompts a task, the smallest cases, text from outside the closed world, a full context."""
    tasks = json.loads((E.HERE / "prompts.json").read_text())["tasks"]
    chosen = ["The capital of France is", "Mary and"]
    chosen += [task["prompts"][i]["clean"] for task in tasks.values() for i in (0, -1)]
    chosen.append("Zebras don't quote naïve 1234567 theorems, do they?\n")
    long = " ".join(row["clean"] + row["target"] + "." for task in tasks.values() for row in task["prompts"][:4])
    chosen.append(tokenizer.decode(tokenizer.encode(long).ids[:128]))
    return chosen


def main() -> None:
    tokenizer = Tokenizer.from_file(str(E.HERE / "tokenizer.json"))
    texts = prompts(tokenizer)
    ids = [tokenizer.encode(text).ids for text in texts]
    assert len(texts) == 20 and len(ids[-1]) == 128
    tensors = {f"ids.{i:02}": torch.tensor(row, dtype=torch.int32) for i, row in enumerate(ids)}
    for name in MODELS:
        model = GPT2LMHeadModel.from_pretrained(E.HERE / name, attn_implementation="eager").double().eval()
        for i, row in enumerate(ids):
            with torch.no_grad():
                logits = model(torch.tensor([row])).logits[0, -1]
            assert logits.dtype == torch.float64
            tensors[f"{name}.{i:02}.last"] = logits.clone()
    metadata = {"prompts": json.dumps(texts), "transformers": transformers.__version__, "torch": torch.__version__,
                "weights": "the shipped f16 weights, widened to f64", "licence": "CC0-1.0"}
    save_file(tensors, E.HERE / "goldens.safetensors", metadata=metadata)


if __name__ == "__main__":
    main()
