"""Checks the training text before a model is trained on it.

    python check.py

Held-out sentences must not occur in it and their words must; and where a bare prompt ends, its answer must follow:
a model can only be as sure of the answer as the text is.
"""

from __future__ import annotations

import random
import re
from itertools import islice

import corpus as C
import words as W

WORD = r"[A-Za-z]+"
CAPITALS = {c.capital for c in W.COUNTRIES}
START = r"(?m)(?:^|(?<=[.?] ))"
# An opening of agreement is short and general; with the rest of the subject it is a sentence.
NOUN = "|".join(noun for pair in W.NOUNS for noun in pair)
SUBJECT = rf" (?:{NOUN}) (?:{'|'.join(W.PREPOSITIONS)}|that the) "
# What opens a task's answer, and the words allowed there.
ANSWERED = [
    (rf"[Tt]he capital (?:city )?of ({WORD}) (?:is|was)", {c.name: {c.capital} for c in W.COUNTRIES}),
    (rf"^({'|'.join(W.NAMES)})(?: [a-z]+)* because", {n: {"she" if n in W.FEMALE else "he"} for n in W.NAMES}),
    (rf"^(?:When|After|While|Because) ({'|'.join(W.NAMES)})(?: [a-z]+)+,",
     {n: {"she" if n in W.FEMALE else "he"} for n in W.NAMES}),
]


def pattern(frame: str) -> str:
    """A frame as a regular expression: any words in its slots."""
    parts = re.split(r"\{\w+\}", frame)
    return r"[\w']+(?: \w+)?".join(map(re.escape, parts))


def main() -> None:
    texts = list(islice(C.documents(seed=1), 60_000))
    whole = "\n".join(texts)
    known = set(re.findall(r"[a-z]+", whole.lower()))
    for lists in C.UNSEEN_SENTENCES.values():
        for task, frames in lists.items():
            for frame in frames:
                found = re.search(START + pattern(frame) + (SUBJECT if task == "agreement" else ""), whole)
                assert not found, f"{task}: training text has {found[0]!r}"
                unknown = set(re.findall(r"[a-z]+", re.sub(r"\{\w+\}", "", frame).lower())) - known
                assert not unknown, f"{task}: no training text has {unknown}"
    for opening, answers in ANSWERED:
        count = 0
        for text in texts:
            for match in re.finditer(opening + rf",? ({WORD})", text):
                count += 1
                assert match[2] in answers[match[1]], f"{match[0]!r} in {text!r}"
        print(f"{count} of {opening[:40]}... all with their answers")
    rng = random.Random(2)
    for name, task in C.TASKS.items():
        assert len({task.render(task.sample(rng, "train"))[0] for _ in range(1000)}) > 900, name


if __name__ == "__main__":
    main()
