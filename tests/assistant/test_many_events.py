"""A register of many events: what is remembered and left out changes nothing of what is found."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lindos.assistant.settlement import Event, Events, Scene, Standing
from lindos.assistant.settlement.bearings import Bearings
from lindos.assistant.settlement.claims import _announces, _announces_undeclared, _watchful
from lindos.assistant.settlement.linking import linked
from lindos.assistant.settlement.names import cast_of, masked
from lindos.knowledge import Deleted, Edited, Post, Posts
from lindos.storage import Database

NOW = datetime(2031, 5, 4, 21, tzinfo=UTC)


def event(title: str, *match: str, kind: str = "election", place: str = "", **more: object) -> Event:
    fields = {"opens": "2031-05-04T06:00Z", "closes": "2031-05-04T20:00Z", "state": "counting", "quorum": 1}
    names = {"id": title.lower(), "title": title, "match": list(match), "kind": kind, "jurisdiction": place}
    return Event.parse({**fields, **names, "authoritative": ["a.example", "b.example"], **more})


EVENTS = [
    event("Veldoria presidential election", "the race", place="Veldoria"),
    event("Veldoria mayoral election", "of the", place="Vieux-Lac"),
    event("Trial of Orlin Tace in Korrund", kind="verdict", place="Korrund"),
    event("Harlow Cup final: Ashdown v Doul United", kind="match"),
    event("Book Prize", kind="award", outcome="Maren Doul", state="called"),
    event("Maren Doul", "de la", kind="death"),
]
PEOPLE = {0: ["Orlin Tace", "Maren Doul"], 2: ["Orlin Tace"], 5: ["Maren Doul"]}
SAID = """
Veldoria Veldorian Veldorians presidential presidency election mayoral mayor the race of la Vieux-Lac vieux lac trial
Orlin Tace tace Korrund Korrunds Harlow Cup cup final Ashdown Doul doul United book Book Prize prize Maren has won wins
lost guilty died dead is are said leads with 51,234 votes tonight in 2019 She she it not yet nobody a gagné perdu est
élu wer hat gewonnen BREAKING: 🏆 . ? ! The sea wide and winner new president
"""
WORDS = st.sampled_from(SAID.split())
TEXTS = st.lists(WORDS, min_size=1, max_size=9).map(" ".join)


def standings() -> tuple[Standing, ...]:
    found = []
    for number, one in enumerate(EVENTS):
        cast = cast_of(one).with_people(PEOPLE.get(number, []))
        form = "settled" if one.settled else "unknown"
        found.append(Standing(one, one.state, form, cast, one.outcome))
    return tuple(found)


@given(TEXTS, st.integers(0, len(EVENTS) - 1), st.booleans())
def test_what_a_post_is_about_is_what_all_events_looked_at_one_by_one_tell(text: str, number: int, known: bool):
    one = EVENTS[number]
    extra = PEOPLE.get(number, []) if known else []
    post = Post("test", "x:1", "a.example", text, NOW)
    sources_say = [
        Post("test", f"x:{place}", "a.example", f"{one.title}: {name}.", NOW) for place, name in enumerate(extra)
    ]
    cast, about = Bearings(EVENTS).about(one, [("a.example", found) for found in (post, *sources_say)])
    everyone = [(other, cast if other is one else cast_of(other)) for other in EVENTS]
    best = linked(text, everyone)
    clear = len(best) == 1 or (best and best[0][2].strength >= 3)
    assert (("a.example", post) in about) == bool(clear and any(found[0] is one for found in best))


@given(TEXTS, st.sampled_from(["", "past", "fiction", "quoted"]))
def test_a_sentence_is_held_against_every_event(text: str, of: str):
    scene = Scene("watchful", NOW, standings(), past=of == "past", fiction=of == "fiction", quoted=of == "quoted")
    one_by_one = [reason for standing in scene.standings if (reason := _announces(text, standing, scene))]
    undeclared = _announces_undeclared(text, scene)
    assert _watchful(text, scene) == next(iter(one_by_one), undeclared)


@given(TEXTS, st.integers(0, len(EVENTS) - 1), st.booleans())
def test_names_are_masked_by_those_words_of_a_cast_that_stand_there(text: str, number: int, first: bool):
    cast = standings()[number].cast
    more = cast.with_people(["Unheard Person", "Never Said"])
    assert masked(text, cast, first=first) == masked(text, more, first=first)


def test_standings_follow_posts_and_records(tmp_path: Path):
    """What is kept of the last question never outlives what it rests on."""
    clock = [NOW]

    async def work() -> None:
        async with await Database.open(tmp_path / "lindos.db") as database:
            posts, asked = Posts(database), Events(database, Posts(database), lambda: clock[0])

            async def same() -> dict[str, Standing]:
                found = await asked.standings()
                assert found == await Events(database, posts, lambda: clock[0]).standings()
                return found

            assert await same() == {}
            for one in EVENTS:
                await asked.put(one)
            first = EVENTS[0]
            assert (await same())[first.id].form == "unknown"
            call = _said(1, "Orlin Tace has won the Veldoria presidential election.", minutes=-5)
            await posts.apply([call])
            assert (await same())[first.id].outcome == "Orlin Tace"
            await posts.apply([Edited(call.uri, "Counting continues in Veldoria.", NOW)])
            assert (await same())[first.id].form == "unknown"
            later = _said(2, "Maren Doul has won the Veldoria presidential election.", minutes=10)
            await posts.apply([later])
            assert (await same())[first.id].form == "unknown"  # nobody has seen it yet
            clock[0] = NOW + timedelta(minutes=11)
            assert (await same())[first.id].outcome == "Maren Doul"
            clock[0] = NOW
            assert (await same())[first.id].form == "unknown"
            clock[0] = NOW + timedelta(minutes=11)
            await posts.apply([Deleted(later.uri, clock[0])])
            assert (await same())[first.id].form == "unknown"
            await asked.remove(first.id)
            assert first.id not in await same()

    asyncio.run(work())


def _said(number: int, text: str, *, minutes: float) -> Post:
    return Post("feed:a.example", f"https://a.example/{number}", "a.example", text, NOW + timedelta(minutes=minutes))
