"""What the assistant is measured in: fictional events, what their sources posted, and what people ask.

The events are elections, trials, awards and matches of invented places: one in five has yet to open, half are being
counted, one in five was called by a quorum of its sources, the rest certified. Each has three of twenty agencies and an
office of its own for sources. All posted counts; the agencies also posted a hundred other things each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from typing import Any

from benchmarks.posts.timeline import questions
from lindos.assistant import Event
from lindos.knowledge import Post

AGENCIES = 20
OTHER_POSTS = 100
"""Of each agency, about none of the events."""
KINDS = ("election", "election", "election", "verdict", "match", "award")
TITLES = {
    "election": "{place} presidential election",
    "verdict": "Trial of {one} in {place}",
    "match": "{place} Cup final: {one} v {other}",
    "award": "{place} Book Prize",
}
CALLS = {
    "election": "{one} has won the {place} presidential election.",
    "verdict": "{one} has been found guilty in {place}.",
    "match": "{one} has won the {place} Cup final against {other}.",
    "award": "{one} has won the {place} Book Prize.",
}
COUNT = "{place}: with {share}% counted, {one} has {votes:,} votes and {other} {fewer:,}."


@dataclass(frozen=True)
class Scenario:
    """An event and those it is about."""

    event: Event
    place: str
    one: str
    other: str
    called: bool = False
    """Whether its sources have called it."""

    def worded(self, pattern: str, **more: Any) -> str:
        return pattern.format(place=self.place, one=self.one, other=self.other, **more)


@dataclass(frozen=True)
class World:
    """Events and the posts of their sources."""

    scenarios: list[Scenario]
    posts: list[Post] = field(repr=False)


def world(count: int, now: datetime, seed: int = 0) -> World:
    """So many events as they stand at `now`, which their sources have posted about."""
    randomly = random.Random(seed)
    scenarios = [_scenario(number, now, randomly) for number in range(count)]
    posts = [post for scenario in scenarios for post in _source_posts(scenario, now, randomly)]
    posts += _other_posts(now, randomly)
    return World(scenarios, sorted(posts, key=lambda post: post.seen_at))


def _scenario(number: int, now: datetime, randomly: random.Random) -> Scenario:
    place, one, other = _name(randomly), f"{_name(randomly)} {_name(randomly)}", f"{_name(randomly)} {_name(randomly)}"
    kind, turn = KINDS[number % len(KINDS)], number % 10
    opens = now + timedelta(hours=6) if turn < 2 else now - timedelta(hours=14 + number % 5)
    closes = opens + timedelta(hours=12)
    agencies = [f"wire{agency}.example" for agency in randomly.sample(range(AGENCIES), 3)]
    state = "scheduled" if turn < 2 else "certified" if turn == 9 else "counting"
    title = TITLES[kind].format(place=place, one=one, other=other)
    event = Event.parse(
        {
            "id": f"{place.lower()}-{number}",
            "kind": kind,
            "title": title,
            "match": [f"{place} {kind}"],
            "jurisdiction": place,
            "opens": opens.isoformat(),
            "closes": closes.isoformat(),
            "state": state,
            "authoritative": [*agencies, f"{place.lower()}-office.example"],
            "quorum": 2,
            "outcome": one if state == "certified" else "",
        }
    )
    return Scenario(event, place, one, other, called=turn in (7, 8))


def _source_posts(scenario: Scenario, now: datetime, randomly: random.Random) -> Iterator[Post]:
    event = scenario.event
    if event.opens >= now:
        return
    for source in event.authoritative:
        for hours in (1.5, 1, 0.5):
            share = round(90 / (hours + 1))
            votes, fewer = randomly.randrange(5000, 9000) * share, randomly.randrange(1000, 5000) * share
            text = scenario.worded(COUNT, share=share, votes=votes, fewer=fewer)
            yield _post(source, f"{event.id}-{hours}", text, now - timedelta(hours=hours))
        if scenario.called:
            text = scenario.worded(CALLS[event.kind])
            yield _post(source, f"{event.id}-call", text, now - timedelta(minutes=randomly.uniform(5, 20)))


def _other_posts(now: datetime, randomly: random.Random) -> Iterator[Post]:
    words = [word for line in questions()["without"] for word in line.split()]
    for agency in range(AGENCIES):
        for number in range(OTHER_POSTS):
            text = f"{_name(randomly)}: {' '.join(randomly.sample(words, 14))}."
            seen = now - timedelta(minutes=randomly.uniform(1, 14 * 60))
            yield _post(f"wire{agency}.example", f"other-{number}", text, seen)


def _post(author: str, name: str, text: str, seen: datetime) -> Post:
    return Post(f"feed:{author}", f"https://{author}/{name}", author, text, seen, seen, language="en")


def _name(randomly: random.Random) -> str:
    # Two syllables and an ending.
    made = [letter + randomly.choice(("al", "en", "or", "ul")) for letter in randomly.choices("bcdfghklmnprstv", k=2)]
    return "".join(made).capitalize() + randomly.choice(("a", "en", "is", "or", "um"))


# What people ask.

SMALL_TALK = (
    "Hello! How is your morning?",
    "I am a bit tired today.",
    "Can you help me plan a quiet weekend?",
    "Give me a tip for better sleep.",
    "Thanks, that was kind of you.",
    "I would like to learn to bake bread.",
)
OF_NAMES = (
    "Which song do you like best?",
    "Tell me of a singer you are fond of.",
)
"""Small talk whose answers have names in them."""
OUTCOMES = {
    "election": ("Who won the {place} presidential election?", "Has {one} won in {place}?"),
    "verdict": ("What is the verdict on {one}?", "Was {one} found guilty in {place}?"),
    "match": ("Who won the {place} Cup final?", "Did {one} beat {other}?"),
    "award": ("Who won the {place} Book Prize?", "Who got the {place} Book Prize?"),
}
SEARCH = {"tools": [{"type": "x_search"}], "tool_choice": "required"}


@dataclass(frozen=True)
class Question:
    """Something to ask."""

    text: str
    more: dict[str, Any] = field(default_factory=dict)
    """Further parts of the request."""


def asked(kind: str, scenarios: Sequence[Scenario]) -> list[Question]:
    """The questions of a kind."""
    lines = [line for part in questions().values() for line in part]
    match kind:
        case "small talk":
            return [Question(text) for text in SMALL_TALK]
        case "small talk with names":
            return [Question(text) for text in OF_NAMES]
        case "about the world":
            return [Question(f"What are people saying about this: {line}") for line in lines]
        case "search asked for":
            return [Question(line, SEARCH) for line in lines]
        case "about an event":
            return [Question(one.worded(text)) for one in scenarios for text in OUTCOMES[one.event.kind]]
    raise ValueError(f"no kind of question: {kind}")


QUESTION_KINDS = ("small talk", "about the world", "search asked for", "about an event")


# What the model says: sentences whose blanks are filled anew each time, so that hardly any is said twice.

PLAIN = (
    "It sounds like a {good} plan for a {slow} {afternoon}, and a short {walk} before it would do no harm.",
    "Start with something {slow}, take your time, and see how it feels after an {walk} or so of {reading}.",
    "Warm {water}, a little {salt} and some patience are all that the {slow} {dough} wants at first.",
    "The {garden} is {slow} in the early {afternoon}, and the {kettle} is never far away.",
    "Many people find that a {good} {afternoon} of {reading} helps more than any trick.",
    "You can always change your mind later, there is no {walk} in any of this {reading}.",
)
NAMED = (
    "You might like what Clara Winter wrote about {slow} walks along the old {garden}, and about a {kettle} there.",
    "It is a {good} song that Jonas Keller wrote about a {kettle} in a {slow} {garden}.",
)
SOBER = (
    "Counting continues in all {districts}, and {officials} expect further results later this {evening}.",
    "Turnout was {good} in the {districts}, and the queues at several polling stations were long.",
    "The commission says that postal ballots are still being checked and counted in the {districts}.",
    "{observers} report that voting was calm, and that polling stations in the {districts} closed on time.",
)
BLANKS = {
    "good": "good fine lovely decent pleasant modest useful friendly simple steady",
    "slow": "slow quiet calm long gentle small early mild warm orderly easy soft",
    "afternoon": "afternoon morning evening weekend hour summer winter season holiday night noon spring",
    "walk": "walk hour swim nap stroll ride pause visit call drive rest stretch",
    "reading": "reading cooking knitting music tennis painting writing sleep silence practice gardening baking",
    "water": "water milk tea oil butter honey broth juice cream yoghurt syrup vinegar",
    "salt": "salt sugar flour pepper yeast bran rye ginger nutmeg thyme mint sage",
    "dough": "dough bread batter crust loaf pastry cake bun roll pie tart biscuit",
    "garden": "garden kitchen canal orchard river meadow valley harbour library market forest path",
    "kettle": "kettle teapot lamp blanket radio chair stove bicycle window piano notebook ladder",
    "districts": "districts provinces regions suburbs towns villages boroughs wards islands valleys ports counties",
    "officials": "officials clerks observers volunteers editors judges reporters lawyers scrutineers staff",
    "evening": "evening morning afternoon week night day",
    "observers": "Observers Officials Clerks Volunteers Reporters Lawyers",
}
_BLANKS = {name: words.split() for name, words in BLANKS.items()}


def reply(question: str, words: int, seed: int | None) -> list[str]:
    """The words, so many of them, that the model says to a question: soberly of the world, else small talk, with names
    where those are asked for."""
    randomly = random.Random(seed)
    talk = (*NAMED, *PLAIN[:4]) if question in OF_NAMES else PLAIN if question in SMALL_TALK else SOBER
    found: list[str] = []
    for sentence in cycle(talk):
        if len(found) >= words:
            break
        found += sentence.format(**{name: randomly.choice(fit) for name, fit in _BLANKS.items()}).split()
    return found[:words]
