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

- **Data.** The seeded generator `corpus.py`, {tokens:.1f} million tokens, every one fresh; no text from elsewhere.
- **Training.** `python train.py {name}`: {done} of {steps} steps of {rows} x 128 tokens, Muon and
  AdamW{growth}, {minutes:.0f} minutes of wall clock on two Zen 4 cores
  busy with other work, at the lowest priority, pauses included.
- **Loss.** {loss:.3f} nats a token over the last 250 steps, on fresh text. Much of it is chance by construction: which
  name, which place, which random word comes next.
- **Licence.** CC0 1.0: no rights reserved, for the weights and for everything in this folder.

## Accuracy on what was held out

{items} items a cell, drawn by the generator, evaluated on the shipped f16 weights in f32 arithmetic. An item is right
if the most probable token of the whole vocabulary is right; "pair" asks only whether the answer outweighs the
answer of the corrupted prompt. What is held out is defined in [the README](../README.md#what-is-held-out).

{table}

{state}The model knows its closed world and nothing else: outside its templates it is no language model.
"""

UNFINISHED = """**Unfinished.** These weights are the checkpoint of step {done} of {steps}: the learning rate had only
begun to fall, and the templates changed a little afterwards (see the README).

"""


def card(name: str, tokenizer: Tokenizer) -> str:
    size = train.SIZES[name]
    last = json.loads((E.HERE / name / "training.jsonl").read_text().splitlines()[-1])
    weights = E.HERE / name / "model.safetensors"
    with safe_open(weights, "pt") as file:
        count = sum(file.get_tensor(key).numel() for key in file.keys())
    finished = last["step"] == size.steps
    state = "" if finished else UNFINISHED.format(done=last["step"], steps=size.steps)
    growth = f", half the layers until step {size.grow}" if size.grow else ""
    return CARD.format(
        name=name, growth=growth, state=state, done=last["step"],
        **size._asdict(), count=count, vocabulary=tokenizer.get_vocab_size(),
        loss=last["loss"],
        megabytes=weights.stat().st_size / 1e6, tokens=last["tokens"] / 1e6, minutes=last["seconds"] / 60, items=ITEMS,
        table=E.markdown(E.table(E.load(name), tokenizer, ITEMS)),
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    tok = Tokenizer.from_file(str(E.HERE / "tokenizer.json"))
    for model in train.SIZES:
        if not (E.HERE / model / "model.safetensors").exists():
            continue
        (E.HERE / model / "CARD.md").write_text(card(model, tok))
        print(model)
