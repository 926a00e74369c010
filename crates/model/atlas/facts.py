"""Training sentences about capitals, languages and continents: cores, and the openings put before them.

A frame ends where its answer begins. {c} is the country. Held-out combinations are (core, country), whatever the
opening. No frame starts with a country, so that a country keeps one token form, the one with a leading space.
After the words "the capital of {c} is" nothing but the city ever follows.
"""

from __future__ import annotations

from grammar import Rules

RULES: Rules = {
    "when": ["", "", "yesterday", "last week", "today", "in the {time}", "one day", "at the {p},", "at school",
             "last year", "long ago", "in {city},", "that {time}", "this year"],
    "who": ["{n}", "{n}", "{n}", "my teacher", "the teacher", "my friend {n}", "the guide", "a friend of {n}",
            "my sister", "the {role}", "our {role} {n}", "{n} and {m}", "everyone at the {p}", "all the children",
            "two friends", "the people at the {p}", "some of the farmers", "a man from {city}", "the old {role}",
            "the children in the {p}", "most of us", "my friends in {city}", "every {role}", "a {role} at the {p}",
            "<all> in the {p}", "<all> in the {p}", "<all> at school", "<all> in {city}", "<all>", "<all>"],
    "all": ["everyone", "everyone", "everybody", "every child", "no one", "many people", "all", "each {role}",
            "most people"],
    "said": ["said", "told me", "read", "learned", "explained", "wrote", "heard", "told {m}", "knew", "showed me",
             "noticed", "remembered", "found out", "told us", "repeated", "once wrote", "often said", "soon learned",
             "never knew", "said again"],
    # Before a whole statement; empty as often as all simple ones together.
    "opening": ["", "", "", "", "<simple>", "<simple>", "<when> <who> <said> that", "<when> <who> <said> that"],
    "simple": ["they say that", "as everyone knows,", "every child learns that", "my map says that",
               "the map shows that", "my teacher told me that", "in the book we read that", "we learned at school that",
               "it is well known that", "I am sure that", "I think that", "you should know that", "do not forget that",
               "remember that", "it is a fact that", "as the map shows,", "as {n} said,", "the newspaper wrote that",
               "even a child knows that", "note that", "all of us know that", "the book says that", "people say that",
               "most people know that", "in the lesson {n} heard that", "the sign says that", "today",
               "from the photo you can see that", "here you can read that", "as you know,", "it is clear that",
               "the letter says that", "in the old book it says that", "you can read in any book that"],
    "move": ["went to", "flew to", "sailed to", "came to", "drove to", "returned to", "walked all the way to",
             "took a train to", "took the children to"],
    "stay": ["stayed in", "visited", "lived in", "saw", "spent a week in", "took photos of", "liked", "worked in",
             "found a house in", "met {m} in", "walked through", "lost a {o} in", "bought a {o} in"],
    "its": ["its capital,", "its capital,", "the capital,", "its capital city,", "the capital city,",
            "its {adj} capital,"],
    "lives": ["lives in", "was born in", "comes from", "works in", "moved to", "wrote a letter from",
              "sent a card from", "flew to", "took a train to", "bought a house in", "went to school in",
              "has a friend in", "often talks of", "stayed in", "lost the {o} in", "dreams of", "came from"],
    "which": ["the city of", "which is called", "called", "a city called", "a {adj} city called", "known as",
              "a place called", "the {adj} city of", "which people call"],
    "train": ["train", "bus", "plane", "road", "ship", "boat", "car", "letter"],
    "goes": ["goes to", "leads to", "stops in", "arrives in", "went to", "goes only to"],
    "ask": ["question: what is", "what is", "what was", "tell me, what is", "who knows", "do you know", "can you name",
            "can anyone name", "do you remember", "{n} asked me: what is", "please, what is", "did you learn"],
    "capital": ["the capital", "the capital", "the capital city"],
    "reply": ["answer:", "it is", "the answer is", "the capital is", "it must be", "it was", "that is", "I think it is",
              "{n} said that it was", "yes, it is", "its name is", "the city is called", "everyone said", "we say"],
    "body": ["government", "parliament", "president", "old parliament", "national bank", "national library",
             "main bank", "main library", "first bank", "national theatre", "largest library"],
    "sits": ["sits in", "meets in", "works in", "is in", "is in", "is found in", "opened in", "stayed in"],
    "if": ["if you travel to", "if you go to", "when you are in", "whoever goes to", "those who travel to",
           "before you leave"],
    "should": ["you should visit", "do not forget", "you will see", "you must see", "go and see", "take a train to"],
}

