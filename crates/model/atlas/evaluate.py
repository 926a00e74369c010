"""Accuracy of an atlas model on what was held out of its training.

    python evaluate.py small            # held-out combinations and the development sentences
    python evaluate.py small --test     # the table that small/CARD.md holds, with the test sentences

An item is right if the most probable next token over the whole vocabulary is accepted:
the answer itself for facts, indirect objects, pronouns and induction; any verb form of the right number for
agreement; any two-digit token above the starting year for greater-than.
"Pair" is the weaker question of the literature: does the answer outweigh the answer of the corrupted prompt?
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer

import corpus as C
import words as W

HERE = Path(__file__).parent
SPLITS = ("combo", "dev", "test")
HEADS = {"combo": "combinations", "dev": "development sentences", "test": "test sentences"}
Predict = Callable[[torch.Tensor], torch.Tensor]
"""Token ids [n, length] to logits [n, length, vocabulary]."""


def accepted(task: str, slots: C.Slots, answer: str) -> list[str]:
    if task == "agreement":
        return [" " + verb[slots["plural"]] for verb in W.VERBS]
    if task == "greater_than":
        return [f"{year:02}" for year in range(slots["start"] + 1, 100)]
    return [answer]


def first_token(tokenizer: Tokenizer, text: str) -> int:
    """The answer's token: its first, which matters only for " South America" and " North America"."""
    return tokenizer.encode(text).ids[0]


def last_logits(predict: Predict, prompts: list[list[int]], batch: int = 64) -> torch.Tensor:
    """Logits after the last token of each prompt. Padding on the right is invisible under the causal mask."""
    rows = []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        width = max(map(len, part))
        ids = torch.tensor([p + [0] * (width - len(p)) for p in part])
        with torch.no_grad():
            logits = predict(ids)
        rows.append(logits[torch.arange(len(part)), torch.tensor([len(p) - 1 for p in part])].float())
    return torch.cat(rows)


def accuracy(predict: Predict, tokenizer: Tokenizer, task: str, split: str, items: int) -> tuple[float, float]:
    """Top-one and pair accuracy on `items` freshly drawn held-out items."""
    rng = random.Random(f"{task}/{split}")
    sample, render, corrupt = C.TASKS[task]
    prompts, right, pairs = [], [], []
    for _ in range(items):
        slots = sample(rng, split)
        prompt, answer = render(slots)
        prompts.append(tokenizer.encode(prompt).ids)
        right.append({first_token(tokenizer, word) for word in accepted(task, slots, answer)})
        pairs.append((first_token(tokenizer, answer), first_token(tokenizer, render(corrupt(rng, slots))[1])))
    logits = last_logits(predict, prompts)
    top = logits.argmax(-1).tolist()
    won = [logits[i, target] > logits[i, against] for i, (target, against) in enumerate(pairs)]
    return sum(t in r for t, r in zip(top, right)) / items, sum(map(bool, won)) / items


Table = dict[str, dict[str, tuple[float, float]]]


def table(predict: Predict, tokenizer: Tokenizer, items: int, splits: tuple[str, ...] = SPLITS) -> Table:
    return {task: {split: accuracy(predict, tokenizer, task, split, items) for split in splits} for task in C.TASKS}


def markdown(results: Table) -> str:
    splits = list(next(iter(results.values())))
    heads = ["task"] + [f"{kind}{HEADS[split]}" for kind in ("", "pair, ") for split in splits]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for task, row in results.items():
        cells = [row[split][kind] for kind in (0, 1) for split in splits]
        lines.append(f"| {task} | " + " | ".join(f"{100 * c:.1f} %" for c in cells) + " |")
    return "\n".join(lines)


def load(name: str, dtype: torch.dtype = torch.float32) -> Predict:
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(HERE / name).to(dtype).eval()
    return lambda ids: model(ids).logits


if __name__ == "__main__":
    torch.set_num_threads(1)
    tok = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    chosen = SPLITS if "--test" in sys.argv else SPLITS[:2]
    for name in [a for a in sys.argv[1:] if a != "--test"] or ["nano", "micro", "small"]:
        print(f"\n## atlas-{name}\n\n{markdown(table(load(name), tok, 1000, chosen))}")
