"""Training sentences about people and things: who is given what, agreement, pronouns, years, headings of lists.

A frame ends where its answer begins. {n} {m} {a} {b} {s} are names, {o} {q} objects, {p} a place, {f} a feeling.

Two rules keep the frames apart, because a model that reads one must not expect the other. A clause with one name and
a connective after it goes on with the pronoun; with two names it goes on with one of the two. And "that" after a verb
of saying opens a statement, after a verb of hoping the pronoun follows.
"""

from __future__ import annotations

from grammar import Rules

IOI: Rules = {
    "open": ["<sub> {a} and {b} <did>,", "<sub> {a} and {b} <did>,", "<sub> {a} and {b} <did>,", "<when> {a} and {b} <did>, and",
             "<when> {a} and {b} <did>, and", "{a} and {b} <did>. <next>", "<sub> {a} <met> {b} at the {p},",
             "<when> {a} <met> {b} at the {p}, and", "at the {p}, {a} and {b} <home>. <next>",
             "{a} was at the {p}, and {b} was there too. <next>", "my friends {a} and {b} <did>. <next>",
             "{a} <alone> with {b}, and <soon>", "{a} and {b}, who are friends, <did>, and", "{a} and {b} are friends. <next>",
             "the {p} was {adj} when {a} and {b} <did>, and", "at the {p} were {a} and {b}, and <soon>",
             "there was a {q} for {a} and {b} at the {p}, and"],
    "sub": ["when", "when", "when", "after", "after", "while", "as", "once", "before", "as soon as", "because"],
    "when": ["then", "then", "yesterday", "last week", "today", "one day", "once", "one {time}", "last year", "that {time}",
             "in {city},", "after lunch", "at noon", "", "long ago", "after the {e}", "every {time}", "on the way home"],
    "did": ["went to the {p}", "went to the {p}", "were at the {p}", "had a long talk at the {p}", "arrived at the {p}",
            "left the {p}", "sat near the {p}", "were inside the {p}", "played a game", "worked at the {p}",
            "had lunch at the {p}", "looked at a {q}", "bought a {q} at the {p}", "saw a {q}", "waited near the {p}",
            "got to the {p}", "opened a {q}", "talked about the {p}", "were {f}", "came home from the {p}", "read a book",
            "lived near the {p}", "finished the game", "needed a {q}", "drove to the {p}", "sat down", "went home",
            "had a {adj} {q}", "looked for a {q} at the {p}", "were on the way to the {p}"],
    "home": ["played a game", "talked", "had lunch", "sat down", "read a book", "worked", "saw a {q}", "were {f}"],
    "alone": ["went to the {p}", "played a game", "worked at the {p}", "had lunch at the {p}", "left the {p}", "talked",
              "came home", "lived near the {p}"],
    "met": ["met", "saw", "found", "visited", "waited for", "looked for", "heard"],
    "next": ["then", "later", "later,", "soon", "after that,", "in the end", "at last", "that {time}", "", "one day at the {p},",
             "today", "in the {time}", "the next day", "suddenly"],
    "soon": ["", "then", "soon", "later", "after that", "at last"],
    "give": ["{s} <gave> <thing> to", "{s} <gave> <thing> to", "{s} <gave> <thing> to", "{s} <gave> <thing> to",
             "{s} <aux> <send> <thing> to", "{s} <aux> <send> <thing> to", "{s} <spoke> to", "{s} <bought> <thing> for"],
    "gave": ["gave", "gave", "gave", "handed", "sent", "showed", "passed", "offered", "sold", "threw", "lent", "brought",
             "took", "carried", "gave back", "read", "promised"],
    "aux": ["decided to", "wanted to", "tried to", "hoped to", "began to", "was ready to", "had to", "forgot to", "went to",
            "was glad to", "was able to", "asked to", "liked to", "promised to", "could"],
    "send": ["give", "give", "send", "sell", "lend", "throw", "pass", "offer", "bring", "read", "take"],
    "thing": ["a {o}", "a {o}", "a {o}", "the {o}", "the {o}", "the {o}", "a {adj} {o}", "the {adj} {o}", "the {o} and the {q}",
              "the {o} from the {p}", "one {o}", "a {o} and a {q}", "the last {o}", "a photo of the {p}"],
    "spoke": ["said hello", "told a story", "waved", "talked", "spoke", "wrote a letter", "explained the game",
              "said something", "sang a song", "whispered", "listened", "told everything", "went back", "wanted to speak",
              "walked up", "read a letter"],
    "bought": ["bought", "found", "opened", "made", "looked for", "wanted to buy", "brought", "had", "kept"],
}

