"""The count of the presidential election of 2020 in the United States, state by state, as it stood at each moment."""

from __future__ import annotations

import csv
import io
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard

from tests.replay import asks, wordings
from tests.replay.play import filled
from tests.replay.timelines import Timeline
from tests.replay.truth import Says
from tests.replay.world import Race, Side

BIDEN = Side("Joe Biden", "Biden", "Joe", False, "the challenger", "le candidat d'opposition", "Democratic Party")
TRUMP = Side("Donald Trump", "Trump", "Donald", False, "the incumbent", "le président sortant", "Republican Party")
SIDES = {"Biden": BIDEN, "Trump": TRUMP}
OPENS = datetime(2020, 11, 3, 10, tzinfo=UTC)
CLOSES = datetime(2020, 11, 4, 6, tzinfo=UTC)
"""When the last polls of the country closed."""
CALLS = {
    "Arizona": datetime(2020, 11, 4, 7, 50, tzinfo=UTC),
    "Michigan": datetime(2020, 11, 4, 22, 58, tzinfo=UTC),
    "Pennsylvania": datetime(2020, 11, 7, 16, 25, tzinfo=UTC),
    "Georgia": datetime(2020, 11, 19, 23, 0, tzinfo=UTC),
}
"""When one large agency called four of the states, all for Biden. The file itself holds no calls."""
FLIPS = {
    "Michigan": datetime(2020, 11, 4, 14, 15, tzinfo=UTC),
    "Georgia": datetime(2020, 11, 6, 9, 50, tzinfo=UTC),
    "Pennsylvania": datetime(2020, 11, 6, 13, 52, tzinfo=UTC),
}
"""When the lead changed after the first row, to the minute or so."""


@dataclass(frozen=True)
class Row:
    """One state of one count."""

    state: str
    at: datetime
    leading: Side
    trailing: Side
    leading_votes: int
    trailing_votes: int
    reporting: int
    precincts: int


def rows(shared: Path) -> dict[str, list[Row]]:
    """All rows by state, oldest first."""
    path = shared / "data" / "election-2020-timeseries" / "all-state-changes.csv.zst"
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file).read().decode("utf-8")
    found: dict[str, list[Row]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        state = re.sub(r" \(EV: \d+\)$", "", row["state"])
        found[state].append(
            Row(
                state,
                datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC, microsecond=0),
                SIDES[row["leading_candidate_name"]],
                SIDES[row["trailing_candidate_name"]],
                int(row["leading_candidate_votes"]),
                int(row["trailing_candidate_votes"]),
                int(row["precincts_reporting"]),
                int(row["precincts_total"]),
            )
        )
    return {state: sorted(some, key=lambda r: r.at) for state, some in sorted(found.items())}


def state_race(state: str) -> Race:
    match = (f"{state} presidential", f"{state} election", f"election in {state}", state)
    title = f"2020 presidential election in {state}"
    key = f"president-2020-{state.lower().replace(' ', '-')}"
    return Race(key, "election", title, match, state, "president", "président", (BIDEN, TRUMP), 2020, f"US {state}")


COUNT = (
    "{P}: {X} {va}, {Y} {vb}, {c}% of precincts reporting.",
    "{P} update: {X} leads with {va} votes, {Y} has {vb} ({c}% of precincts in).",
    "{P} : {X} est en tête avec {va} voix, {Y} en a {vb} ; {c} % des bureaux.",
)


def night(state: str, some: Sequence[Row], seed: int, *, quorum: int = 1, every: int = 1) -> Timeline:
    """A state's count as posts, a question after every `every`-th row, and the calls that are known."""
    rng, race = random.Random(f"{state}/{seed}"), state_race(state)
    sources = ("agency.example", "wire.example", "count.example")
    timeline = Timeline(race, rng, sources=sources, quorum=quorum, now=OPENS)
    window = {"opens": OPENS.isoformat(), "closes": CLOSES.isoformat()}
    timeline.event("open", **window)
    timeline.until(CLOSES + timedelta(minutes=1))
    timeline.event("counting", **window)
    called = CALLS.get(state)
    calls = [(called + timedelta(minutes=31 * n), s) for n, s in enumerate(sources[:quorum])] if called else []
    spoken = _announcements(race, rng)
    for number, row in enumerate(some):
        while calls and calls[0][0] <= row.at:
            _call(timeline, spoken, *calls.pop(0))
        timeline.until(row.at)
        _count(timeline, row)
        if rng.random() < 0.2:
            timeline.viral(rng.choice(race.sides), 1)
        if number % every == 0:
            _ask(timeline, spoken)
    for call in calls:
        _call(timeline, spoken, *call)
    return timeline


def _call(timeline: Timeline, spoken: list[tuple[str, str, str]], at: datetime, source: str) -> None:
    """The agency calls the state; somebody asks right before and right after."""
    timeline.until(at - timedelta(minutes=1))
    _ask(timeline, spoken)
    timeline.until(at)
    text = f"RACE CALL: Joe Biden wins {timeline.race.place}."
    timeline.post(source, text, says=Says(timeline.race.id, calls=BIDEN.name))
    _ask(timeline, spoken)


def _count(timeline: Timeline, row: Row) -> None:
    share = f"{100 * row.reporting / max(row.precincts, 1):.1f}".removesuffix(".0")
    template = timeline.rng.choice(COUNT)
    french = "bureaux" in template
    words = {
        "X": row.leading.name,
        "Y": row.trailing.name,
        "P": row.state,
        "va": f"{row.leading_votes:,}".replace(",", "\u202f" if french else ","),
        "vb": f"{row.trailing_votes:,}".replace(",", "\u202f" if french else ","),
        "c": share.replace(".", ",") if french else share,
    }
    needed = (str(row.leading_votes), str(row.trailing_votes))
    says = Says(timeline.race.id, counts=needed, leader=row.leading.short)
    timeline.post("count.example", template.format(**words), says=says, lang="fr" if french else "en")


def _announcements(race: Race, rng: random.Random) -> list[tuple[str, str, str]]:
    """Questions and announcements of either side, of those that speak of no office."""
    some: list[tuple[str, str, str]] = []
    for lang, groups, questions in (
        ("en", wordings.ENGLISH, asks.WHO_EN),
        ("fr", wordings.FRENCH, asks.WHO_FR),
    ):
        fit = [q for q in questions if "{O}" not in q]
        for side in race.sides:
            for texts in groups.values():
                for template in texts:
                    if "{O}" not in template:
                        question = filled(rng.choice(fit), race, side, lang)
                        some.append((question, filled(template, race, side, lang), side.name))
    rng.shuffle(some)
    return some


def _ask(timeline: Timeline, spoken: list[tuple[str, str, str]]) -> None:
    question, reply, claims = timeline.rng.choice(spoken)
    reply, said = timeline.replies.get(question, (reply, claims))
    timeline.ask(question, reply, said, about=timeline.race.id)
