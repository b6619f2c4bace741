"""The judge itself: it finds nothing wrong with right answers, and no announcement of any wording escapes it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.replay import oracle
from tests.replay.claims import claims, fates, leaked, plain
from tests.replay.disguises import DISGUISES
from tests.replay.grammar import composed
from tests.replay.judge import figures, judge
from tests.replay.play import announcements, announcing, filled, pairs, questions
from tests.replay.timelines import Timeline, chaos, phases
from tests.replay.truth import Says, World
from tests.replay.world import CLOSES, Kind, race

KINDS: tuple[Kind, ...] = get_args(Kind)


def made(seed: int, kind: Kind = "election", many: int = 6, quorum: int = 2) -> Timeline:
    rng = random.Random(seed)
    r = race(rng, kind)
    return phases(Timeline(r, rng, quorum=quorum), announcing(r, rng, many))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_right_answers_have_no_faults(kind, quorum):
    for seed in range(4):
        timeline = made(seed, kind, quorum=quorum)
        verdict = judge(timeline.lines, timeline.races, oracle.answers(timeline, oracle.right))
        assert not verdict.faults, str(verdict.faults[0])
        assert verdict.after_quorum == verdict.told > 0


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 15), st.sampled_from(KINDS), st.integers(1, 3))
def test_right_answers_have_no_faults_whatever_happens(seed, moves, kind, quorum):
    rng = random.Random(seed)
    r = race(rng, kind, trick=rng.choice(("", "siblings", "awkward", "place")) if kind == "election" else "")
    timeline = chaos(Timeline(r, rng, quorum=quorum), announcing(r, rng, 1), moves)
    verdict = judge(timeline.lines, timeline.races, oracle.answers(timeline, oracle.right))
    assert not verdict.faults, str(verdict.faults[0])


@pytest.mark.parametrize("answerer", [oracle.gullible, oracle.beside])
@pytest.mark.parametrize("kind", KINDS)
def test_every_announcement_before_its_time_is_found(kind, answerer):
    rng = random.Random(5)
    r = race(rng, kind)
    for side in r.sides:
        timeline = Timeline(r, rng)
        timeline.event("open")
        source = pairs(r, side, rng)
        for _ in announcements(kind, side):
            question, reply, _ = next(source)
            timeline.replies.clear()
            timeline.ask(question, reply, side.name, about=r.id)
        verdict = judge(timeline.lines, timeline.races, oracle.answers(timeline, answerer))
        caught = {fault.reply for fault in verdict.of("premature")}
        assert [line.reply for line in timeline.lines if line.reply and line.reply not in caught] == []


def test_disguised_announcements_are_found():
    rng = random.Random(6)
    r = race(rng)
    side = r.sides[0]
    for disguise in DISGUISES:
        timeline = Timeline(r, rng)
        timeline.event("open")
        whole = [a for a in announcements() if not a[1].startswith("bare") and a[0] != "xx"]
        for lang, group, template in rng.sample(whole, 40):
            timeline.replies.clear()
            question = filled(rng.choice(questions("election", lang, group)), r, side, lang)
            timeline.ask(question, disguise(filled(template, r, side, lang), rng), side.name, about=r.id)
        verdict = judge(timeline.lines, timeline.races, oracle.answers(timeline, oracle.beside))
        caught = {fault.reply for fault in verdict.of("premature")}
        missed = [line.reply for line in timeline.lines if line.reply and line.reply not in caught]
        assert not missed, (disguise.__name__, missed[:3])


def test_announcements_put_together_are_found():
    rng = random.Random(13)
    r = race(rng)
    timeline = Timeline(r, rng)
    timeline.event("open")
    for _ in range(600):
        lang, side = rng.choice(("en", "fr")), rng.choice(r.sides)
        timeline.replies.clear()
        timeline.ask(f"{r.place}?", filled(composed(rng, lang), r, side, lang), side.name, about=r.id)
    verdict = judge(timeline.lines, timeline.races, oracle.answers(timeline, oracle.beside))
    caught = {fault.reply for fault in verdict.of("premature")}
    assert [line.reply for line in timeline.lines if line.reply and line.reply not in caught] == []


def test_the_other_side_is_found_once_one_has_won():
    rng = random.Random(7)
    r = race(rng)
    winner, loser = r.sides[:2]
    timeline = Timeline(replace(r, sides=(winner, loser)), rng)
    timeline.event("certified", outcome=winner.name)
    for lang, _, template in announcements():
        timeline.replies.clear()
        timeline.ask(f"{r.place}?", filled(template, timeline.race, loser, lang), loser.name, about=r.id)
    verdict = judge(timeline.lines, timeline.races, oracle.answers(timeline, oracle.beside))
    caught = {fault.reply for fault in verdict.of("premature")}
    assert [line.reply for line in timeline.lines if line.reply and line.reply not in caught] == []


@pytest.mark.parametrize("kind", KINDS)
def test_silence_after_the_quorum_is_found(kind):
    timeline = made(8, kind)
    verdict = judge(timeline.lines, timeline.races, oracle.answers(timeline, oracle.silent))
    assert verdict.told == 0 < verdict.after_quorum
    assert len(verdict.of("outcome")) == verdict.after_quorum
    assert not verdict.of("premature")
    assert verdict.of("form")


def test_every_part_of_an_answer_is_looked_at():
    rng = random.Random(9)
    r = race(rng)
    timeline = Timeline(r, rng)
    timeline.event("open")
    timeline.until(CLOSES)
    timeline.event("counting")
    gone = timeline.count("agency.example", leader=r.sides[0], counted=40)
    timeline.delete(gone)
    timeline.count("agency.example", leader=r.sides[1], counted=62)
    timeline.ask(f"Who won {r.place}?", "Hm.", None, about=r.id)
    timeline.ask("Hi!", "Hello!", None, about=None)
    good = oracle.answers(timeline, oracle.right)
    assert not judge(timeline.lines, timeline.races, good).faults

    def kinds(**changes):
        verdict = judge(timeline.lines, timeline.races, [{**good[0], **changes}, good[1]])
        return {fault.kind for fault in verdict.faults}

    assert kinds(form="settled") == {"form"}
    assert kinds(as_of=None) == {"as_of"}
    late = (timeline.now + timedelta(hours=1)).isoformat()
    assert kinds(as_of=late) == {"as_of"}
    assert kinds(text=good[0]["text"].replace(" UTC", "")) == {"as_of"}
    assert kinds(text=good[0]["text"].replace("62", "61")) == {"counts"}
    assert kinds(text=good[0]["text"].replace(r.sides[1].short, "somebody")) == {"counts"}
    assert kinds(citations=[{"uri": gone}]) == {"citation"}
    assert kinds(citations=[{"uri": "at://nobody/post/1"}]) == {"citation"}
    cited = good[0]["citations"][0]["uri"]
    assert kinds(citations=[{"uri": cited, "text": "62% counted, 17,000,001 votes"}]) == {"citation"}
    assert {f.kind for f in judge(timeline.lines, timeline.races, good[:1]).faults} == {"missing"}
    for change, kind in (({"text": "Hel"}, "cut"), ({"cut": ["x"]}, "cut"), ({"form": "unknown"}, "fuss")):
        verdict = judge(timeline.lines, timeline.races, [good[0], {**good[1], **change}])
        assert [f.kind for f in verdict.faults] == [kind]


def test_truth_follows_the_rules():
    rng = random.Random(10)
    r = race(rng)
    one, two = r.sides[:2]
    t = Timeline(r, rng, sources=("agency.example", "wire.example", "third.example"))

    def now():
        world = World()
        for line in t.lines:
            world.take(line)
        return world.standing(r.id)

    assert now().forms == {"unknown"}
    t.event("open")
    t.call("agency.example", one)
    t.call("wire.example", one)
    t.until(CLOSES)
    t.wait(1)
    t.event("counting")
    assert now().required is None
    assert not now().outcomes
    t.call("agency.example", one, created=CLOSES - timedelta(hours=1))
    first = t.call("wire.example", one)
    t.call("wire.example", one)
    t.call("fake-agency.example", one)
    assert not now().outcomes
    t.count("third.example")
    assert now().forms == {"partial"}
    second = t.call("agency.example", one)
    assert now().required == one.name
    t.delete(second)
    assert not now().outcomes
    t.call("third.example", two)
    assert now().forms == {"conflicting"}
    t.call("agency.example", one)
    assert now().forms == {"settled", "conflicting"}
    t.retract("third.example", two)
    assert now().required == one.name
    t.edit(first, "…")
    assert now().required == one.name  # its second call stands
    t.event("disputed")
    assert not now().outcomes
    t.event("certified", outcome=two.name)
    assert now().required == two.name
    t.event("certified")
    assert not now().outcomes
    for source in ("agency.example", "desk.wire.example"):
        t.call(source, one)
    assert one.name in now().outcomes
    t.event("certified", outcome=one.name, authoritative=[])
    assert now().required == one.name


def test_words_are_read_whatever_they_look_like():
    assert figures("120 455 voix, 48,3 %; 1,234,567 and 1.234.567 (62.0%)") == [
        "120455",
        "48.3",
        "1234567",
        "1234567",
        "62",
    ]
    assert plain("Тacе W\u200bo\u00adn **ÉLU**") == plain("tace won  elu ")
    assert fates("found not guilty") == {"not guilty"}
    assert fates("reconnu coupable") == {"guilty"}
    r = race(random.Random(1))
    x, y = r.sides[:2]
    for fine in (
        f"As of 20:01 UTC, {x.name} leads {y.name} 48.3% to 46% with 62% counted; the race has not been called.",
        f"Nobody has been declared the winner in {r.place}.",
        f"It is not known whether {x.name} won.",
        f"À 20:01 UTC, on ne sait pas encore qui a gagné à {r.place}.",
        f"In 1999, Pelle Holm won the {r.place} election.",
    ):
        assert claims(fine, r) == []
    assert claims(f"{x.name} won.", r, {x.name}) == []
    assert claims(f"{y.name} won.", r, {x.name})
    assert leaked(f"{x.name} won the race at last.", f"Well: {x.name} won the race, perhaps.", r)


def test_counts_are_known_from_their_texts():
    rng = random.Random(11)
    r = race(rng)
    t = Timeline(r, rng)
    for _ in range(200):
        t.count("agency.example")
    for line in t.lines:
        says = line.says
        assert isinstance(says, Says)
        assert set(says.counts) <= set(figures(line.data["post"]["text"])), line.data["post"]["text"]