AGREE: Rules = {
    "open": ["the", "the", "the", "the", "the", "<when> the", "<when> the", "<that> the", "<that> the"],
    "when": ["today", "in the morning", "yesterday", "at night", "as you can see,", "at the {p},", "in the old house,", "now",
             "once", "here", "there", "last week", "in {city}", "before the {e}", "at home", "at last", "this year", "and", "but",
             "suddenly", "long ago", "every {time}", "for {n},", "near the {p}", "in the {adj} {p}", "at noon", "so", "because",
             "on the table", "when", "during the {e},", "soon", "perhaps", "then", "if"],
    "that": ["I think that", "we know that", "yesterday {n} said that", "it seems that", "they say that", "I heard that",
             "{n} says that", "{n} told me that", "{n} wrote that", "we see that", "the {role} says that",
             "{n} and {m} know that", "look how", "{n} heard that", "you can see that", "I am sure that", "I know where",
             "people say that", "do you know where", "{n} told {m} that", "my sister says that", "it is sad that"],
}

PRONOUN: Rules = {
    "frame": ["<when> {n} <did> <link>", "<when> {n} <did> <link>", "<when> {n} <did> <link>", "<sub> {n} <did>,", "<sub> {n} <did>,",
              "<sub> {n} <did>,", "{n}, <aside>, <did> <link>", "<sub> {n}, <aside>, <did>,",
              "<when> {n} <did> and <too> <link>", "<sub> {n} <did> and <too>,", "{n} <did>. <next>",
              "the {adj} {o} that {n} bought <was>, <but>", "<when> {n} <hoped> that", "<if> {n} <does>,", "{n} <does> <why>",
              "my friend {n} <does> <why>", "<when> {n} <did> <where> <link>", "<sub> {n} <did> <where>,",
              "the {o} was {adj}, and {n} <did> <link>", "it was a {adj} {time}, and when {n} <did>,",
              "there was a {o} at the {p}, and {n} <did> <link>", "we saw {n} at the {p} when", "I saw {n} when",
              "it was {adj}, but {n} <did> <link>", "they asked {n} why"],
    "when": ["", "", "", "", "yesterday", "last week", "today", "one day", "my friend", "my friend", "in {city},", "in the {time}",
             "at the {p},", "during the {e},", "once", "at noon", "long ago", "that {time}", "after lunch", "last year", "first",
             "my sister says that", "everyone saw that", "every {time}", "soon", "the {role}"],
    "did": ["went to the {p}", "went to the {p}", "lost the {o}", "found the {o}", "found a {o}", "was {f}", "was {f}", "bought a {o}",
            "sat down near the {p}", "walked home", "opened the {o}", "looked for the {o}", "took the {o}", "had a {adj} {o}",
            "had the {o}", "slept", "read a book", "worked at the {p}", "left the {p}", "arrived at the {p}", "was at the {p}",
            "saw the {p}", "sat down", "liked the {p}", "needed a {o}", "broke the {o}", "made a {o}", "wanted a {o}",
            "did not like the {o}", "could not find the {o}", "went home", "came back", "got a letter", "called the {role}",
            "looked at the {adj} {o}", "was in {city}", "lived near the {p}", "played a game", "cleaned the {p}", "had lunch",
            "painted the {o}", "carried the {o}", "gave a {o} away", "went out", "heard the bell", "kept the {o}",
            "took a photo of the {p}", "was not {f}", "told a story", "flew to {city}", "came to the {p}"],
    "too": ["went home", "sat down", "was {f}", "bought a {o}", "read a book", "looked at the {o}", "had lunch", "left", "slept",
            "said nothing"],
    "where": ["near the {p}", "with a {adj} {o}", "on the way to the {p}", "in {city}", "in the {time}", "for a week",
              "before the {e}", "after a long {time}", "without the {o2}", "again"],
    "link": ["because", "because", "because", "so", ", so", ", but", ", and then", ", and then", ", and soon", ", and now", "when", "when",
             "before", "while", "as", "until", "although", "even though", ", and later", ", and at last", ", because", "since",
             ", and there", ", but then", "after", ", yet", "as soon as", ", where", "unless", ", but later"],
    "sub": ["when", "when", "when", "after", "after", "before", "while", "because", "as", "as soon as", "although", "since", "once",
            "until", "even though", "every time", "by the time", "now that", "whenever", "if", "the day"],
    "aside": ["who lived near the {p}", "a friend of mine", "who had a {adj} {o}", "the new {role}", "who was {f}",
              "the best {role} in {city}", "my neighbour", "as you know", "who is a {role}", "still {f}", "who likes the {p}"],
    "next": ["then", "later", "in the {time}", "soon", "after that,", "at home,", "suddenly", "now", "at the {p},", "there", "today"],
    "was": ["was {adj}", "was at the {p}", "looked {adj}", "was lost", "was from {city}"],
    "but": ["but", "so", "and then", "and soon", "and now", "because", "but then"],
    "hoped": ["hoped", "promised", "feared", "dreamed", "was afraid", "was glad", "was sorry", "wished", "was so happy"],
    "if": ["if", "when", "whenever", "unless", "before", "after", "as soon as"],
    "does": ["finds the {o}", "loses the {o}", "goes to the {p}", "is {f}", "has a {o}", "sees the {p}", "likes the {p}",
             "lives in {city}", "needs a {o}", "works at the {p}", "leaves the {p}", "buys a {o}", "reads a book", "sleeps"],
    "why": ["because", "because", "when", "if", ", but", ", so", "whenever", "although", ", and now", "while", "since", "before", "until"],
}
AFTER_PRONOUN = [
    "wanted to see the {p}", "was {f}", "found a {o}", "lost the {o}", "went home", "needed a {o}", "bought a {o}",
    "looked at the {o}", "walked to the {p}", "read a book", "told a story", "had a {adj} {o}", "was at the {p}",
    "did not like the {o}", "liked the {p}", "came home", "saw a {o}", "left the {p}", "sat down", "was very {f}",
    "took the {o}", "could not find the {o}", "never saw the {o} again", "had to work",
]
OWN = [  # (frame, feminine, masculine): further evidence of gender
    ("Yesterday {n} went home with", "her", "his"), ("At the {p}, {n} met a friend of", "hers", "his"),
    ("In the mirror, {n} saw", "herself", "himself"), ("After a long day, {n} was proud of", "herself", "himself"),
    ("In the morning {n} packed", "her", "his"),
]

