"""Seeded generator of the atlas corpus, and the split between what is trained on and what is held out.

Each task is a `Task`: `sample` draws a template and its slots, `render` turns them into a prompt and its answer,
`corrupt` changes the slots so that the answer changes and nothing else does. Training text, evaluation items and the
study prompts all come from these three functions, so they cannot drift apart.

Splits: `train` never draws what is held out. `combo` uses seen templates with held-out combinations; `template` uses
held-out templates (and held-out combinations too, where the task holds out combinations of its slots).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import templates as T
import words as W

END = "<|endoftext|>"
Slots = dict[str, Any]
HELD_SHARE = 0.10
BY_NAME = {c.name: c for c in W.COUNTRIES}


def held(*key: object) -> bool:
    """Whether this combination is held out: a tenth of all, chosen by a hash, so that no list has to be kept."""
    digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") < HELD_SHARE * 2**32


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
    adj, adj2 = rng.sample(W.ADJECTIVES, 2)
    country = rng.choice(W.COUNTRIES)
    she = "she" if n in W.FEMALE else "he"
    return {"n": n, "m": m, "o": o, "o2": o2, "q": q, "adj": adj, "adj2": adj2, "p": rng.choice(W.PLACES),
            "f": rng.choice(W.FEELINGS), "city": rng.choice(W.COUNTRIES).capital, "c": country.name,
            "time": rng.choice(T.TIMES), "s": she, "S": she.capitalize(), "e": rng.choice(W.EVENTS)}


# Facts: the attribute of a country. Held out: whole templates, and a tenth of (template, country).


def fact_task(attribute: str, seen: list[str], unseen: list[str]) -> Task:
    countries = [c.name for c in W.COUNTRIES if getattr(c, attribute)]

    def sample(rng: random.Random, split: str) -> Slots:
        if split == "template":
            return fillers(rng) | {"t": rng.choice(unseen), "c": rng.choice(countries)}
        draw = lambda: {"t": rng.choice(seen), "c": rng.choice(countries)}  # noqa: E731
        return fillers(rng) | _accept(rng, split, draw, lambda s: (s["t"], s["c"]))

    def render(s: Slots) -> tuple[str, str]:
        country = BY_NAME[s["c"]]
        return s["t"].format(**s | {"cap": country.capital}), " " + getattr(country, attribute)

    def corrupt(rng: random.Random, s: Slots) -> Slots:
        answer = lambda name: getattr(BY_NAME[name], attribute).split()[0]  # noqa: E731
        others = [c for c in countries if answer(c) != answer(s["c"])]
        if s["t"] in seen:  # both sides of a combination pair are held out
            others = [c for c in others if held(s["t"], c)] or others
        return s | {"c": rng.choice(others)}

    return Task(sample, render, corrupt)


# Indirect objects. Held out: a tenth of the unordered name pairs, three openings and two giving clauses.


def _ioi_sample(rng: random.Random, split: str) -> Slots:
    def draw() -> Slots:
        a, b = rng.sample(W.NAMES, 2)
        return {"a": a, "b": b}

    s = _accept(rng, split, draw, lambda s: tuple(sorted((s["a"], s["b"]))))
    opening, giving = T.IOI_OPEN, T.IOI_GIVE
    if split == "template":
        opening, giving = rng.choice([(T.IOI_OPEN_HELD, T.IOI_GIVE), (T.IOI_OPEN, T.IOI_GIVE_HELD),
                                      (T.IOI_OPEN_HELD, T.IOI_GIVE_HELD)])
    return fillers(rng) | s | {"t": rng.choice(opening), "g": rng.choice(giving), "s": rng.choice([s["a"], s["b"]])}


def _ioi_render(s: Slots) -> tuple[str, str]:
    answer = s["b"] if s["s"] == s["a"] else s["a"]
    return s["t"].format(**s) + " " + s["g"].format(**s), " " + answer


def _ioi_corrupt(rng: random.Random, s: Slots) -> Slots:
    return s | {"s": s["b"] if s["s"] == s["a"] else s["a"]}


# Agreement across an attractor. Held out: a tenth of (head noun, attractor noun), and three openings.


def _agree_sample(rng: random.Random, split: str) -> Slots:
    def draw() -> Slots:
        head, attractor = rng.sample(range(len(W.NOUNS)), 2)
        return {"head": head, "attractor": attractor}

    s = _accept(rng, split, draw, lambda s: (W.NOUNS[s["head"]][0], W.NOUNS[s["attractor"]][0]))
    plural = rng.randrange(2)
    # Held-out items always disagree with their attractor: agreement with the nearest noun must not pass.
    other = 1 - plural if split != "train" else rng.randrange(2)
    shape = "plain" if split == "train" and rng.random() < 0.15 else "prep"
    if W.NOUNS[s["attractor"]][0] in W.PERSONS and W.NOUNS[s["head"]][0] not in W.PERSONS and rng.random() < 0.5:
        shape = "relative"
    opening = T.AGREE_OPEN_HELD if split == "template" else T.AGREE_OPEN
    return fillers(rng) | s | {"t": rng.choice(opening), "plural": plural, "other": other, "shape": shape,
                               "prep": rng.choice(W.PREPOSITIONS), "did": rng.choice(["bought", "found", "lost"]),
                               "verb": rng.choices(W.VERBS, [v[2] for v in W.VERBS])[0]}


def _agree_render(s: Slots) -> tuple[str, str]:
    head, attractor = W.NOUNS[s["head"]][s["plural"]], W.NOUNS[s["attractor"]][s["other"]]
    subject = {"plain": head, "prep": f"{head} {s['prep']} the {attractor}",
               "relative": f"{head} that the {attractor} {s['did']}"}[s["shape"]]
    return s["t"].format(**s) + " " + subject, " " + s["verb"][s["plural"]]


def _agree_corrupt(rng: random.Random, s: Slots) -> Slots:
    return s | {"plural": 1 - s["plural"]}


# Pronouns. Held out: four templates, and a tenth of (template, name).


def _pronoun_sample(rng: random.Random, split: str) -> Slots:
    def draw() -> Slots:
        return {"t": rng.choice(T.PRONOUN), "n": rng.choice(W.NAMES)}

    if split == "template":
        return fillers(rng) | {"t": rng.choice(T.PRONOUN_HELD), "n": rng.choice(W.NAMES)}
    return fillers(rng) | _accept(rng, split, draw, lambda s: (s["t"], s["n"]))


def _pronoun_render(s: Slots) -> tuple[str, str]:
    return s["t"].format(**s), " she" if s["n"] in W.FEMALE else " he"


def _pronoun_corrupt(rng: random.Random, s: Slots) -> Slots:
    others = W.MALE if s["n"] in W.FEMALE else W.FEMALE
    if s["t"] in T.PRONOUN:
        others = [n for n in others if held(s["t"], n)] or others
    return s | {"n": rng.choice(others)}


# Later years. Held out: a tenth of (century, year), and three templates. A period is half the time of any length
# (1 to 99 - year), and half the time short (a gamma law of mean 13): so the best guess lies well above the start.


def _end(rng: random.Random, start: int) -> int:
    while True:
        length = rng.randint(1, 99 - start) if rng.random() < 0.5 else 1 + int(rng.gammavariate(3.0, 4.0))
        if start + length <= 99:
            return start + length


def _likely(start: int) -> int:
    """The answer that stands for all right ones where a single one is needed: close to the mode of `_end`."""
    return min(99, start + 8)


def _years_sample(rng: random.Random, split: str) -> Slots:
    draw = lambda: {"century": rng.randint(10, 20), "start": rng.randint(2, 93)}  # noqa: E731
    s = _accept(rng, split, draw, lambda s: (s["century"], s["start"]))
    s["end"] = _end(rng, s["start"]) if split == "train" else _likely(s["start"])
    return fillers(rng) | s | {"t": rng.choice(T.YEARS_HELD if split == "template" else T.YEARS)}


def _years_render(s: Slots) -> tuple[str, str]:
    return s["t"].format(**s | {"y": f"{s['century']}{s['start']:02}", "x": s["century"]}), f"{s['end']:02}"


def _years_corrupt(rng: random.Random, s: Slots) -> Slots:
    """Another start, at least 20 years away, so that the two likely ends are far apart."""
    starts = [y for y in range(2, 94) if abs(y - s["start"]) >= 20 and held(s["century"], y)]
    start = rng.choice(starts or [y for y in range(2, 94) if abs(y - s["start"]) >= 20])
    return s | {"start": start, "end": _likely(start)}


# Induction. Every sequence is fresh, so all are held out; two headings are never trained on.


def _induction_sample(rng: random.Random, split: str) -> Slots:
    n = rng.randint(3, 16) if split == "train" else rng.randint(5, 15)
    heading = rng.choice(T.LISTS_HELD if split == "template" else T.LISTS)
    return {"t": heading, "words": rng.sample(W.POOL, n), "k": rng.randint(2, n - 1), "comma": rng.random() < 0.1}


def _induction_render(s: Slots) -> tuple[str, str]:
    separator = ", " if s["comma"] else " "
    shown = s["words"] + s["words"][: s["k"]]
    return f"{s['t']} " + separator.join(shown) + ("," if s["comma"] else ""), " " + s["words"][s["k"]]


def _induction_corrupt(rng: random.Random, s: Slots) -> Slots:
    changed = list(s["words"])
    changed[s["k"]] = rng.choice([w for w in W.POOL if w not in changed])
    return s | {"words": changed}


TASKS: dict[str, Task] = {
    "capitals": fact_task("capital", T.CAPITAL, T.CAPITAL_HELD),
    "languages": fact_task("language", T.LANGUAGE, T.LANGUAGE_HELD),
    "continents": fact_task("continent", T.CONTINENT, T.CONTINENT_HELD),
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
        return " " + rng.choice(T.AFTER_PRONOUN).format(**fillers(rng)) + "."
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
        return rng.choice(T.REVERSE).format(**f | {"cap": country.capital}) + f" {country.name}."
    if kind == "own":
        template, feminine, masculine = rng.choice(T.OWN)
        word = feminine if f["n"] in W.FEMALE else masculine
        return template.format(**f) + f" {word}" + (f" {f['o']}." if word in ("her", "his") else ".")
    return rng.choice(T.PROSE).format(**f)


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
