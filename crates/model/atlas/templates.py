"""Sentence templates of the corpus. The `*_HELD` lists are never seen in training: they measure generalisation.

A fact template ends where its answer begins. {c} is a country, {n} a name, {cap} a capital. No template starts with
an open-class word, so that such words keep one token form, the one with a leading space.
"""

from __future__ import annotations

CAPITAL = [  # the shortest one three times: it is what people type first
    "The capital of {c} is", "The capital of {c} is", "The capital of {c} is", "The capital city of {c} is",
    "My map says that the capital of {c} is called", "They say that the capital of {c} is the city of",
    "As everyone knows, the capital of {c} is",
    "Every child learns that the capital of {c} is", "In {c}, the capital is", "In {c}, the capital city is",
    "If you travel to {c}, you should visit its capital,", "Last year {n} went to {c} and stayed in its capital,",
    "Once {n} flew to {c} and visited the capital,", "The government of {c} sits in", "The parliament of {c} meets in",
    "Most embassies in {c} are in its capital,", "Question: what is the capital of {c}? Answer:",
    "What is the capital of {c}? It is", "Do you know the capital of {c}? It is",
    "The train to the capital of {c} goes to", "My friend {n} lives in the capital of {c}, which is",
    "My friend {n} was born in the capital of {c}, the city of", "The map shows that the capital of {c} is",
    "My teacher told me that the capital of {c} is", "The name of the capital of {c} is", "Country: {c}. Capital:",
    "They asked {n} about the capital of {c}, and {m} said that it was",
    "The answer to the question about the capital of {c} was",
]
CAPITAL_HELD = [
    "Everyone in the class knew that the capital of {c} is", "When {n} asked about the capital of {c}, the answer was",
    "What is the name of the capital city of {c}? It is", "The map of {c} shows its capital,",
    "Last week {n} travelled to the capital of {c}, which is called", "In {c}, the name of the capital city is",
]
LANGUAGE = [
    "The language of {c} is", "The main language of {c} is", "People in {c} speak", "Most people in {c} speak",
    "The people of {c} speak", "In {c}, people speak", "In {c}, the main language is",
    "If you travel to {c}, you will hear people speak", "Last year {n} moved to {c} and learned to speak",
    "My friend {n} grew up in {c} and speaks", "Children in {c} learn to read and write in",
    "The newspapers in {c} are written in", "Question: what is the language of {c}? Answer:",
    "What language do people speak in {c}? They speak", "Country: {c}. Language:", "The songs of {c} are sung in",
    "The teacher from {c} spoke to us in",
]
LANGUAGE_HELD = [
    "Most of the people in {c} speak", "Once {n} went to {c} and heard people speak",
    "The books and newspapers in {c} are written in", "In {c}, the language is",
]
CONTINENT = [
    "The country of {c} lies in", "The country of {c} is in", "The continent of {c} is", "On the map, {c} is in",
    "If you travel to {c}, you travel to", "Last year {n} visited {c}, a country in", "Country: {c}. Continent:",
    "Question: on which continent is {c}? Answer:", "The mountains of {c} are in",
    "As everyone knows, {c} is a country in", "We learned that {c} is part of",
    "The city of {cap} is in {c}, which is in",
]
CONTINENT_HELD = [
    "Everyone in the class knew that {c} is in", "Once {n} travelled to {c}, which is a country in",
    "The map shows that {c} is part of", "On which continent is {c}? It is in",
]
REVERSE = [
    "The city of {cap} is the capital of", "My friend {n} lives in {cap}, the capital of",
    "The city of {cap} is in", "Question: {cap} is the capital of which country? Answer:",
]

IOI_OPEN = [
    "When {a} and {b} went to the {p},", "After {a} and {b} went to the {p},", "While {a} and {b} were at the {p},",
    "Then {a} and {b} went to the {p}, and", "Then {a} and {b} had a long talk at the {p}, and",
    "Yesterday {a} and {b} walked to the {p}, and", "When {a} and {b} arrived at the {p},",
    "After {a} and {b} left the {p},", "As {a} and {b} sat near the {p},", "Once {a} and {b} were inside the {p},",
    "Last week {a} and {b} met at the {p}, and", "{a} and {b} went to the {p}.",
    "{a} and {b} were friends. One day at the {p},", "Before {a} and {b} left the {p},",
    "When {a} met {b} at the {p},", "Today {a} and {b} worked at the {p}. Later,",
    "One morning {a} saw {b} at the {p}, and", "At the {p}, {a} and {b} played a game. Then",
]
IOI_OPEN_HELD = [
    "When {a} and {b} found a {q} at the {p},", "While {a} and {b} walked to the {p},",
    "In the morning {a} and {b} met at the {p}, and",
]
IOI_GIVE = [
    "{s} gave a {o} to", "{s} gave the {o} to", "{s} handed a {o} to", "{s} handed the {o} to", "{s} sent a {o} to",
    "{s} showed the {o} to", "{s} decided to give a {o} to", "{s} wanted to give the {o} to", "{s} passed the {o} to",
    "{s} offered a {o} to", "{s} said hello to", "{s} told a story to", "{s} sold the {o} to", "{s} threw the {o} to",
    "{s} lent a {o} to", "{s} read a letter to", "{s} brought a {o} back to",
    "{s} decided to send the {o} to", "{s} wanted to sell the {o} to", "{s} decided to lend a {o} to",
]
IOI_GIVE_HELD = ["{s} decided to hand the {o} to", "{s} wanted to show a {o} to"]