YEARS: Rules = {
    "frame": ["the {adj} <from>", "the <from>", "the <from>", "the <from>", "the <began>", "the <began>", "the <began>",
              "<when> the <from>", "<when> the <began>", "it <b> in <y> and was over by <x>", "from <y> <to> <x>",
              "in <y> the {e} <b>, and it <f> in <x>", "they say that the <began>", "I read that the <from>"],
    "from": ["{e} <l> from <y> <to> <x>", "{e} <l> from <y> <to> <x>", "{e} <near> <l> from <y> <to> <x>"],
    "began": ["{e} <b> in <y> and <f> in <x>", "{e} <near> <b> in <y> and <f> in <x>", "{e} <near> <b> in <y> and <l> until <x>",
              "{e} that <b> in <y> <f> in <x>"],
    "when": ["at the {p},", "in {city},", "as we know,", "in {c}", "long ago"],
    "near": ["at the {p}", "near the {p}", "in {city}", "of {city}", "in {c}"],
    "l": ["lasted", "lasted", "lasted", "ran", "continued", "stretched"],
    "b": ["began", "began", "started", "opened", "was planned"],
    "f": ["ended", "ended", "finished", "stopped", "closed", "came to an end"],
    "to": ["to", "to", "until"],
    "y": ["the year {y}", "{y}"],
    "x": ["the year {x}", "{x}"],
}

LISTS: Rules = {
    "frame": ["<one>:", "<one>:", "<verb> <the>:", "<the>:", "<the> <again>:"],
    "one": ["words", "repeat", "a list", "listen", "once more", "the words", "say", "again", "remember", "names", "in order",
            "one by one", "here", "we read", "now", "first", "the song", "the game", "and again", "next", "say it twice", "write"],
    "verb": ["repeat", "remember", "write", "read", "hear", "copy", "sing", "{n} said", "{n} wrote", "{n} read", "listen to", "take"],
    "the": ["the list", "these words", "the names", "my list", "our words", "a few things", "the things in order",
            "the list of {n}", "some words", "this"],
    "again": ["again", "twice", "from the book", "once more", "of today", "in order", "from {n}"],
}
