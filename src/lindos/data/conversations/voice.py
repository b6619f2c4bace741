"""The voice of the product: texts in `voice/*.toml`, filled and varied by a seeded generator.

Two voices answer: "direct" (also when there is no system message) and "sober". An exchange is what was asked and what
was answered; conversations are strings of exchanges.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal

VoiceName = Literal["direct", "sober"]
Exchange = tuple[str, str]

SYSTEM: dict[VoiceName, str] = {
    "direct": "You are Lindos. Be direct and funny.",
    "sober": "You are Lindos. Be clear and sober.",
}

_SLOT = re.compile(r"\{([A-Za-z]\w*)(?::([aAC]))?\}")
_OPENERS = (
    "hey, ",
    "so, ",
    "ok, ",
    "um, ",
    "Lindos, ",
    "hey Lindos, ",
    "quick question: ",
    "and ",
    "well, ",
    "please, ",
)
_CLOSERS = (" please", ", please", ", Lindos", ", thanks", " again")
_CONTRACTED = {
    "What is ": "What's ",
    "Who is ": "Who's ",
    "How is ": "How's ",
    "Where is ": "Where's ",
    "I am ": "I'm ",
}
_SILENT_H = re.compile(r"heir|hour|honest|honou?r")
_YOU_OR_ONE = re.compile(r"uni(?![nmd])|u[st][eiu]|ut[io]|ur[aeio](?!n\b)|ubiq|eu|ewe|one\b|once\b|oui")
_SPELLED = {"favourite": "favorite", "colour": "color", "centimetre": "centimeter", "metre": "meter", "grey": "gray"}


@cache
def voice_table(name: str) -> dict[str, Any]:
    """One file of `texts/`, parsed."""
    return tomllib.loads(
        resources.files("lindos.data.conversations").joinpath("texts", f"{name}.toml").read_text(encoding="utf-8")
    )


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values into `{name}`; `{name:C}` begins large, `{name:a}` takes its article (`A` a large one),
    `{Name}` is `{name:C}`."""

    def put(found: re.Match[str]) -> str:
        name, how = found[1], found[2]
        if name not in values and name[0].isupper() and name.lower() in values:
            name, how = name.lower(), "C"
        value = values[name]
        if how == "C":
            return large(value)
        return value if how is None else with_article(value) if how == "a" else large(with_article(value))

    return _SLOT.sub(put, text)


def large(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


def with_article(noun: str) -> str:
    """ "a fox", "an owl", "a unicorn", "an hour"."""
    sound = noun.lower()
    vowel = bool(_SILENT_H.match(sound)) or (sound[:1] in tuple("aeiou") and not _YOU_OR_ONE.match(sound))
    return f"{'an' if vowel else 'a'} {noun}"


def pick(rng: random.Random, options: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
    """One of the options, by weight where weights are given."""
    return rng.choices(options, weights)[0] if weights else options[int(rng.random() * len(options))]


def second_person(text: str) -> str:
    """What the asker calls "my boss" is "your boss" in the answer."""
    return re.sub(r"\bmy\b", "your", text)


def answer_to(intent: Mapping[str, Any], voice: VoiceName, rng: random.Random) -> Exchange:
    """An exchange of an intent: `ask`, `direct`, `sober` (missing: as direct), filled from its `slots`."""
    values = {name: pick(rng, options) for name, options in intent.get("slots", {}).items()}
    asked = fill(pick(rng, intent["ask"]), values)
    answers = intent["direct"] if voice == "direct" else intent.get("sober") or intent["direct"]
    answer = fill(pick(rng, answers), {name: second_person(value) for name, value in values.items()})
    return asked, large(answer)


def vary(rng: random.Random, asked: str) -> str:
    """A question as people type it: mostly as it is, else small letters, no stop, an opening, a slip of the finger."""
    for british, american in _SPELLED.items():
        if british in asked and rng.random() < 0.3:
            asked = asked.replace(british, american)
    for whole, short in _CONTRACTED.items():
        if asked.startswith(whole) and rng.random() < 0.25:
            asked = short + asked[len(whole) :]
    roll = rng.random()
    if roll < 0.12:
        asked = asked.lower()
    elif roll < 0.20:
        asked = asked.rstrip("?.!")
    elif roll < 0.26:
        asked = asked.lower().rstrip("?.!").replace("'", "")
    elif roll < 0.34 and "\n" not in asked:
        asked = large(pick(rng, _OPENERS) + _small(asked))
    elif roll < 0.38 and asked.endswith(("?", ".", "!")) and len(asked) < 80:
        asked = asked[:-1] + pick(rng, _CLOSERS) + asked[-1]
    elif roll < 0.41:
        asked = _slip(rng, asked)
    return asked


def _small(text: str) -> str:
    return text if text.startswith(("I ", "I'", "AI")) or text[:2].isupper() else text[:1].lower() + text[1:]


def _slip(rng: random.Random, text: str) -> str:
    """Two neighbouring letters of a longer word change places, or one is lost."""
    words = list(re.finditer(r"[a-z]{5,}", text))
    if not words:
        return text
    word = pick(rng, words)
    at = word.start() + 1 + int(rng.random() * (len(word[0]) - 3))
    if rng.random() < 0.5:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :]
