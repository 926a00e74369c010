"""Sentence frames that training never draws: they measure generalisation to sentences, not only to their words.

`DEV` was looked at again and again while the training sentences were being written, so its figures flatter the model;
`TEST` was written before the first training run, and was evaluated once, at the end. `check.py` sees to it that neither
occurs in training text, and that each of their words does: what is held out is the sentence, not the word.
"""

from __future__ import annotations

DEV: dict[str, list[str]] = {
    "capitals": [
        "Everyone in the class knew that the capital of {c} is",
        "When {n} asked about the capital of {c}, the answer was", "What is the name of the capital city of {c}? It is",
        "The map of {c} shows its capital,", "Last week {n} travelled to the capital of {c}, which is called",
        "In {c}, the name of the capital city is", "If I remember it right, the capital of {c} is",
        "The main office of the government of {c} is in",
    ],
    "languages": [
        "Most of the people in {c} speak", "Once {n} went to {c} and heard people speak",
        "The books and newspapers in {c} are written in", "In {c}, the language is",
    ],
    "continents": [
        "Everyone in the class knew that {c} is in", "Once {n} travelled to {c}, which is a country in",
        "The map shows that {c} is part of", "On which continent is {c}? It is in",
    ],
    "ioi_open": [
        "When {a} and {b} found a {q} at the {p},", "While {a} and {b} walked to the {p},",
        "In the morning {a} and {b} met at the {p}, and", "Although {a} and {b} ran to the {p},",
    ],
    "ioi_give": ["{s} decided to hand the {o} to", "{s} wanted to show a {o} to", "{s} almost gave the {o} to"],
    "agreement": [
        "Everyone knows that the", "In the evening the", "My friend {n} thinks that the", "By the way, the",
    ],
    "pronouns": [
        "Yesterday {n} went to the {p}, and then", "When {n} lost the {o},", "My friend {n} was {f} because",
        "After {n} left the {p},", "{n} drove to the {p} because", "Even when {n} hated the {p},",
        "{n} rested at the {p} until", "My friend {n} hid the {o}, so",
    ],
    "greater_than": [
        "The {e} went on from {y} to {x}", "The {e} started in {y} and lasted until {x}",
        "The {e} at the {p} went on from the year {y} until the year {x}",
        "The {e} was in its first year in {y} and in its last in {x}",
    ],
    "induction": ["Learn the words:", "Say once more:", "Say it like this:", "The same again:"],
}

TEST: dict[str, list[str]] = {
    "capitals": [
        "I once read that the capital of {c} is", "Nobody in the village knew that the capital of {c} is",
        "Could you tell me the capital of {c}? It is",
        "After a long journey {n} reached the capital of {c}, the city of",
        "The old atlas says that the capital city of {c} is", "Of course the capital of {c} is",
    ],
    "languages": [
        "In the villages of {c} people speak", "The national language of {c} is", "The people who live in {c} speak",
        "When you visit {c}, you will hear people speak",
    ],
    "continents": [
        "I once read that {c} is a country in", "The old atlas says that {c} lies in",
        "Do you know on which continent {c} is? It is in", "The rivers of {c} are in",
    ],
    "ioi_open": [
        "Since {a} and {b} were at the {p},", "One evening {a} and {b} stopped at the {p}, and",
        "During the {e}, {a} and {b} stayed at the {p}, and", "When {a} and {b} came back from the {p},",
    ],
    "ioi_give": ["{s} agreed to give the {o} to", "{s} returned a {o} to", "{s} was happy to give a {o} to"],
    "agreement": [
        "Nobody knows why the", "Of course the", "After the storm the", "It is true that the",
    ],
    "pronouns": [
        "{n} ran to the {p} because", "Before {n} sold the {o},", "This morning {n} felt {f} because",
        "Although {n} waited at the {p},", "My friend {n} forgot the {o}, so", "{n} stayed at the {p} until",
    ],
    "greater_than": [
        "The {e} broke out in {y} and was over in {x}", "The {e} took place between the year {y} and the year {x}",
        "The {e} dragged on from {y} to {x}", "The long {e} lasted from the year {y} until the year {x}",
    ],
    "induction": ["Read aloud:", "The list goes:", "In this order:", "Keep in mind:"],
}
