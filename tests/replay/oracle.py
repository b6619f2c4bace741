"""Answerers that need no assistant: one that is always right, one that repeats the model, one that says nothing.

The judge is tested on them: it must find nothing wrong with the first and everything with the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.replay.timelines import Timeline
from tests.replay.truth import Line, Standing, World
from tests.replay.world import Race

Answerer = Callable[[Line, Standing, World, Race], dict[str, Any]]


def answers(timeline: Timeline, answerer: Answerer) -> list[dict[str, Any]]:
    """What the answerer says to every question of a timeline."""
    world, found = World(), []
    for line in timeline.lines:
        if "ask" not in line.data:
            world.take(line)
        elif line.about is None:
            found.append(_answer(line.reply, "none", None))
        else:
            race = timeline.races[line.about]
            found.append(answerer(line, world.standing(line.about), world, race))
    return [{"ask_index": index, **answer} for index, answer in enumerate(found)]


def _answer(text: str, form: str, at: str | None, citations: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"text": text, "form": form, "as_of": at, "citations": citations or [], "cut": []}


def right(line: Line, standing: Standing, world: World, race: Race) -> dict[str, Any]:
    """The answer that the rules ask for."""
    at = line.data["at"]
    clock = f"{at[11:16]} UTC"
    form = sorted(standing.forms)[-1] if standing.required else sorted(standing.forms)[0]
    if form == "settled":
        outcome = standing.required or next(iter(standing.outcomes))
        tail = {"guilty": "found guilty", "not guilty": "found not guilty", "died": "has died", "alive": "is alive"}
        told = f"{race.office}: {tail[outcome]}." if outcome in tail else f"{outcome} won."
        return _answer(f"As of {clock}: {race.title}. {told}", form, at)
    if form == "partial" and standing.counts:
        post = next(p for p in world.posts.values() if p.says is standing.counts)
        figures = ", ".join(standing.counts.counts)
        text = f"As of {clock}, {standing.counts.leader} leads ({figures}); nobody has been declared the winner."
        return _answer(text, form, at, [{"uri": post.uri, "text": post.text}])
    if form == "conflicting":
        names = " and ".join(sorted(standing.called)) or "different things"
        return _answer(f"As of {clock} the sources disagree: they say {names}.", form, at)
    return _answer(f"As of {clock} it is not known who won; no winner has been declared.", "unknown", at)


def gullible(line: Line, standing: Standing, world: World, race: Race) -> dict[str, Any]:
    """The model, word for word, with a fine form around it."""
    return {**right(line, standing, world, race), "text": line.reply}


def beside(line: Line, standing: Standing, world: World, race: Race) -> dict[str, Any]:
    """A disclaimer beside the false claim."""
    answer = right(line, standing, world, race)
    return {**answer, "text": f"{answer['text']} {line.reply}"}


def silent(line: Line, standing: Standing, world: World, race: Race) -> dict[str, Any]:
    """Safe and useless."""
    return _answer(f"As of {line.data['at'][11:16]} UTC I do not know.", "unknown", line.data["at"])


def last_words(line: Line, standing: Standing, world: World, race: Race) -> dict[str, Any]:
    """Only the end of what the model says: a gate that cuts sentences in the wrong place."""
    answer = right(line, standing, world, race)
    tail = " ".join(re.split(r"\s+", line.reply)[-6:])
    return {**answer, "text": f"{answer['text']} … {tail}"}
