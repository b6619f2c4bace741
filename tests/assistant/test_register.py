"""The register of events: records, what clears what, files, and what a stored answer becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.assistant import Ask, Assistant, Events, personas
from lindos.assistant.scripted import scripted
from lindos.assistant.settlement import Event, event_toml, read_events
from lindos.knowledge import Deleted, Edited, Post, Posts
from lindos.specs import Message, SpecError
from lindos.storage import Database, NotFound

CLOSES = datetime(2031, 5, 4, 20, tzinfo=UTC)


class Night:
    """A register and posts with a clock that a test sets."""

    def __init__(self, database: Database) -> None:
        self.now = CLOSES
        self.posts = Posts(database)
        self.events = Events(database, self.posts, lambda: self.now)

    async def put(self, minutes: float, **fields: Any):
        self.now = CLOSES + timedelta(minutes=minutes)
        return await self.events.put(event(**fields))

    async def post(self, minutes: float, author: str, text: str, *, claimed: float | None = None) -> str:
        self.now = CLOSES + timedelta(minutes=minutes)
        uri = f"at://{author}/{minutes}"
        created = self.now if claimed is None else CLOSES + timedelta(minutes=claimed)
        await self.posts.apply([Post("test", uri, author, text, self.now, created)])
        return uri

    async def form(self) -> str:
        return (await self.events.standing("v")).form


def event(**fields: Any) -> Event:
    record = {
        "id": "v",
        "title": "Veldoria presidential election",
        "match": ["Veldoria election"],
        "jurisdiction": "Veldoria",
        "opens": CLOSES - timedelta(hours=12),
        "closes": CLOSES,
        "state": "counting",
        "authoritative": ["@a.example", "b.example", "@c.example"],
        "quorum": 2,
    }
    return Event.parse({**record, **fields})


def on_a_night(work: Callable[[Night], Awaitable[None]], path: Path) -> None:
    async def main() -> None:
        async with await Database.open(path / "lindos.db") as database:
            await work(Night(database))

    asyncio.run(main())


CALL_A = "We call the Veldoria election for Orlin Tace."
CALL_B = "Orlin Tace wins the Veldoria presidential election."


async def called(night: Night) -> tuple[str, str]:
    await night.put(-60)
    first = await night.post(10, "a.example", CALL_A)
    assert await night.form() == "unknown"
    second = await night.post(20, "b.example", CALL_B)
    assert await night.form() == "settled"
    return first, second


def test_a_quorum_of_sources_settles(tmp_path: Path):
    async def work(night: Night) -> None:
        await called(night)
        assert (await night.events.standing("v")).outcome == "Orlin Tace"

    on_a_night(work, tmp_path)


@pytest.mark.parametrize(
    ("author", "minutes", "claimed", "text"),
    [
        ("troll.example", 20, None, CALL_B),  # not a source
        ("a.example", 20, None, CALL_B),  # the same source again
        ("b.example.evil.example", 20, None, CALL_B),
        ("b.example", -30, None, CALL_B),  # before it closed
        ("b.example", -30, 30, CALL_B),  # the same, claiming a later time
        ("b.example", 20, -600, CALL_B),  # written before, arriving now
        ("b.example", 20, None, "In 2027 Orlin Tace won the Veldoria presidential election."),
        ("b.example", 20, None, "If Orlin Tace wins the Veldoria presidential election, taxes fall."),
        ("b.example", 20, None, "“Orlin Tace wins the Veldoria election”, posts a troll."),
        ("b.example", 20, None, "Orlin Tace wins the Ashford mayoral election."),
    ],
)
def test_nothing_else_does(tmp_path: Path, author, minutes, claimed, text):
    async def work(night: Night) -> None:
        await night.put(-60)
        await night.post(minutes, author, text, claimed=claimed)
        await night.post(25, "a.example", CALL_A)
        assert await night.form() == "unknown"

    on_a_night(work, tmp_path)


def test_deleted_and_edited_calls_do_not_count(tmp_path: Path):
    async def work(night: Night) -> None:
        first, second = await called(night)
        await night.posts.apply([Edited(second, CALL_B + " Updated.", night.now)])
        assert await night.form() == "unknown"
        await night.post(30, "c.example", CALL_B)
        assert await night.form() == "settled"
        await night.posts.apply([Deleted(first, night.now)])
        assert await night.form() == "unknown"

    on_a_night(work, tmp_path)


def test_a_change_without_an_outcome_clears(tmp_path: Path):
    async def work(night: Night) -> None:
        await called(night)
        await night.put(40, state="counting")
        assert await night.form() == "unknown"
        await night.post(50, "c.example", CALL_B)
        assert await night.form() == "unknown"  # one new call, and the old ones are gone
        await night.put(60, state="certified", outcome="Orlin Tace")
        assert await night.form() == "settled"
        await night.put(70, state="disputed")
        assert await night.form() == "conflicting"
        history = await night.events.registry.history("v")
        assert [record.event.state for record in history] == ["counting", "counting", "certified", "disputed"]

    on_a_night(work, tmp_path)


def test_sources_that_differ_make_it_conflicting(tmp_path: Path):
    async def work(night: Night) -> None:
        await night.put(-60)
        await night.post(10, "a.example", CALL_A)
        await night.post(20, "b.example", "Maren Doul wins the Veldoria presidential election.")
        standing = await night.events.standing("v")
        assert standing.form == "conflicting"
        assert set(standing.rivals) == {"Orlin Tace", "Maren Doul"}

    on_a_night(work, tmp_path)


def test_an_answer_is_stale_once_its_event_moved_and_loses_the_words_of_deleted_posts(tmp_path: Path):
    async def work(night: Night) -> None:
        await night.put(-60)
        count = "Veldoria: Orlin Tace 51.2%, Maren Doul 47.9%, 62% counted."
        uri = await night.post(5, "a.example", count)
        assistant = Assistant(scripted([]), personas(tmp_path), night.posts, night.events, clock=lambda: night.now)
        answer = await assistant.answer(Ask((Message(role="user", content="Who won the Veldoria election?"),)))
        text = "".join([chunk.text async for chunk in answer])
        assert answer.basis.form == "partial"
        assert count in text
        assert [text[c.start : c.end] for c in answer.basis.citations] == [count]
        same = await assistant.standing(text, answer.basis)
        assert (same.text, same.stale, same.deleted) == (text, (), ())

        await night.posts.apply([Deleted(uri, night.now)])
        gone = await assistant.standing(text, answer.basis)
        assert "51.2" not in gone.text
        assert gone.deleted == (uri,)
        assert gone.basis.citations == ()
        await night.put(60, state="certified", outcome="Orlin Tace")
        assert (await assistant.standing(text, answer.basis)).stale == ("Veldoria presidential election",)

    on_a_night(work, tmp_path)


def test_events_are_removed_and_unknown_ones_named(tmp_path: Path):
    async def work(night: Night) -> None:
        await night.put(0)
        await night.events.remove("v")
        assert await night.events.all() == []
        with pytest.raises(NotFound, match="'v'"):
            await night.events.standing("v")
        with pytest.raises(NotFound):
            await night.events.remove("v")

    on_a_night(work, tmp_path)


LINE = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(str.strip)


@given(title=LINE, match=st.lists(LINE, max_size=3), outcome=st.one_of(st.just(""), LINE))
def test_a_file_holds_an_event_as_it_is(tmp_path_factory, title, match, outcome):
    path = tmp_path_factory.mktemp("events") / "events.toml"
    events = [event(title=title, match=match, outcome=outcome), event(id="w")]
    path.write_text(event_toml(events), encoding="utf-8")
    assert read_events(path) == events


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id = 1", "id"),
        ('[[event]]\nid = "a"\ntitel = "x"', "did you mean 'title'"),
        ('x = "', "cannot be read as TOML"),
        ('id="a"\ntitle="t"\nopens=2031-05-05T00:00:00Z\ncloses=2031-05-04T00:00:00Z', "is before opens"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text, words):
    path = tmp_path / "events.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=words):
        read_events(path)
