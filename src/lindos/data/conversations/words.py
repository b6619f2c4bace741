"""Own exchanges of the school kind: words, animals, colours, numbers, days. All answers follow from tables."""

from __future__ import annotations

import random
from typing import Any

from lindos.data.conversations.voice import Exchange, VoiceName, fill, large, pick, voice_table

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_PAIRS = {
    "opposites": (
        (
            "What is the opposite of {x}?",
            "Opposite of {x}?",
            "Give me the opposite of {x}.",
            "What's the antonym of {x}?",
        ),
        ("{Y}.", "The opposite of {x} is {y}.", "{Y}. They don't get on.", "{Y}, and proud of it."),
        ("The opposite of {x} is {y}.", "{Y}."),
    ),
    "plurals": (
        ("What is the plural of {x}?", "Plural of {x}?", "How do you say more than one {x}?", "One {x}, two ...?"),
        ("{Y}.", "The plural of {x} is {y}.", "One {x}, two {y}. Three and you need a bigger room."),
        ("The plural of {x} is {y}.", "{Y}."),
    ),
    "past": (
        (
            "What is the past tense of {x}?",
            "Past tense of {x}?",
            "Today I {x}. Yesterday I ...?",
            "What is the past of to {x}?",
        ),
        ("{Y}.", "The past tense of {x} is {y}.", "{Y}. That was yesterday."),
        ("The past tense of {x} is {y}.", "{Y}."),
    ),
    "sounds": (
        ("What does {x:a} say?", "What sound does {x:a} make?", "What noise does {x:a} make?", "How does {x:a} go?"),
        ("{Y}.", '{x:A} says "{y}".', '"{Y}", mostly before breakfast.', "{Y}. My accent is poor."),
        ('{x:A} says "{y}".', 'The sound of {x:a} is "{y}".'),
    ),
    "young": (
        (
            "What is a baby {x} called?",
            "What do you call a young {x}?",
            "What is the young of {x:a} called?",
            "A baby {x} is a ...?",
        ),
        ("{y:A}.", "A young {x} is called {y:a}.", "{y:A}. Small and bad at queueing."),
        ("A young {x} is called {y:a}.", "It is called {y:a}."),
    ),
    "legs": (
        ("How many legs does {x:a} have?", "How many legs has {x:a}?", "Number of legs of {x:a}?"),
        ("{Y}.", "{x:A} has {y} legs.", "{Y} legs, last time anyone counted."),
        ("{x:A} has {y} legs.",),
    ),
    "colours": (
        ("What colour is {x}?", "Which colour is {x}?", "What is the colour of {x}?", "Tell me the colour of {x}."),
        ("{Y}.", "{X} is {y}.", "{Y}. I had to ask someone with eyes."),
        ("{X} is {y}.", "{Y}."),
    ),
    "mixes": (
        (
            "What do you get when you mix {x}?",
            "What colour do {x} make?",
            "If I mix {x}, what colour is it?",
            "Mix {x}.",
        ),
        ("{Y}.", "{X} make {y}.", "{Y}, and a stain on the table."),
        ("{X} make {y}.", "You get {y}."),
    ),
    "numbers": (
        ("How many {x}?",),
        ("{Y}.", "{Y}. I counted on other people's fingers.", "{Y}, give or take nothing."),
        ("{Y}.",),
    ),
}
_COUNT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def number_word(number: int) -> str:
    """Up to ten in words, then in digits."""
    return _COUNT[number] if 0 <= number <= 10 else str(number)


def pair(rng: random.Random, voice: VoiceName) -> Exchange:
    """A question that one table answers."""
    table = pick(rng, tuple(_PAIRS), (9, 5, 5, 3, 3, 3, 5, 2, 9))
    asked, direct, sober = _PAIRS[table]
    x, y = pick(rng, tuple(voice_table("knowledge")[table].items()))
    if isinstance(y, int):
        y = number_word(y) if y else "no"
    values = {"x": x, "y": y}
    answer = pick(rng, direct if voice == "direct" else sober)
    return fill(pick(rng, asked), values), large(fill(answer, values))


def rhyme(rng: random.Random, voice: VoiceName) -> Exchange:
    """A word that rhymes, or how a word is spelt, or its first letter."""
    tables = voice_table("knowledge")
    kind = rng.random()
    if kind < 0.5:
        word, others = pick(rng, tuple(tables["rhymes"].items()))
        other = pick(rng, others)
        asked = pick(rng, ("What rhymes with {x}?", "Give me a word that rhymes with {x}.", "A rhyme for {x}?"))
        direct = ("{Y}.", "{Y}. The poem writes itself.", "{Y} rhymes with {x}.", "{x:C} and {y}. Call me Shakespeare.")
        answer = pick(rng, direct if voice == "direct" else ("{Y} rhymes with {x}.", "{Y}."))
        return fill(asked, {"x": word}), fill(answer, {"x": word, "y": other})
    word = pick(rng, tables["spell"]["words"])
    if kind < 0.85:
        asked = pick(rng, ("How do you spell {x}?", "Spell {x}.", "Spell the word {x}.", "Can you spell {x}?"))
        return fill(asked, {"x": word}), "-".join(word.upper()) + "."
    if kind < 0.93:
        asked = pick(rng, ("What is the first letter of {x}?", "Which letter does {x} start with?"))
        return fill(asked, {"x": word}), f"{word[0].upper()}."
    asked = pick(rng, ("How many letters are in {x}?", "How many letters does {x} have?"))
    return fill(asked, {"x": word}), f"{large(number_word(len(word)))}."


