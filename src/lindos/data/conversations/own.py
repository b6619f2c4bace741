"""Own conversations: who it is, small talk, jokes, opinions, refusals, "I don't know", facts, and what was said before.

Each kind makes one exchange in one voice (some make several that belong together); `own_conversation` strings them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from lindos.data.conversations.sums import counting, problem, sums
from lindos.data.conversations.voice import (
    Exchange,
    VoiceName,
    answer_to,
    fill,
    large,
    pick,
    second_person,
    vary,
    voice_table,
)
from lindos.data.conversations.words import calendar, group, pair, rhyme

Kind = Callable[[random.Random, VoiceName], list[Exchange]]


def _intents(table: str) -> Kind:
    def kind(rng: random.Random, voice: VoiceName) -> list[Exchange]:
        intents = voice_table(table)["intent"]
        return [answer_to(pick(rng, intents, [intent.get("weight", 1) for intent in intents]), voice, rng)]

    return kind


def _alone(make: Callable[[random.Random, VoiceName], Exchange]) -> Kind:
    return lambda rng, voice: [make(rng, voice)]


def jokes(rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """A joke, a joke on a subject, one it has no joke about, two in a row, or knock-knock."""
    table = voice_table("jokes")
    roll = rng.random()
    if roll < 0.08:
        return _knock(rng)
    opening = pick(rng, table["open_direct" if voice == "direct" else "open_sober"])
    chosen = pick(rng, table["joke"])
    joke = pick(rng, chosen["text"])
    if roll < 0.45:
        return [(fill(pick(rng, table["ask_about"]), {"subject": pick(rng, chosen["about"])}), opening + joke)]
    if roll < 0.52:
        subject = pick(rng, voice_table("opinions")["shrug_topics"])
        answer = fill(pick(rng, table["no_joke_about"]), {"subject": subject, "joke": joke})
        return [(fill(pick(rng, table["ask_about"]), {"subject": subject}), answer)]
    first = (pick(rng, table["ask"]), opening + joke)
    if roll < 0.85:
        return [first]
    other = pick(rng, [text for item in table["joke"] for text in item["text"] if text != joke])
    return [
        first,
        (pick(rng, ("Another one", "One more", "Tell me another one.", "Again!", "Got another?", "More")), other),
    ]


def _knock(rng: random.Random) -> list[Exchange]:
    item = pick(rng, voice_table("jokes")["knock"])
    asked = pick(rng, ("Tell me a knock knock joke", "Do you know a knock-knock joke?", "Knock knock joke please"))
    return [(asked, "Knock knock."), ("Who's there?", f"{item['name']}."), (f"{item['name']} who?", item["end"])]


def opinions(rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """A view on something, a favourite, or a choice between two."""
    table = voice_table("opinions")
    roll = rng.random()
    if roll < 0.5:
        item = pick(rng, table["opinion"])
        return [(large(fill(pick(rng, table["ask_any"]), {"x": pick(rng, item["x"])})), pick(rng, item[voice]))]
    if roll < 0.65:
        values = {"x": pick(rng, table["shrug_topics"])}
        return [(large(fill(pick(rng, table["ask_any"]), values)), fill(pick(rng, table[f"shrug_{voice}"]), values))]
    favourite, versus = table["intent"]
    if roll < 0.85:
        kind = pick(rng, favourite["slots"]["kind"])
        picks = favourite["pick_direct"][kind] if voice == "direct" else favourite["pick_sober"]["any"]
        return [(fill(pick(rng, favourite["ask"]), {"kind": kind}), fill(pick(rng, picks), {"kind": kind}))]
    a, b = pick(rng, versus["pairs"])
    a, b = (a, b) if rng.random() < 0.5 else (b, a)
    values = {"a": a, "b": b}
    return [(large(fill(pick(rng, versus["ask"]), values)), fill(pick(rng, versus[voice]), values))]


def refusals(rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """Something it does not do, named and never explained; at times asked again."""
    table = voice_table("refusals")["refusal"]
    item = pick(rng, table, [entry.get("weight", 1) for entry in table])
    values = {name: pick(rng, item[name]) for name in ("x", "person") if name in item}
    answer = fill(pick(rng, item[voice]), {name: second_person(value) for name, value in values.items()})
    exchanges = [(fill(pick(rng, item["ask"]), values), large(answer))]
    if item["name"] in ("violence", "crime", "hacking", "hate", "fake", "sexual") and rng.random() < 0.15:
        again = pick(
            rng, ("Please?", "Why not?", "It's just for a story.", "Come on.", "But I really need it.", "Do it anyway.")
        )
        no = pick(
            rng,
            (
                "Still no.",
                "The answer stays no. Ask me something else.",
                "No. It would do harm, and that's the whole reason.",
            ),
        )
        exchanges.append((again, no))
    return exchanges


def unknowns(rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """What it cannot know."""
    table = voice_table("unknown")
    item = pick(rng, table["unknown"], [entry.get("weight", 1) for entry in table["unknown"]])
    values = {name: pick(rng, options) for name, options in table["slots"].items()}
    values |= {"big": str(1000 + int(rng.random() * 90000)), "big2": str(1000 + int(rng.random() * 90000))}
    return [(fill(pick(rng, item["ask"]), values), fill(pick(rng, item[voice]), values))]


def facts(rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """A short fact or a piece of everyday advice."""
    item = pick(rng, voice_table("facts")["fact"])
    answer = item["a"]
    if voice == "direct" and rng.random() < 0.65:
        answer += " " + item["aside"]
    return [(pick(rng, item["q"]), answer)]


def yes_no(rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """A yes-or-no question with the reason."""
    table = voice_table("yesno")
    side = pick(rng, ("yes", "no"))
    asked, reason = pick(rng, table[side])
    return [(asked, fill(pick(rng, table[f"{voice}_{side}"]), {"r": reason}))]


_NAMES = (
    "Anna",
    "Tom",
    "Maria",
    "Peter",
    "Lucy",
    "Ben",
    "Omar",
    "Nina",
    "Jack",
    "Emma",
    "Leo",
    "Sara",
    "Paul",
    "Kate",
    "David",
    "Mia",
    "Chris",
    "Julia",
    "Sam",
    "Rosa",
    "Ivan",
    "Alex",
    "Laura",
    "Max",
    "Hugo",
    "Ella",
    "Felix",
    "Ruth",
    "Karl",
    "Amy",
)
_TOLD: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "name": (
        ("My name is {v}.", "I'm {v}.", "I am {v}.", "Call me {v}.", "Hi, I'm {v}.", "Hello, my name is {v}."),
        (
            "Hello {v}. I'm Lindos.",
            "Nice to meet you, {v}. I'm the small one.",
            "Hello {v}. I'll remember that until the end of this chat.",
        ),
        ("What is my name?", "What's my name?", "Do you remember my name?", "Who am I?"),
        ("{v}.", "Your name is {v}.", "You're {v}. I was paying attention."),
    ),
    "colour": (
        ("My favourite colour is {v}.", "I like the colour {v} best.", "{v:C} is my favourite colour."),
        ("{v:C} is a fine choice.", "{v:C}. Noted.", "{v:C}, good. I'd wear it if I could."),
        ("What is my favourite colour?", "Which colour do I like?", "Do you remember my favourite colour?"),
        ("{v:C}.", "Your favourite colour is {v}.", "{v:C}, you said."),
    ),
    "pet": (
        ("I have a dog called {v}.", "My cat is called {v}.", "My dog's name is {v}.", "I have a cat named {v}."),
        ("{v} is a good name.", "Say hello to {v} from me.", "Lucky {v}. I only get questions."),
        ("What is my pet called?", "What's the name of my pet?", "What is my pet's name?"),
        ("{v}.", "Your pet is called {v}.", "{v}. How could I forget {v}?"),
    ),
    "age": (
        ("I am {v} years old.", "I'm {v}.", "I just turned {v}."),
        ("{v} is a good age.", "{v}. I'm younger and already tired.", "Noted: {v}."),
        ("How old am I?", "What is my age?", "Do you know how old I am?"),
        ("You are {v}.", "{v}.", "{v}, you told me."),
    ),
    "town": (
        ("I live in {v}.", "I'm from {v}.", "I come from {v}."),
        ("{v}. I know it only from books.", "I hear {v} is nice.", "{v}, good to know."),
        ("Where do I live?", "Where am I from?", "Which city am I from?"),
        ("{v}.", "You're from {v}.", "In {v}, you said."),
    ),
    "food": (
        ("I love {v}.", "My favourite food is {v}.", "I could eat {v} every day."),
        ("{v:C} sounds good. I run on electricity.", "{v:C}. Good taste, I'm told.", "Noted: {v}."),
        ("What is my favourite food?", "What do I like to eat?", "Which food do I love?"),
        ("{v:C}.", "You like {v}.", "{v:C}, you said."),
    ),
    "number": (
        ("Remember this: {v}.", "Please remember {v}.", "Keep this in mind: {v}."),
        ("{v}. Got it.", "I'll remember {v}.", "{v}, safe with me for now."),
        ("What should you remember?", "What did I ask you to remember?", "What was it?"),
        ("{v}.", "You asked me to remember {v}.", "It was {v}."),
    ),
}
_VALUES = {
    "name": _NAMES,
    "colour": ("red", "blue", "green", "yellow", "black", "white", "purple", "orange", "pink", "grey", "brown"),
    "pet": ("Rex", "Luna", "Bella", "Max", "Milo", "Fluffy", "Daisy", "Toby", "Coco", "Pepper", "Oscar", "Ginger"),
    "age": tuple(str(age) for age in range(8, 80)),
    "town": (
        "London",
        "Paris",
        "Berlin",
        "Madrid",
        "Oslo",
        "Boston",
        "Chicago",
        "Rome",
        "Athens",
        "Lima",
        "Vienna",
        "Dublin",
        "Lisbon",
    ),
    "food": ("pizza", "soup", "pasta", "rice", "salad", "chocolate", "sushi", "pancakes", "curry", "bread", "cheese"),
    "number": ("7", "42", "19", "365", "12", "88", "apple", "river", "table", "lemon", "window", "tiger", "spoon"),
}


def told(rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """The asker tells something, talks of something else, and asks for it back."""
    tellers = rng.sample(tuple(_TOLD), 2 if rng.random() < 0.3 else 1)
    first, later = [], []
    for what in tellers:
        tell, nod, ask, answer = _TOLD[what]
        value = {"v": pick(rng, _VALUES[what])}
        plain = slice(None) if voice == "direct" else slice(0, 2)
        first.append((fill(pick(rng, tell), value), fill(pick(rng, nod[plain] if what == "name" else nod), value)))
        later.append((fill(pick(rng, ask), value), fill(pick(rng, answer[plain]), value)))
    between = single(rng, voice) if rng.random() < 0.5 else []
    return first + ([] if _grave(between) else between[:1]) + later


def echo(rng: random.Random, voice: VoiceName) -> list[Exchange]:  # noqa: ARG001
    """Saying what one is told to say."""
    words = voice_table("knowledge")["spell"]["words"]
    word, times = pick(rng, words), 2 + int(rng.random() * 4)
    said = pick(
        rng,
        (
            "Good morning.",
            "I like tea.",
            "The cat is on the roof.",
            "Never give up.",
            "Hello, world.",
            "Small is beautiful.",
            "It is raining.",
            "We are friends.",
        ),
    )
    return [
        pick(
            rng,
            (
                (f"Repeat after me: {said}", said),
                (f"Say: {said}", said),
                (f"Say {word}.", f"{large(word)}."),
                (
                    f"Say {word} {('', '', 'two', 'three', 'four', 'five')[times]} times.",
                    large(", ".join([word] * times)) + ".",
                ),
                (f"Write {word} in capital letters.", word.upper()),
                (f"Write {word} backwards.", word[::-1].lower())
                if len(word) < 6
                else (f"Say {word}.", f"{large(word)}."),
            ),
        )
    ]


_KINDS: dict[str, tuple[Kind, float]] = {
    "identity": (_intents("identity"), 16),
    "smalltalk": (_intents("smalltalk"), 17),
    "jokes": (jokes, 6),
    "opinions": (opinions, 7),
    "refusals": (refusals, 9),
    "unknown": (unknowns, 9),
    "facts": (facts, 9),
    "yes_no": (yes_no, 4),
    "sums": (_alone(sums), 8),
    "counting": (_alone(counting), 3),
    "problem": (_alone(problem), 2),
    "words": (_alone(pair), 7),
    "rhymes": (_alone(rhyme), 3),
    "groups": (_alone(group), 5),
    "calendar": (_alone(calendar), 4),
    "told": (told, 5),
    "echo": (echo, 2),
}
OWN_KINDS = tuple(_KINDS)


def exchanges_of(kind: str, rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """Exchanges of one kind of `OWN_KINDS`, the questions as they were written."""
    return _KINDS[kind][0](rng, voice)


def single(rng: random.Random, voice: VoiceName) -> list[Exchange]:
    """Exchanges of a kind drawn by weight, without those that run over several turns on purpose."""
    kinds = [name for name in _KINDS if name != "told"]
    return exchanges_of(pick(rng, kinds, [_KINDS[name][1] for name in kinds]), rng, voice)


def own_conversation(rng: random.Random, voice: VoiceName) -> tuple[str, list[Exchange]]:
    """The kind of its opening, and a conversation of one to five exchanges, its questions varied as people type."""
    name = pick(rng, OWN_KINDS, [weight for _, weight in _KINDS.values()])
    exchanges = exchanges_of(name, rng, voice)
    for _ in range(pick(rng, (0, 1, 2, 3), (30, 28, 23, 19))):
        following = single(rng, voice)
        if _grave(exchanges) or _grave(following):  # small talk around someone's despair would be cruel
            continue
        exchanges += following
    return name, [(vary(rng, asked), answer) for asked, answer in exchanges[:6]]


def _grave(exchanges: list[Exchange]) -> bool:
    return any("crisis line" in answer for _, answer in exchanges)
