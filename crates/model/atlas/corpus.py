"""Seeded generator of the atlas corpus, and the split between what is trained on and what is held out.

Each task is a `Task`: `sample` draws a template and its slots, `render` turns them into a prompt and its answer,
`corrupt` changes the slots so that the answer changes and nothing else does. Training text, evaluation items and the
study prompts all come from these three functions, so they cannot drift apart.

Splits: `train` never draws what is held out. `combo` uses sentences of the kind seen with held-out combinations; `dev`
and `test` use the held-out sentences of `heldout.py` (with held-out combinations too for indirect objects, agreement
and years, whose combinations are of words alone).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import facts as F
import heldout as H
import prose as T
import stories as S
import words as W
from grammar import Rules, expand

END = "<|endoftext|>"
Slots = dict[str, Any]
HELD_SHARE = 0.10
BY_NAME = {c.name: c for c in W.COUNTRIES}


def held(*key: object) -> bool:
    """Whether this combination is held out: a tenth of all, chosen by a hash, so that no list has to be kept."""
    digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") < HELD_SHARE * 2**32


UNSEEN_SENTENCES = {split: lists for split, lists in (("dev", H.DEV), ("test", H.TEST))}
_UNSEEN = {frame for lists in UNSEEN_SENTENCES.values() for frames in lists.values() for frame in frames}


def seen_frame(rng: random.Random, rules: Rules, raw: str) -> str:
    """A frame of the training grammar: never one of the held-out ones, should the grammar be able to make it."""
    while (frame := expand(rng, rules, raw)) in _UNSEEN:
        pass
    return frame


class Task(NamedTuple):
    sample: Callable[[random.Random, str], Slots]
    render: Callable[[Slots], tuple[str, str]]
    corrupt: Callable[[random.Random, Slots], Slots]


def _accept(rng: random.Random, split: str, draw: Callable[[], Slots], key: Callable[[Slots], tuple]) -> Slots:
    """Draws until the combination is on the side of the split that is asked for."""
    while True:
        slots = draw()
        if held(*key(slots)) == (split != "train"):
            return slots


def fillers(rng: random.Random) -> Slots:
    """Values for the slots that no answer depends on."""
    n, m = rng.sample(W.NAMES, 2)
    o, o2, q = rng.sample(W.OBJECTS, 3)
    p, p2 = rng.sample(W.PLACES, 2)
    adj, adj2 = rng.sample(W.ADJECTIVES, 2)
    country = rng.choice(W.COUNTRIES)
    she = "she" if n in W.FEMALE else "he"
    return {"n": n, "m": m, "o": o, "o2": o2, "q": q, "adj": adj, "adj2": adj2, "p": p, "p2": p2,
            "role": rng.choice(W.ROLES), "f": rng.choice(W.FEELINGS), "city": rng.choice(W.COUNTRIES).capital,
            "c": country.name, "time": rng.choice(T.TIMES), "s": she, "S": she.capitalize(), "e": rng.choice(W.EVENTS)}


# Facts: the attribute of a country. Held out: whole sentences, and a tenth of (core, country), whatever the opening.


def fact_task(attribute: str, task: str, states: list[str], others: list[str]) -> Task:
    countries = [c.name for c in W.COUNTRIES if getattr(c, attribute)]

    def sample(rng: random.Random, split: str) -> Slots:
        if split in UNSEEN_SENTENCES:
            t = rng.choice(UNSEEN_SENTENCES[split][task])
            return fillers(rng) | {"t": t, "core": None, "c": rng.choice(countries)}

        def draw() -> Slots:  # as many whole statements, with an opening, as sentences of their own
            return {"core": rng.choice(states if rng.random() < 0.5 else others), "c": rng.choice(countries)}

        s = _accept(rng, split, draw, lambda s: (s["core"], s["c"]))
        opening = "<opening> " if s["core"] in states else ""
        return fillers(rng) | s | {"t": seen_frame(rng, F.RULES, opening + s["core"])}

    def render(s: Slots) -> tuple[str, str]:
        country = BY_NAME[s["c"]]
        return s["t"].format(**s | {"cap": country.capital}), " " + getattr(country, attribute)

    def corrupt(rng: random.Random, s: Slots) -> Slots:
        answer = lambda name: getattr(BY_NAME[name], attribute).split()[0]  # noqa: E731
        others = [c for c in countries if answer(c) != answer(s["c"])]
        if s["core"]:  # both sides of a combination pair are held out
            others = [c for c in others if held(s["core"], c)] or others
        return s | {"c": rng.choice(others)}

    return Task(sample, render, corrupt)


# Indirect objects. Held out: a tenth of the unordered name pairs, some openings and some giving clauses.


def _ioi_sample(rng: random.Random, split: str) -> Slots:
    def draw() -> Slots:
        a, b = rng.sample(W.NAMES, 2)
        return {"a": a, "b": b}

    s = _accept(rng, split, draw, lambda s: tuple(sorted((s["a"], s["b"]))))
    t, g = seen_frame(rng, S.IOI, "<open>"), seen_frame(rng, S.IOI, "<give>")
    if split in UNSEEN_SENTENCES:  # an unseen opening, an unseen giving clause, or both
        unseen = UNSEEN_SENTENCES[split]
        which = rng.randrange(3)
        t = t if which == 0 else rng.choice(unseen["ioi_open"])
        g = g if which == 1 else rng.choice(unseen["ioi_give"])
    return fillers(rng) | s | {"t": t, "g": g, "s": rng.choice([s["a"], s["b"]])}


def _ioi_render(s: Slots) -> tuple[str, str]:
    answer = s["b"] if s["s"] == s["a"] else s["a"]
    return s["t"].format(**s) + " " + s["g"].format(**s), " " + answer


def _ioi_corrupt(rng: random.Random, s: Slots) -> Slots:
    return s | {"s": s["b"] if s["s"] == s["a"] else s["a"]}


# Agreement across an attractor. Held out: a tenth of (head noun, attractor noun), and some openings.


def _agree_sample(rng: random.Random, split: str) -> Slots:
    def draw() -> Slots:
        head, attractor = rng.sample(range(len(W.NOUNS)), 2)
        if split == "train" and rng.random() < 0.2:  # more relative clauses than chance would give
            attractor = rng.choice([i for i, noun in enumerate(W.NOUNS) if noun[0] in W.PERSONS and i != head])
        return {"head": head, "attractor": attractor}

    s = _accept(rng, split, draw, lambda s: (W.NOUNS[s["head"]][0], W.NOUNS[s["attractor"]][0]))
    plural = rng.randrange(2)
    # Held-out items always disagree with their attractor: agreement with the nearest noun must not pass.
    other = 1 - plural if split != "train" else rng.randrange(2)
    shape = "plain" if split == "train" and rng.random() < 0.15 else "prep"
    if W.NOUNS[s["attractor"]][0] in W.PERSONS and W.NOUNS[s["head"]][0] not in W.PERSONS and rng.random() < 0.5:
        shape = "relative"
    unseen = UNSEEN_SENTENCES.get(split)
    t = rng.choice(unseen["agreement"]) if unseen else seen_frame(rng, S.AGREE, "<open>")
    ornate = split == "train" and rng.random() < 0.2
    return fillers(rng) | s | {"t": t, "ornate": ornate, "plural": plural, "other": other, "shape": shape,
                               "prep": rng.choice(W.PREPOSITIONS), "did": rng.choice(W.RELATIVE),
                               "verb": rng.choices(W.VERBS, [v[2] for v in W.VERBS])[0]}


def _agree_render(s: Slots) -> tuple[str, str]:
    head, attractor = W.NOUNS[s["head"]][s["plural"]], W.NOUNS[s["attractor"]][s["other"]]
    if s["ornate"]:
        head, attractor = f"{s['adj']} {head}", f"{s['adj2']} {attractor}"
    subject = {"plain": head, "prep": f"{head} {s['prep']} the {attractor}",
               "relative": f"{head} that the {attractor} {s['did']}"}[s["shape"]]
    return s["t"].format(**s) + " " + subject, " " + s["verb"][s["plural"]]


def _agree_corrupt(rng: random.Random, s: Slots) -> Slots:
    return s | {"plural": 1 - s["plural"]}


# Pronouns. Held out: whole sentences, and a tenth of (what is done, name), whatever stands around it.


def _pronoun_sample(rng: random.Random, split: str) -> Slots:
    def draw() -> Slots:
        frame, did = rng.choice(S.PRONOUN["frame"]), rng.choice(S.PRONOUN["did"])
        core = did if "<did>" in frame else frame
        return {"raw": frame.replace("<did>", did), "core": core, "n": rng.choice(W.NAMES)}

    if split in UNSEEN_SENTENCES:
        t = rng.choice(UNSEEN_SENTENCES[split]["pronouns"])
        return fillers(rng) | {"t": t, "core": None, "n": rng.choice(W.NAMES)}
    s = _accept(rng, split, draw, lambda s: (s["core"], s["n"]))
    return fillers(rng) | s | {"t": seen_frame(rng, S.PRONOUN, s["raw"])}


def _pronoun_render(s: Slots) -> tuple[str, str]:
    return s["t"].format(**s), " she" if s["n"] in W.FEMALE else " he"


def _pronoun_corrupt(rng: random.Random, s: Slots) -> Slots:
    others = W.MALE if s["n"] in W.FEMALE else W.FEMALE
    if s["core"]:
        others = [n for n in others if held(s["core"], n)] or others
    return s | {"n": rng.choice(others)}


# Later years. Held out: a tenth of (century, year), and some sentences. Most periods are short (a gamma law of mean
# 13), so that the likely ends move with the start and a guess of late years pays badly; one in five has any length.


def _end(rng: random.Random, start: int) -> int:
    while True:
        length = rng.randint(1, 99 - start) if rng.random() < 0.2 else 1 + int(rng.gammavariate(3.0, 4.0))
        if start + length <= 99:
            return start + length


def _likely(start: int) -> int:
    """The answer that stands for all right ones where a single one is needed: close to the mode of `_end`."""
    return min(99, start + 8)


def _years_sample(rng: random.Random, split: str) -> Slots:
    draw = lambda: {"century": rng.randint(10, 20), "start": rng.randint(2, 93)}  # noqa: E731
    s = _accept(rng, split, draw, lambda s: (s["century"], s["start"]))
    s["end"] = _end(rng, s["start"]) if split == "train" else _likely(s["start"])
    unseen = UNSEEN_SENTENCES.get(split)
    t = rng.choice(unseen["greater_than"]) if unseen else seen_frame(rng, S.YEARS, "<frame>")
    return fillers(rng) | s | {"t": t}


def _years_render(s: Slots) -> tuple[str, str]:
    return s["t"].format(**s | {"y": f"{s['century']}{s['start']:02}", "x": s["century"]}), f"{s['end']:02}"


def _years_corrupt(rng: random.Random, s: Slots) -> Slots:
    """Another start, at least 20 years away, so that the two likely ends are far apart."""
    starts = [y for y in range(2, 94) if abs(y - s["start"]) >= 20 and held(s["century"], y)]
    start = rng.choice(starts or [y for y in range(2, 94) if abs(y - s["start"]) >= 20])
    return s | {"start": start, "end": _likely(start)}


# Induction. Every sequence is fresh, so all are held out; some headings are never trained on.


def _induction_sample(rng: random.Random, split: str) -> Slots:
    n = rng.randint(3, 16) if split == "train" else rng.randint(5, 15)
    unseen = UNSEEN_SENTENCES.get(split)
    heading = rng.choice(unseen["induction"]) if unseen else seen_frame(rng, S.LISTS, "<frame>")
    return {"t": heading.format(n=rng.choice(W.NAMES)), "words": rng.sample(W.POOL, n), "k": rng.randint(2, n - 1),
            "comma": rng.random() < 0.1}


def _induction_render(s: Slots) -> tuple[str, str]:
    separator = ", " if s["comma"] else " "
    shown = s["words"] + s["words"][: s["k"]]
    return f"{s['t']} " + separator.join(shown) + ("," if s["comma"] else ""), " " + s["words"][s["k"]]


def _induction_corrupt(rng: random.Random, s: Slots) -> Slots:
    changed = list(s["words"])
    changed[s["k"]] = rng.choice([w for w in W.POOL if w not in changed])
    return s | {"words": changed}


TASKS: dict[str, Task] = {
    "capitals": fact_task("capital", "capitals", F.CAPITAL_STATE, F.CAPITAL_OTHER),
    "languages": fact_task("language", "languages", F.LANGUAGE_STATE, F.LANGUAGE_OTHER),
    "continents": fact_task("continent", "continents", F.CONTINENT_STATE, F.CONTINENT_OTHER),
    "ioi": Task(_ioi_sample, _ioi_render, _ioi_corrupt),
    "agreement": Task(_agree_sample, _agree_render, _agree_corrupt),
    "pronouns": Task(_pronoun_sample, _pronoun_render, _pronoun_corrupt),
    "greater_than": Task(_years_sample, _years_render, _years_corrupt),
    "induction": Task(_induction_sample, _induction_render, _induction_corrupt),
}


# Training text: a rendered item plus what follows its answer.


def _tail(rng: random.Random, task: str, s: Slots) -> str:
    if task == "agreement":
        return " " + s["verb"][3] + rng.choice(W.ADJECTIVES) + "."
    if task == "pronouns":
        return " " + rng.choice(S.AFTER_PRONOUN).format(**fillers(rng)) + "."
    if task == "capitals" and rng.random() < 0.2 and BY_NAME[s["c"]].language:
        return f", and people there speak {BY_NAME[s['c']].language}."
    return rng.choice([".", ".", ".", ".\n"])


def _induction_text(rng: random.Random) -> str:
    s = _induction_sample(rng, "train")
    words, copies = s["words"], max(2, min(5, 36 // len(s["words"])))
    separator = ", " if s["comma"] else " "
    return f"{s['t']} " + separator.join(words * rng.randint(2, copies)) + "."


def _three_names(rng: random.Random) -> str:
    """Two of three people give something to the third."""
    f, trio = fillers(rng), rng.sample(W.NAMES, 3)
    if any(held(*sorted(pair)) for pair in ((trio[0], trio[1]), (trio[0], trio[2]), (trio[1], trio[2]))):
        return _three_names(rng)
    a, b, c = trio
    rng.shuffle(trio)
    return f"When {trio[0]}, {trio[1]} and {trio[2]} went to the {f['p']}, {a} and {b} gave a {f['o']} to {c}."


def _other(rng: random.Random, kind: str) -> str:
    f = fillers(rng)
    if kind == "reverse":
        country = rng.choice(W.COUNTRIES)
        return rng.choice(F.REVERSE).format(**f | {"cap": country.capital}) + f" {country.name}."
    if kind == "own":
        template, feminine, masculine = rng.choice(S.OWN)
        word = feminine if f["n"] in W.FEMALE else masculine
        return template.format(**f) + f" {word}" + (f" {f['o']}." if word in ("her", "his") else ".")
    return rng.choice(T.PROSE if rng.random() < 0.5 else T.WORDS).format(**f)


# Share of documents. Induction documents are about three times as long as the rest.
MIX = {"capitals": 15, "languages": 8, "continents": 7, "reverse": 3, "ioi": 22, "three": 2, "agreement": 11,
       "pronouns": 8, "own": 2, "greater_than": 10, "induction": 16, "prose": 7}


def document(rng: random.Random, mix: dict[str, int] = MIX) -> str:
    kind = rng.choices(list(mix), list(mix.values()))[0]
    if kind == "induction":
        return _induction_text(rng)
    if kind == "three":
        return _three_names(rng)
    if kind not in TASKS:
        return _other(rng, kind)
    slots = TASKS[kind].sample(rng, "train")
    prompt, answer = TASKS[kind].render(slots)
    return prompt + answer + _tail(rng, kind, slots)


def documents(seed: int, mix: dict[str, int] = MIX) -> Iterator[str]:
    rng = random.Random(seed)
    while True:
        yield document(rng, mix)


if __name__ == "__main__":
    stream = documents(0)
    for _ in range(40):
        print(next(stream))