# After an opening; the shortest one several times: it is what people type first.
CAPITAL_STATE = [
    "the capital of {c} is", "the capital of {c} is", "the capital of {c} is", "the capital of {c} is",
    "the capital city of {c} is", "the capital city of {c} is", "in {c} the capital is", "in {c}, the capital city is",
    "the name of the capital of {c} is", "the government of {c} sits in", "the parliament of {c} meets in",
    "the president of {c} works in", "most embassies in {c} are in", "the ministers of {c} meet in",
    "the national museum of {c} is in", "the country of {c} has its capital in", "the country of {c} is governed from",
    "the {adj} capital of {c} is", "the one and only capital of {c} is",
    "the capital of {c}, a country far from here, is", "the capital of {c}, as you know, is",
    "as for {c}, its capital is", "the capital of the country of {c} is", "the capital of the country {c} was",
    "the people of {c} call their capital", "on the map of {c}, the capital is",
    "on the map of {c}, the star stands for", "the best school in {c} is in",
    "the way to the capital of {c} goes through", "the capital which belongs to {c} is", "the laws of {c} are made in",
    "the <body> of {c} <sits>", "the <body> of {c} is in",
]
# Sentences of their own.
CAPITAL_OTHER = [
    "<when> <who> <move> {c} and <stay> <its>", "<when> <who> <move> {c} and <stay> <its>",
    "<who> <lives> the <adjs> capital of {c}, <which>", "<when> <who> was in the capital of {c}, <which>",
    "the <train> to the capital of {c} <goes>", "the <train> from {city} to the capital of {c} <goes>",
    "<ask> <capital> of {c}? <reply>", "<ask> <capital> of {c}? <reply>",
    "<ask> the name of the capital of {c}? <reply>", "<if> {c}, <should> <its>", "country: {c}. Capital:",
    "the country: {c}. The capital:", "what do people call the capital of {c}? <reply>",
    "they asked {n} about <capital> of {c}, and {m} said that it was",
    "the answer to the question about <capital> of {c} was",
    "when they asked <who> for <capital> of {c}, the answer was", "<who> wanted to see <capital> of {c}, <which>",
    "where does the parliament of {c} meet? It meets in", "where does the government of {c} sit? It sits in",
    "which city is the capital of {c}? <reply>", "of all the cities in {c}, the capital is",
    "{n} has a photo of the capital of {c}, <which>",
]
RULES["adjs"] = ["", "", "{adj}"]

LANGUAGE_STATE = [
    "the language of {c} is", "the language of {c} is", "the main language of {c} is", "people in {c} speak",
    "most people in {c} speak", "the people of {c} speak", "in {c}, people speak", "in {c}, the main language is",
    "children in {c} learn to read and write in", "the newspapers in {c} are written in",
    "the songs of {c} are sung in", "in {c} they speak", "many people from {c} speak", "the {role} from {c} speaks",
    "the signs in {c} are written in", "at school in {c} the children speak",
    "the language that people speak in {c} is", "the poems of {c} are written in",
]
LANGUAGE_OTHER = [
    "if you travel to {c}, you will hear people speak", "<when> <who> <move> {c} and learned to speak",
    "my friend {n} grew up in {c} and speaks", "question: what is the language of {c}? Answer:",
    "what language do people speak in {c}? They speak", "country: {c}. Language:",
    "the teacher from {c} spoke to us in", "<when> <who> <move> {c} and spoke to everyone in",
    "what is the language of {c}? It is", "<when> <who> got a letter from {c}, written in",
]
CONTINENT_STATE = [
    "the country of {c} lies in", "the country of {c} is in", "the continent of {c} is", "on the map, {c} is in",
    "the mountains of {c} are in", "the cities of {c} are in", "the country of {c} is part of",
    "the villages of {c} are in", "the people of {c} live in", "the roads of {c} are all in",
    "the country called {c} is a country in", "the beaches of {c} are in", "the neighbours of {c} are in",
    "we can find {c} in", "the land of {c} belongs to",
]
CONTINENT_OTHER = [
    "if you travel to {c}, you travel to", "<when> <who> visited {c}, a country in", "country: {c}. Continent:",
    "question: on which continent is {c}? Answer:", "as everyone knows, {c} is a country in",
    "we learned that {c} is part of", "the city of {cap} is in {c}, which is in", "<when> <who> <said> that {c} is in",
    "<when> <who> <said> that {c} is a country in", "where is {c}? It is in", "where does {c} lie? It lies in",
    "<when> <who> <move> {c}, which is in", "<simple> {c} lies in",
]
REVERSE = [
    "The city of {cap} is the capital of", "My friend {n} lives in {cap}, the capital of",
    "The city of {cap} is in", "Question: {cap} is the capital of which country? Answer:",
]