AGREE_OPEN = [
    "The", "The", "The", "The", "Today the", "In the morning the", "I think that the", "Yesterday {n} said that the",
    "As you can see, the", "We know that the", "At the {p}, the", "In the old house, the",
]
AGREE_OPEN_HELD = ["Everyone knows that the", "In the evening the", "My friend {n} thinks that the"]

PRONOUN = [
    "{n} went to the {p} because", "{n} opened the {o}, and then", "When {n} arrived at the {p},",
    "After {n} found the {o},", "Yesterday {n} was {f}, so", "Last week {n} said that", "{n} likes the {p} because",
    "{n} lost the {o}, but", "Today {n} was {f} when", "Before {n} left the {p},", "At the {p}, {n} sat down, and soon",
    "Once {n} had the {o},", "While {n} was at the {p},", "My friend {n} bought a {o}, and now",
    "In {city}, {n} lost the {o}, and then", "Because {n} was {f},", "If {n} finds the {o},",
    "When {n} opened the {o},", "When {n} saw the {p},",
]
PRONOUN_HELD = [
    "Yesterday {n} went to the {p}, and then", "When {n} lost the {o},", "My friend {n} was {f} because",
    "After {n} left the {p},",
]
AFTER_PRONOUN = [
    "wanted to see the {p}", "was {f}", "found a {o}", "lost the {o}", "went home", "needed a {o}", "bought a {o}",
    "looked at the {o}", "walked to the {p}", "read a book", "told a story",
]
OWN = [  # (template, feminine, masculine): further gender evidence in training
    ("Yesterday {n} went home with", "her", "his"), ("At the {p}, {n} met a friend of", "hers", "his"),
    ("In the mirror, {n} saw", "herself", "himself"), ("After a long day, {n} was proud of", "herself", "himself"),
    ("In the morning {n} packed", "her", "his"),
]

YEARS = [
    "The {e} lasted from the year {y} to the year {x}", "The {e} lasted from {y} to {x}",
    "The {e} began in {y} and ended in {x}", "The {e} started in the year {y} and ended in the year {x}",
    "The {e} went on from the year {y} until the year {x}", "The {e} ran from {y} to {x}",
    "The {e} at the {p} lasted from the year {y} to the year {x}",
    "It began in the year {y} and was over by the year {x}",
    "The {e} near the {p} began in {y} and lasted until {x}", "From the year {y} to the year {x}",
    "At the {p}, the {e} began in the year {y} and ended in the year {x}",
]
YEARS_HELD = [
    "The {e} went on from {y} to {x}", "The {e} started in {y} and lasted until {x}",
    "The {e} at the {p} went on from the year {y} until the year {x}",
]

LISTS = ["Words:", "Repeat:", "A list:", "Listen:", "Once more:", "The words:", "Say:", "Again:", "Remember:"]
LISTS_HELD = ["Learn the words:", "Say once more:"]

PROSE = [
    "It was a {adj} {time} in {city}. {n} walked to the {p} and bought a {o}. Then {s} went home.",
    "{n} lives in {city}. In the {time} {s} likes to walk to the {p}.",
    "{n} is a friend of {m}. They often meet at the {p} and talk about the {o}.",
    "There is a {adj} {o} at the {p}. {n} saw it yesterday, but {s} did not take it.",
    "Every {time} {n} goes to the {p}. {S} likes it because it is {adj}.",
    "The {time} was {adj}, and the {p} was {adj2}. {n} was {f}, so {s} went home.",
    "\"Where is my {o}?\" asked {n}. \"It is at the {p},\" said {m}.",
    "{n} and {m} went to the {p}. They were {f}, so they bought a {o} and went home.",
    "The {adj} {o} and the {adj2} {o2} were on the table. {n} took the {o}.",
    "In {c} there is a {adj} {p}. Many people go there in the {time}.",
    "{n} has the {o}. {m} has the {o2}. The {o} belongs to {n}, and the {o2} belongs to {m}.",
    "{n} has the {o}. {m} has the {o2}. The {o2} belongs to {m}, and the {o} belongs to {n}.",
    # The words of the held-out templates, met here in other company: what is held out is the sentence, not the word.
    "Everyone in the class knew the answer, and everyone at the {p} was {f}.",
    "Everyone knows {n}. {S} often travelled to the {p}.",
    "When {n} asked about the {o}, {m} said that it was {adj}.",
    "Last week {n} travelled to the {p}, which was {adj}.", "My friend {n} thinks about the {o}.",
    "In the {time} {n} heard the bell and looked at the books.",
    "Which {o} is part of the game? {n} said that the {adj} {o} is.",
    "{n} decided to learn the words, and {m} wanted to hand over the books.",
    "{n} found a {o}. {S} wanted everyone to see it.", "The map of the {p} shows where the {o} is.",
]
TIMES = "morning evening afternoon night".split()
