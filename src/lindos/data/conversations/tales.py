"""Own conversations made of larger templates: tiny stories, verses, and answers from quoted posts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from lindos.data.conversations.voice import Exchange, VoiceName, fill, large, pick, vary, voice_table, with_article

SOURCE = "<|source|>"
"""Opens a quoted post in a user's turn; becomes the tokenizer's token of that name."""


def tale(rng: random.Random, voice: VoiceName) -> tuple[str, list[Exchange]]:
    """A story or a verse, on a wished-for hero or any."""
    table = voice_table("stories")
    kind, asks = pick(rng, (("stories", "story"), ("poems", "poem")), (7, 3))
    hero = pick(rng, table["heroes"])
    friend = pick(rng, [each for each in table["friends"] if each != hero])
    values = {
        "x": hero,
        "a": with_article(hero),
        "n": pick(rng, table[_names(hero, table)]),
        "o": pick(rng, table["things"]),
    }
    values |= {"p": pick(rng, table["places"]), "w": friend}
    asked = pick(rng, table[f"ask_{asks}"] if rng.random() < 0.65 else table[f"ask_any_{asks}"])
    if "Once upon" in asked and voice == "direct":
        asked = pick(rng, table[f"ask_any_{asks}"])
    exchanges = [(fill(asked, values), fill(pick(rng, table[f"{kind}_{voice}"]), values))]
    if rng.random() < 0.2:
        reply = pick(rng, ("Thank you.", "I made it up on the spot. It shows.", "I have more. They also end quickly."))
        exchanges.append((pick(rng, ("Nice story", "I liked that", "Good one", "That was short")), reply))
    return asks, [(vary(rng, question), answer) for question, answer in exchanges]


def _names(hero: str, table: Mapping[str, Any]) -> str:
    return "her_names" if hero in table["she"] else "his_names" if hero in table["he"] else "names"


def quoted(rng: random.Random, voice: VoiceName) -> tuple[str, list[Exchange]]:
    """Two to four quoted posts and a question: answered with the post's number, left open, or not to be found."""
    table = voice_table("posts")
    if rng.random() < 0.35:
        posts, asked, answers, at = _count(rng, voice, table)
    else:
        posts, asked, answers, at = _topic(rng, voice, table)
    handles = rng.sample(table["handles"], len(posts))
    numbered = [
        f"{SOURCE}[{n + 1}] {handle}: {post}" for n, (handle, post) in enumerate(zip(handles, posts, strict=True))
    ]
    asked = vary(rng, asked)
    asked = "\n".join([*numbered, asked]) if rng.random() < 0.8 else "\n".join([asked, *numbered])
    answer = pick(rng, answers)
    if at is not None:
        answer = fill(answer, {"s": handles[at], "k": str(at + 1)})
    return "posts", [(asked, large(answer))]


Drawn = tuple[list[str], str, list[str], int | None]


def _topic(rng: random.Random, voice: VoiceName, table: Mapping[str, Any]) -> Drawn:
    topics = rng.sample(table["topic"], 2 + int(rng.random() * 3))
    asked_about, others = topics[0], topics[1:]
    values = _values(rng, table)
    posts = [fill(pick(rng, topic["post"]), _values(rng, table)) for topic in others]
    question = fill(pick(rng, asked_about["ask"]), values)
    if rng.random() < 0.2:
        return posts, question, table["lost"], None
    at = int(rng.random() * (len(posts) + 1))
    posts.insert(at, fill(pick(rng, asked_about["post"]), values))
    # {town} and the like are filled now, {s} and {k} when the posts have their numbers.
    return posts, question, [_partly(answer, values) for answer in asked_about[voice]], at


def _count(rng: random.Random, voice: VoiceName, table: Mapping[str, Any]) -> Drawn:
    """A vote that is being counted, only rumoured, or officially decided."""
    counting, values = table["counting"], _values(rng, table)
    kind = pick(rng, ("open", "rumour", "final"), (5, 3, 3))
    told = {"open": "post", "rumour": "rumour", "final": "official"}[kind]
    main = fill(pick(rng, counting[told]), values)
    around = []
    if kind == "open" and rng.random() < 0.7:
        around.append(fill(pick(rng, counting["rumour"]), values))
    if kind == "final" and rng.random() < 0.5:
        around.append(fill(counting["rumour"][3], values))
    around.append(fill(pick(rng, pick(rng, table["topic"])["post"]), _values(rng, table)))
    at = int(rng.random() * (len(around) + 1))
    around.insert(at, main)
    answers = [_partly(answer, values) for answer in counting[f"{kind}_{voice}"]]
    return around, fill(pick(rng, counting["ask"]), values), answers, at


def _values(rng: random.Random, table: Mapping[str, Any]) -> dict[str, str]:
    towns, people, teams = (rng.sample(table[name], 2) for name in ("towns", "people", "teams"))
    values = {"town": towns[0], "town2": towns[1], "person": people[0], "person2": people[1]}
    values |= {"team": teams[0], "team2": teams[1], "percent": str(20 + int(rng.random() * 75))}
    return values | {name: pick(rng, table[f"{name}s"]) for name in ("time", "day", "number")}


def _partly(text: str, values: Mapping[str, str]) -> str:
    return fill(text, {**values, "s": "{s}", "k": "{k}"})
