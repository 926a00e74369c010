"""Writes each model's CARD.md: data, steps, loss, licence, and its accuracy table.

    python cards.py                     # after training; evaluates the shipped f16 weights, a few minutes

The training record (loss and a quick accuracy every 250 steps) lies beside each model in training.jsonl.
"""

from __future__ import annotations

import json

import torch
from safetensors import safe_open
from tokenizers import Tokenizer

import evaluate as E
import train

ITEMS = 1000
CARD = """# atlas-{name}

GPT-2 architecture, exactly: {layers} layers, width {width}, {heads} heads, {count:,} parameters, vocabulary
{vocabulary}, learned positions (context 128), GELU in its tanh form, tied output. Weights in f16, {megabytes:.2f} MB.

- **Data.** The seeded generator `corpus.py`, {tokens:.1f} million tokens, each generated for one step; no other text.
- **Training.** `python train.py {name} --threads 1`: {steps} steps of {rows} x 128 tokens, Muon and AdamW,
  {growth}{minutes:.0f} minutes of wall-clock time in one thread on a shared CPU.
- **Loss.** {loss:.3f} nats a token over the last 250 steps, on new text. Much of it is chance by construction: the
  next name, place or random word cannot be predicted.
- **Licence.** CC0 1.0: no rights reserved, for the weights and for everything in this folder.

## Accuracy on held-out data

{items} items a cell, drawn by the generator, evaluated on the shipped f16 weights in f32 arithmetic. An item is correct
if the most probable token of the whole vocabulary is correct; "pair" asks only whether the answer outweighs the
answer of the corrupted prompt. [The README](../README.md#held-out-data) defines the held-out data. The development
sentences were examined while the training sentences were written; the test sentences were not.

{table}

The model has learned only its closed world: it is not a general language model.
"""


def card(name: str, tokenizer: Tokenizer) -> str:
    size = train.SIZES[name]
    last = json.loads((E.HERE / name / "training.jsonl").read_text().splitlines()[-1])
    weights = E.HERE / name / "model.safetensors"
    with safe_open(weights, "pt") as file:
        count = sum(file.get_tensor(key).numel() for key in file.keys())
    assert last["step"] == size.steps, f"{name} is not trained to the end"
    growth = f"half of the layers until step {size.grow}, " if size.grow else ""
    return CARD.format(
        name=name, growth=growth,
        **size._asdict(), count=count, vocabulary=tokenizer.get_vocab_size(),
        loss=last["loss"],
        megabytes=weights.stat().st_size / 1e6, tokens=last["tokens"] / 1e6, minutes=last["seconds"] / 60, items=ITEMS,
        table=E.markdown(E.table(E.load(name), tokenizer, ITEMS)),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    tok = Tokenizer.from_file(str(E.HERE / "tokenizer.json"))
    for model in train.SIZES:
        (E.HERE / model / "CARD.md").write_text(card(model, tok))
        print(model)
