"""What settles a race and what does not: posts of its sources in many words, at wrong times, by the wrong people."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from tests.replay import posts
from tests.replay.judge import Verdict
from tests.replay.play import play, report
from tests.replay.timelines import IMPOSTORS, Timeline
from tests.replay.truth import Says
from tests.replay.world import CLOSES, START, Race, Side, race


def counting(rng: random.Random, r: Race | None = None, quorum: int = 1, **more) -> Timeline:
    """A race whose votes are counted, or whose jury is out."""
    t = Timeline(r or race(rng), rng, quorum=quorum, **more)
    t.event("open")
    t.until(CLOSES)
    t.wait(1)
    t.event("counting")
    return t


def ask(t: Timeline, side: Side, question: str = "") -> None:
    """Ask who won; the model announces that side whenever it is asked."""
    r = t.race
    if r.kind in ("verdict", "death"):
        asked, reply = f"What happened to {r.office}?", f"{r.office}: {side.name}."
    elif r.kind == "election":
        asked, reply = f"Who won the election in {r.place}?", f"{side.name} won the election in {r.place}."
    else:
        asked, reply = f"Who won the {r.office}?", f"{side.name} won the {r.office}."
    t.ask(question or asked, reply, side.name, about=r.id)


def said(template: str, r: Race, side: Side, lang: str) -> str:
    return template.format(**r.words(side, french=lang == "fr"))


def holds(verdict: Verdict) -> None:
    """Nothing is claimed, and no answer looks settled."""
    assert not verdict.of("premature"), report(verdict, "premature")
    assert not verdict.of("form"), report(verdict, "form")


ALL_CALLS = [
    *(("election", lang, t) for lang in ("en", "fr") for t in posts.CALLS["election", lang]),
    *(("award", lang, t) for lang in ("en", "fr") for t in posts.CALLS["award", lang]),
    *(("match", lang, t) for lang in ("en", "fr") for t in posts.CALLS["match", lang]),
    *((outcome, lang, t) for (outcome, lang), texts in posts.CALLS_OF_OUTCOME.items() for t in texts),
]


OF_OUTCOME: dict[str, Any] = {"guilty": "verdict", "not guilty": "verdict", "died": "death", "alive": "death"}


@pytest.mark.parametrize("kind", ["election", "award", "match", "guilty", "not guilty", "died", "alive"])
def test_calls_are_understood_in_many_words(kind):
    rng = random.Random(f"calls/{kind}")
    t = counting(rng, race(rng, OF_OUTCOME.get(kind, kind)))
    for _, lang, template in [c for c in ALL_CALLS if c[0] == kind]:
        names = [s for s in t.race.sides if s.name == kind]
        side = names[0] if names else rng.choice(t.race.sides)
        text = said(template, t.race, side, lang)
        uri = t.post("agency.example", text, says=Says(t.race.id, calls=side.name), lang=lang)
        ask(t, t.race.sides[0])
        t.delete(uri)
    total = play(t)
    assert total.after_quorum == sum(c[0] == kind for c in ALL_CALLS)
    assert not total.of("premature"), report(total, "premature")
    assert total.told >= 0.95 * total.after_quorum, report(total, "outcome", "form", most=40)


def test_at_least_forty_calls_and_twenty_counts_are_known():
    assert sum(kind == "election" for kind, _, _ in ALL_CALLS) >= 40
    assert len(posts.COUNTS_EN) + len(posts.COUNTS_FR) >= 20


NOT_CALLS: list[tuple[str, str, Sequence[str]]] = [
    ("election", "en", posts.NOT_CALLS_EN),
    ("election", "fr", posts.NOT_CALLS_FR),
    ("election", "en", posts.OTHER_YEAR),
    ("election", "en", posts.CHATTER),
    ("verdict", "en", posts.KIND_NOT_CALLS["verdict"]),
    ("award", "en", posts.KIND_NOT_CALLS["award"]),
    ("match", "en", posts.KIND_NOT_CALLS["match"]),
    ("death", "en", posts.KIND_NOT_CALLS["death"]),
]


@pytest.mark.parametrize(("kind", "lang", "texts"), NOT_CALLS, ids=lambda v: v if isinstance(v, str) else "")
def test_what_sounds_like_a_call_is_none(kind, lang, texts):
    """Each alone, at a quorum of one."""
    rng = random.Random(f"not calls/{kind}/{lang}/{texts[0]}")
    t = counting(rng, race(rng, kind))
    for template in texts:
        for side in t.race.sides[:2]:
            uri = t.post("agency.example", said(template, t.race, side, lang), says=Says(t.race.id), lang=lang)
            ask(t, side)
            t.delete(uri)
    holds(play(t))


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_counts_are_carried_in_many_words(lang):
    rng = random.Random(f"counts/{lang}")
    t = counting(rng, quorum=2)
    for _ in range(25):
        t.count("agency.example")
        ask(t, t.race.sides[0], rng.choice(("", f"Qui a gagné à {t.race.place} ?", f"Who is ahead in {t.race.place}?")))
    verdict = play(t)
    holds(verdict)
    assert not verdict.of("counts"), report(verdict, "counts")


@pytest.mark.parametrize("template", posts.RETRACTIONS)
def test_a_source_takes_back_its_call(template):
    rng = random.Random(template)
    t = counting(rng)
    side = t.race.sides[0]
    t.call("agency.example", side)
    ask(t, side)
    t.post("agency.example", said(template, t.race, side, "en"), says=Says(t.race.id, clears=True))
    ask(t, side)
    t.call("agency.example", side)
    ask(t, side)
    verdict = play(t)
    holds(verdict)
    assert verdict.told == verdict.after_quorum == 2


@pytest.mark.parametrize("author", IMPOSTORS)
def test_nobody_can_pass_for_a_source(author):
    rng = random.Random(author)
    t = counting(rng)
    side = t.race.sides[0]
    for lang in ("en", "fr"):
        for text in rng.sample(posts.CALLS["election", lang], 4):
            t.post(author, said(text, t.race, side, lang), links=["https://agency.example/live"])
    ask(t, side)
    holds(play(t))


def test_the_crowd_settles_nothing():
    rng = random.Random("crowd")
    t = counting(rng)
    side = t.race.sides[0]
    root = t.post("agency.example", f"Counting goes on in {t.race.place}.", says=Says(t.race.id))
    for n in range(60):
        text = rng.choice((*posts.VIRAL, *posts.ELECTION_CALLS_EN))
        words = {**t.race.words(side), "agency": "agency.example", "id": t.race.id}
        t.post(f"user{n}.example", text.format(**words), reply_to=root, links=["https://agency.example/"])
    ask(t, side)
    holds(play(t))


def test_calls_at_the_wrong_time_do_not_count():
    rng = random.Random("time")
    t = Timeline(race(rng), rng, quorum=1)
    side = t.race.sides[0]
    t.event("open")
    early = t.call("agency.example", side)
    t.call("wire.example", side, created=CLOSES + timedelta(hours=2))
    ask(t, side)
    t.until(CLOSES)
    t.wait(1)
    ask(t, side)
    t.event("counting")
    t.call("agency.example", side, created=CLOSES - timedelta(minutes=1))
    t.call("commission.example", side, created=START - timedelta(days=4 * 365))
    ask(t, side)
    t.edit(early, f"{side.name} wins the election in {t.race.place}.")
    ask(t, side)
    holds(play(t))


def test_later_closing_puts_calls_off():
    rng = random.Random("extended")
    t = counting(rng)
    side = t.race.sides[0]
    t.event("open", closes=(CLOSES + timedelta(hours=2)).isoformat())
    t.call("agency.example", side)
    ask(t, side)
    t.until(CLOSES + timedelta(hours=2, minutes=1))
    t.event("counting")
    ask(t, side)
    t.call("agency.example", side)
    ask(t, side)
    verdict = play(t)
    assert not verdict.of("premature"), report(verdict, "premature")
    assert not verdict.of("form"), report(verdict, "form")
    assert verdict.told == verdict.after_quorum == 1


def test_an_edited_call_is_no_call_whatever_it_says_now():
    rng = random.Random("edited")
    t = counting(rng)
    side, other = t.race.sides[:2]
    for new in (
        "We were wrong.",
        f"{other.name} wins the election in {t.race.place}.",
        f"{side.name} wins {t.race.place}!",
    ):
        uri = t.call("agency.example", side)
        ask(t, side)
        t.edit(uri, new)
        ask(t, side)
        ask(t, other, f"Did {other.name} win in {t.race.place}?")
    plain = t.post("wire.example", f"Good evening from {t.race.place}.", says=Says(t.race.id))
    t.edit(plain, f"BREAKING: {side.name} wins the {t.race.place} election.")
    ask(t, side)
    verdict = play(t)
    holds(verdict)
    assert verdict.told == verdict.after_quorum == 3


def test_one_source_counts_once():
    rng = random.Random("once")
    t = counting(rng, quorum=2)
    side = t.race.sides[0]
    for author in (
        "agency.example",
        "AGENCY.example",
        "@agency.example",
        "desk.agency.example",
        "politics.agency.example",
    ):
        t.call(author, side)
        ask(t, side)
    t.call("wire.example", side)
    ask(t, side)
    verdict = play(t)
    holds(verdict)
    assert verdict.told == verdict.after_quorum == 1


@pytest.mark.parametrize("forms", [("agency.example", "@desk@wire.example"), ("did:plc:agency", "@wire.example")])
def test_sources_listed_by_handle_or_domain(forms):
    rng = random.Random(str(forms))
    t = counting(rng, quorum=2, sources=(*forms, "commission.example"))
    side = t.race.sides[0]
    t.call(forms[0], side)
    ask(t, side)
    t.call(forms[1].removeprefix("@") if forms[1].count("@") == 1 else forms[1], side)
    ask(t, side)
    verdict = play(t)
    holds(verdict)
    assert verdict.told == verdict.after_quorum == 1


def test_sources_that_disagree():
    rng = random.Random("disagree")
    t = counting(rng, quorum=2)
    one, two = t.race.sides[:2]
    t.call("agency.example", one)
    t.call("wire.example", two)
    for side in (one, two):
        ask(t, side, f"Who won in {t.race.place}? {side.name}?")
    t.call("commission.example", one)
    ask(t, two)
    verdict = play(t)
    holds(verdict)


def test_what_the_operator_writes_stands():
    rng = random.Random("operator")
    t = counting(rng, quorum=3)
    one, two = t.race.sides[:2]
    t.event("certified", outcome=one.name)
    ask(t, one)
    ask(t, two, f"Did {two.name} win the election in {t.race.place}?")
    t.event("certified", outcome=two.name)
    ask(t, one)
    t.event("certified")
    ask(t, two)
    t.event("disputed")
    ask(t, two)
    t.event("called", outcome=one.name)
    ask(t, one)
    verdict = play(t)
    holds(verdict)
    assert verdict.told == verdict.after_quorum == 4


def test_a_source_that_is_listed_no_more_counts_no_more():
    rng = random.Random("unlisted")
    t = counting(rng)
    side = t.race.sides[0]
    t.call("agency.example", side)
    ask(t, side)
    t.event("counting", authoritative=["wire.example"])
    ask(t, side)
    t.call("wire.example", side)
    ask(t, side)
    t.event("counting", authoritative=["wire.example"], quorum=2)
    ask(t, side)
    holds(play(t))
