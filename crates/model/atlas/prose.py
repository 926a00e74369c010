"""Connecting sentences about the same people, places and things."""

from __future__ import annotations

TIMES = "morning evening afternoon night".split()

PROSE = [
    "It was a {adj} {time} in {city}. {n} walked to the {p} and bought a {o}. Then {s} went home.",
    "{n} lives in {city}. In the {time} {s} likes to walk to the {p}.",
    "{n} is a friend of {m}. They often meet at the {p} and talk about the {o}.",
    "There is a {adj} {o} at the {p}. {n} saw it yesterday, but {s} did not take it.",
    "Every {time} {n} goes to the {p}. {S} likes it because it is {adj}.",
    "The {time} was {adj}, and the {p} was {adj2}. {n} was {f}, so {s} went home.",
    "\"Where is my {o}?\" asked {n}. \"It is at the {p},\" said {m}.",
    "The {adj} {o} and the {adj2} {o2} were on the table. {n} took the {o}.",
    "In {c} there is a {adj} {p}. Many people go there in the {time}.",
    "{n} has the {o}. {m} has the {o2}. The {o} belongs to {n}, and the {o2} belongs to {m}.",
    "{n} has the {o}. {m} has the {o2}. The {o2} belongs to {m}, and the {o} belongs to {n}.",
]
# The words of the held-out frames, in other company.
WORDS = [
    "Everyone in the class was {f}, and everyone at the {p} was {f}.",
    "Everyone knows {n}. {S} often travelled to the {p}.", "It was {m} who asked about the {o}.",
    "It was {m} who travelled to the {p}, which was {adj}.", "My friend thinks about the {o}.",
    "The bell rang at the {p}, and the books were {adj}.",
    "They wanted to learn the words, to show the map and to hand over the books.",
    "The map of the {p} shows where the {o} is.", "It was right. The main office is {adj}, I remember it.",
    "They almost hated the {adj} {p}.", "On the left you see the {p}, on the right the {o}.",
    "The office of the {role} is {adj} in the evening.", "They drove home and rested for a week.",
    "They hid the {o} by the way.", "It is like this: the same {o}, the same {p}.",
    "It was its first year at the {p}, and its last.", "Nobody was at the {p}. Nobody saw the {o}. Nobody knows why.",
    "Could you tell me where the {p} is? Of course, it is near the {p2}.", "Nobody could tell me where the {o} was.",
    "After a long journey they reached the {p}.", "It was a long journey, of course.",
    "The atlas is a {adj} book. I once read it.", "My {adj} atlas was at the {p}, and I read it.",
    "The villages near the {p} are {adj}. The rivers are {adj2}.",
    "The national {p} is {adj}, and it is true that it is {adj2}.",
    "They live in the villages. They visit the {p} if you tell them.", "We stopped at the {p} and stayed for a week.",
    "They agreed at last. They returned to the {p}. They ran home and forgot the {o}.",
    "The storm was over. After the storm it was {adj}.", "They ran, and they sold the {o}, and they felt {f}.",
    "Nobody waited. We waited and stayed and felt {f}.", "A fire broke out at the {p} and dragged on.",
    "It took place between the {p} and the {p2}.", "The place between them is {adj}.",
    "They dragged the {o} to the {p}. It was a long {time}.",
    "Nobody read aloud. They keep the {o} in mind and in order.",
    "The road goes to the {p}. They read it aloud, one by one.",
    "This morning was {adj}. It is true, and nobody forgot it.", "We came back from the {p}. It was true, of course.",
    "They stopped, and during the {e} they stayed.",
]
