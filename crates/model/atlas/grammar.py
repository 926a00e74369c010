"""Expands a rule into a sentence frame: `<name>` is one of a list at random, `{slot}` is left for the words.

A rule book maps names to alternatives. What stands between `<` and `>` may itself hold more of them.
"""

from __future__ import annotations

import random
import re

Rules = dict[str, list[str]]
_SYMBOL = re.compile(r"<(\w+)>")


def expand(rng: random.Random, rules: Rules, text: str) -> str:
    while match := _SYMBOL.search(text):
        text = text[: match.start()] + rng.choice(rules[match[1]]) + text[match.end() :]
    # An alternative may be empty or begin with a comma.
    text = re.sub(r" +", " ", text).strip().replace(" ,", ",")
    return re.sub(r"(?:^|(?<=[.?] ))[a-z]", lambda first: first[0].upper(), text)
