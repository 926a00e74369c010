"""Trains the byte-level BPE of the atlas models and checks that every word that matters is one token.

    python tokenizer.py            # checks tokenizer.json
    python tokenizer.py --train    # makes it anew from the corpus as it is now: train the models again after that

Digits are split in pairs, so that a year is a century and a two-digit year: "1732" is "17", "32".
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import corpus as C
import words as W

HERE = Path(__file__).parent
# GPT-2's pattern, with digits in runs of at most two.
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def single_tokens() -> list[str]:
    """The strings that must be one token each."""
    spaced = set(W.POOL) | {"Europe", "Asia", "Africa", "Oceania", "South", "North", "America", "she", "he"}
    spaced |= {w for pair in W.VERBS for w in pair[:2]}
    digits = [f"{y:02}" for y in range(100)]
    return sorted(" " + w for w in spaced) + sorted(W.NAMES) + digits + [" " + d for d in digits]


def build(size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[C.END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2)
    text = list(islice(C.documents(seed=1), 60_000))
    # The words that must be single also come alone, often enough to be merged to the end.
    tokenizer.train_from_iterator(text + single_tokens() * 40, trainer)
    return tokenizer


if __name__ == "__main__":
    path = HERE / "tokenizer.json"
    if "--train" in sys.argv:
        build(size=4096).save(str(path), pretty=False)
    tok = Tokenizer.from_file(str(path))
    split = [w for w in single_tokens() if len(tok.encode(w).ids) != 1]
    assert not split, f"not single tokens: {split}"
    print(f"{tok.get_vocab_size()} tokens; {len(single_tokens())} words checked")
