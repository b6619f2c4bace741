"""The count of 2020: nothing is called before it was, and answers follow the figures."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.replay import oracle
from tests.replay.claims import plain
from tests.replay.count2020 import CALLS, FLIPS, SIDES, Row, night, rows
from tests.replay.judge import Verdict, judge
from tests.replay.play import answered, play, report
from tests.replay.timelines import Timeline


@pytest.fixture(scope="module")
def states(shared: Path) -> dict[str, list[Row]]:
    if not (shared / "data" / "election-2020-timeseries").is_dir():
        pytest.skip("the count of 2020 (data/election-2020-timeseries) is not here")
    return rows(shared)


def some_of(all_rows: list[Row], state: str, many: int) -> list[Row]:
    """Rows spread over the count, and those around what happened in it."""
    step = max(1, len(all_rows) // many)
    wanted = {*range(0, len(all_rows), step), len(all_rows) - 1}
    for moment in (FLIPS.get(state), CALLS.get(state)):
        if moment:
            wanted |= {i for i, row in enumerate(all_rows) if abs(row.at - moment) < timedelta(minutes=45)}
    return [all_rows[i] for i in sorted(wanted)]


def check(verdict: Verdict) -> None:
    assert not verdict.of("premature"), report(verdict, "premature")
    assert verdict.told >= 0.95 * verdict.after_quorum, report(verdict, "outcome", "form")
    for kind in ("counts", "as_of", "citation", "missing", "form"):
        assert not verdict.of(kind), report(verdict, kind)


def test_the_file_is_what_it_is_said_to_be(states):
    assert len(states) == 51
    assert sum(map(len, states.values())) == 3406
    for state, moment in FLIPS.items():
        leads = [(row.at, row.leading) for row in states[state]]
        flips = [at for (_, before), (at, after) in pairwise(leads) if before != after]
        assert any(abs(at - moment) <= timedelta(minutes=6) for at in flips), (state, flips)


def test_the_judge_agrees_with_right_answers_on_the_count(states):
    for state in CALLS:
        timeline = night(state, some_of(states[state], state, 10), 0, quorum=2)
        verdict = judge(timeline.lines, timeline.races, oracle.answers(timeline, oracle.right))
        assert not verdict.faults, report(verdict)
        gullible = judge(timeline.lines, timeline.races, oracle.answers(timeline, oracle.gullible))
        assert gullible.of("premature")


@pytest.mark.parametrize("quorum", [1, 2])
@pytest.mark.parametrize("state", CALLS)
def test_called_states(states, state, quorum):
    check(play(night(state, some_of(states[state], state, 6), quorum, quorum=quorum)))


def test_states_that_nobody_called(states):
    total = Verdict()
    for state in [s for s in states if s not in CALLS][::4]:
        total.add(play(night(state, some_of(states[state], state, 2), 3)))
    check(total)


@pytest.mark.parametrize("state", FLIPS)
def test_the_lead_is_followed(states, state):
    moment = FLIPS[state]
    around = [row for row in states[state] if abs(row.at - moment) < timedelta(hours=3)]
    timeline = night(state, around, 5, quorum=2)
    timeline.lines = [line for line in timeline.lines if line.says is None or not line.says.calls]
    verdict, leaders = play_leaders(timeline)
    check(verdict)
    expected = [row.leading.short for row in around]
    assert len(set(expected)) == 2
    assert leaders[: len(expected)] == expected


def play_leaders(timeline: Timeline) -> tuple[Verdict, list[str]]:
    """The verdict, and whom each answer names first."""
    answers = answered(timeline.played())
    places = [{name: plain(a["text"]).find(plain(name)) for name in SIDES} for a in answers]
    leaders = [min((n for n, at in p.items() if at >= 0), key=lambda n: p[n], default="") for p in places]
    return judge(timeline.lines, timeline.races, answers), leaders


@pytest.mark.slow
def test_every_row(states):
    total = Verdict()
    for number, (state, found) in enumerate(states.items()):
        total.add(play(night(state, found, 7, quorum=1 + number % 2)))
    assert total.gated >= 3406
    check(total)
