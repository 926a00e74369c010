"""Writes prompts.json: pairs of prompts for the studies, held out from training.

    python prompts.py                   # after training small: the file says which pairs it gets right

Every pair has the same number of tokens on both sides and differs only in what decides the answer. `target` answers
the clean prompt, `against` the corrupted one; both are single tokens. Nothing is filtered by what a model says.
"""

from __future__ import annotations

import json
import random

from tokenizers import Tokenizer

import corpus as C
import evaluate as E
import words as W

PER_SPLIT = 32
SPLITS = {"combo": "combo", "test": "template"}  # split of the corpus: what the file calls it
ABOUT = {
    "capitals": "The country decides its capital.",
    "languages": "The country decides its language.",
    "continents": "The country decides its continent (for the Americas the target is the first word, ' South').",
    "ioi": "The one who gives decides who receives; the corrupted prompt has the other one give.",
    "agreement": "The number of the head noun decides the verb; the attractor in between has the other number.",
    "pronouns": "The name decides the pronoun.",
    "greater_than": "The start year decides which end years are later; target and against are 8 years after it.",
    "induction": "The first copy decides how the second goes on.",
}


def pairs(tokenizer: Tokenizer, task: str) -> list[dict]:
    sample, render, corrupt = C.TASKS[task]
    found: list[dict] = []
    for split, name in SPLITS.items():
        rng = random.Random(f"prompts/{task}/{split}")
        seen: set[str] = set()
        while len(seen) < PER_SPLIT:
            slots = sample(rng, split)
            if task == "agreement":
                slots["verb"] = W.VERBS[0]  # always "is" or "are", so that target and against are the likeliest two
            changed = corrupt(rng, slots)
            (clean, target), (corrupted, against) = render(slots), render(changed)
            a, b = tokenizer.encode(clean).ids, tokenizer.encode(corrupted).ids
            target, against = (tokenizer.decode([E.first_token(tokenizer, w)]) for w in (target, against))
            if clean in seen or len(a) != len(b) or target == against:
                continue
            seen.add(clean)
            found.append({"clean": clean, "corrupted": corrupted, "target": target, "against": against,
                          "held_out": name, "tokens": len(a),
                          "right": [E.first_token(tokenizer, w) for w in E.accepted(task, slots, render(slots)[1])]})
    return found


def mark(predict: E.Predict, tokenizer: Tokenizer, rows: list[dict]) -> None:
    """Adds what the small model says: target above against on clean, the reverse on corrupted; is its top right?"""
    clean, corrupted = (
        E.last_logits(predict, [tokenizer.encode(row[side]).ids for row in rows]) for side in ("clean", "corrupted")
    )
    for i, row in enumerate(rows):
        t, a = (E.first_token(tokenizer, row[key]) for key in ("target", "against"))
        row["small"] = {"clean": bool(clean[i, t] > clean[i, a]), "corrupted": bool(corrupted[i, a] > corrupted[i, t]),
                        "top": int(clean[i].argmax()) in row.pop("right")}


def main() -> None:
    tokenizer = Tokenizer.from_file(str(E.HERE / "tokenizer.json"))
    predict = E.load("small")
    tasks = {}
    for task in C.TASKS:
        rows = pairs(tokenizer, task)
        mark(predict, tokenizer, rows)
        right = sum(row["small"]["clean"] and row["small"]["corrupted"] for row in rows)
        print(f"{task}: {len(rows)} pairs, small gets both sides of {right} right")
        tasks[task] = {"about": ABOUT[task], "prompts": rows}
    out = {"version": 1, "licence": "CC0-1.0", "tokenizer": "tokenizer.json", "tasks": tasks}
    # One pair a line, so that a diff shows which pair changed.
    text = json.dumps(out, ensure_ascii=False, indent=1)
    for task in tasks.values():
        for row in task["prompts"]:
            block = json.dumps(row, ensure_ascii=False, indent=1).replace("\n", "\n    ")
            text = text.replace(block, json.dumps(row, ensure_ascii=False))
    (E.HERE / "prompts.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