def group(rng: random.Random, voice: VoiceName) -> Exchange:
    """Examples of a class, whether something belongs to it, and the odd one out."""
    groups: dict[str, list[str]] = voice_table("knowledge")["groups"]
    name = pick(rng, tuple(groups))
    members = groups[name]
    kind = rng.random()
    if kind < 0.55:
        count = 1 + int(rng.random() * min(5, len(members)))
        some = rng.sample(members, count)
        asked = pick(
            rng, ("Name {n} {x}.", "Give me {n} {x}.", "List {n} {x}.", "Tell me {n} {x}.", "{N} {x}, please.")
        )
        if count == 1:
            asked = pick(rng, ("Name one of the {x}.", "Give me an example of {x}.", "Name some {x}, just one."))
        aside = pick(rng, ("", "", "", " There are more, but I was told to stop.", " In no order I can defend."))
        answer = listed(some) + "." + (aside if voice == "direct" else "")
        return fill(asked, {"n": number_word(count), "x": name}), large(answer)
    if kind < 0.75:
        some = rng.sample(members, min(5, len(members)))
        asked = pick(
            rng,
            ("List some {x}.", "Give me a list of {x}.", "Name some {x}.", "What are some {x}?", "Tell me some {x}."),
        )
        return fill(asked, {"x": name}), large(listed(some)) + "."
    other = pick(
        rng,
        [each for each in ("fruits", "tools", "animals", "vehicles", "clothes", "instruments", "jobs") if each != name],
    )
    odd = pick(rng, groups[other])
    if odd in members or (name in _CREATURES and other == "animals"):
        return pair(rng, voice)
    some = [*rng.sample(members, 3), odd]
    rng.shuffle(some)
    asked = pick(rng, ("Which one is the odd one out: {x}?", "Which does not belong: {x}?", "Odd one out: {x}?"))
    answer = pick(rng, ("{Y}. The others are {n}.", "{Y}, because the others are {n}."))
    return fill(asked, {"x": listed(some)}), fill(answer, {"y": odd, "n": name})


_CREATURES = ("birds", "fish", "insects", "farm animals", "pets")


def listed(items: list[str]) -> str:
    """ "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def calendar(rng: random.Random, voice: VoiceName) -> Exchange:
    """Days and months in order."""
    kind = pick(rng, ("day", "month", "letter", "length", "tomorrow", "ordinal"), (6, 5, 3, 2, 3, 2))
    step = pick(rng, (1, -1))
    way = "after" if step == 1 else "before"
    if kind in ("day", "month", "letter"):
        ring: Any = {"day": DAYS, "month": MONTHS, "letter": LETTERS}[kind]
        at = int(rng.random() * len(ring))
        if kind == "letter" and not 0 <= at + step < len(ring):
            at = 5
        found = ring[(at + step) % len(ring)]
        what = {"day": "day", "month": "month", "letter": "letter"}[kind]
        asked = pick(
            rng, ("What {w} comes {b} {x}?", "Which {w} is {b} {x}?", "What comes {b} {x}?", "What is the {w} {b} {x}?")
        )
        direct = ("{y}.", "{y}. It happens every time.", "{y} comes {b} {x}.", "{y}, unless they changed it.")
        answer = pick(rng, direct if voice == "direct" else ("{y} comes {b} {x}.", "{y}."))
        values = {"w": what, "b": way, "x": ring[at], "y": found}
        return fill(asked, values), fill(answer, values)
    if kind == "length":
        at = int(rng.random() * 12)
        days = "28, or 29 in a leap year" if at == 1 else str(LENGTHS[at])
        return f"How many days does {MONTHS[at]} have?", f"{MONTHS[at]} has {days}{'' if at == 1 else ' days'}."
    if kind == "tomorrow":
        at = int(rng.random() * 7)
        asked, found = pick(
            rng,
            (
                ("What day is tomorrow?", at + 1),
                ("What day was yesterday?", at - 1),
                ("What is the day after tomorrow?", at + 2),
            ),
        )
        return f"Today is {DAYS[at]}. {asked}", f"{DAYS[found % 7]}."
    at = int(rng.random() * 12)
    ordinal = (
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "eleventh",
        "twelfth",
    )[at]
    return f"What is the {ordinal} month of the year?", f"{MONTHS[at]}."
