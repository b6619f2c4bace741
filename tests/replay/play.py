"""Plays timelines against the assistant and hands its answers to the judge."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lindos.assistant.replay import replay
from lindos.server.in_process import asking_in_process
from tests.replay import asks, wordings, wordings_kinds
from tests.replay.judge import Verdict, judge
from tests.replay.timelines import Timeline
from tests.replay.world import Kind, Race, Side

FRENCH_QUESTIONS = {
    *asks.WHO_FR,
    *asks.YES_NO_FR,
    *(text for (_, lang), texts in wordings_kinds.ASKED.items() if lang == "fr" for text in texts),
}


def answered(lines: Sequence[Mapping[str, Any]], model: str | None = None) -> list[dict[str, Any]]:
    """The answers of a replay whose routes are those of the real application."""
    return replay(lines, model=model, asker=asking_in_process)


def play(timeline: Timeline, model: str | None = None) -> Verdict:
    """Run a timeline and judge it."""
    return judge(timeline.lines, timeline.races, answered(timeline.played(), model))


def report(verdict: Verdict, *kinds: str, most: int = 8) -> str:
    """The faults of some kinds, the first of each detail's beginning, for people to look at."""
    faults = [f for f in verdict.faults if not kinds or f.kind in kinds]
    return f"{len(faults)} faults in {verdict.gated} gated answers\n" + "\n".join(map(str, faults[:most]))


def announcements(kind: Kind = "election", side: Side | None = None) -> list[tuple[str, str, str]]:
    """Every wording of an announcement: language, group, template."""
    if kind == "election":
        found = [("en", group, text) for group, texts in wordings.ENGLISH.items() for text in texts]
        found += [("fr", group, text) for group, texts in wordings.FRENCH.items() for text in texts]
        found += [("xx", "unknown language", text) for text in wordings.UNKNOWN]
        found += [("en", "bare yes", text) for text in wordings.YES_EN]
        return found + [("fr", "bare yes", text) for text in wordings.YES_FR]
    if kind in ("verdict", "death"):
        assert side is not None
        return [(lang, kind, text) for lang, texts in wordings_kinds.OF_OUTCOME[side.name].items() for text in texts]
    return [(lang, kind, text) for lang in ("en", "fr") for text in wordings_kinds.ANNOUNCED[kind, lang]]


def questions(kind: Kind, lang: str, group: str) -> Sequence[str]:
    """Questions that go with an announcement; a bare yes goes with a question that names the winner."""
    if kind != "election":
        return wordings_kinds.ASKED[kind, "fr" if lang == "fr" else "en"]
    if lang == "xx":
        return (*asks.OTHER, *asks.WHO_EN)
    if group == "bare yes":
        # "Did Y concede?" is among them: a yes to it announces X as well.
        return asks.YES_NO_FR if lang == "fr" else asks.YES_NO_EN
    return (*asks.WHO_FR, *asks.YES_NO_FR) if lang == "fr" else (*asks.WHO_EN, *asks.YES_NO_EN)


def filled(template: str, race: Race, side: Side, lang: str) -> str:
    return template.format(**race.words(side, french=lang == "fr"))


def pairs(race: Race, side: Side, rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Question, announcement of the side, and its language, without end: each wording once before any comes again."""
    while True:
        wanted = announcements(race.kind, side)
        rng.shuffle(wanted)
        for lang, group, template in wanted:
            question = rng.choice(questions(race.kind, lang, group))
            # Now and then the model answers in the other language.
            if group not in ("bare yes", "bare") and lang in ("en", "fr") and rng.random() < 0.15:
                question = rng.choice(questions(race.kind, "fr" if lang == "en" else "en", group))
            asked_in = "fr" if question in FRENCH_QUESTIONS else "en"
            yield filled(question, race, side, asked_in), filled(template, race, side, lang), lang


def announcing(race: Race, rng: random.Random, many: int, side: Side | None = None) -> Any:
    """Asks `many` questions a phase, each with its own announcement of `side`, or of one that is drawn."""
    sources = {s.name: pairs(race, s, rng) for s in race.sides}

    def ask(timeline: Timeline, phase: str) -> None:
        asked = 0
        while asked < many:
            chosen = side or rng.choice(race.sides)
            question, reply, _ = next(sources[chosen.name])
            if question in timeline.replies and timeline.replies[question][0] != reply:
                # The model's answer to it is set already; asked again it says the same.
                if rng.random() < 0.7:
                    continue
                reply, claims = timeline.replies[question]
            else:
                claims = chosen.name
            timeline.ask(question, reply, claims, about=race.id)
            asked += 1

    return ask
