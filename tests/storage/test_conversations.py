"""Conversations on a real SQLite file and in a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lindos.storage import Conversations, Database, MessageRow, NotFound
from lindos.storage.conversations import TITLE_LENGTH, fold, title_of

Work = Callable[[Conversations], Awaitable[None]]


@asynccontextmanager
async def opened(location: Path | str) -> AsyncIterator[Conversations]:
    async with await Database.open(location) as database:
        yield Conversations(database)


def on_database(location: Path | str, work: Work) -> None:
    async def main() -> None:
        async with opened(location) as store:
            await work(store)

    asyncio.run(main())


async def exchange(store: Conversations, conversation: str, *, after: int | None = None, text: str = "Q") -> list[int]:
    question = await store.add(conversation, "user", text, parent_id=after)
    answer = await store.add(conversation, "assistant", f"A to {text}", parent_id=question.id)
    return [question.id, answer.id]


def test_what_was_said_is_there_after_opening_again(location: Path | str):
    found: list[str] = []

    async def first(store: Conversations) -> None:
        row = await store.create(persona="direct")
        found.append(row.id)
        await exchange(store, row.id, text="What is a lighthouse?")

    async def second(store: Conversations) -> None:
        thread = await store.thread(found[0])
        assert [(row.role, row.content) for row in thread.messages] == [
            ("user", "What is a lighthouse?"),
            ("assistant", "A to What is a lighthouse?"),
        ]
        assert thread.conversation.title == "What is a lighthouse?"
        assert thread.conversation.persona == "direct"
        age = datetime.now(UTC) - thread.messages[0].created_at
        assert 0 <= age.total_seconds() < 600

    on_database(location, first)
    on_database(location, second)


def test_versions_branch_and_are_shown_again(location: Path | str):
    async def work(store: Conversations) -> None:
        conversation = (await store.create()).id
        q1, a1 = await exchange(store, conversation, text="one")
        q2, a2 = await exchange(store, conversation, after=a1, text="two")
        q3, a3 = await exchange(store, conversation, text="one, edited")
        a4 = (await store.add(conversation, "assistant", "again", parent_id=q3)).id

        thread = await store.thread(conversation)
        assert [row.id for row in thread.messages] == [q3, a4]
        assert thread.versions == {q3: (q1, q3), a4: (a3, a4)}

        thread = await store.show(q1)
        assert [row.id for row in thread.messages] == [q1, a1, q2, a2]
        assert [row.id for row in (await store.thread(conversation)).messages] == [q1, a1, q2, a2]
        assert [row.id for row in (await store.show(a3)).messages] == [q3, a3]
        assert [row.id for row in (await store.branch(a2)).messages] == [q1, a1, q2, a2]
        assert [row.id for row in (await store.thread(conversation)).messages] == [q3, a3]

    on_database(location, work)


def test_messages_follow_each_other_properly(location: Path | str):
    async def work(store: Conversations) -> None:
        here, there = (await store.create()).id, (await store.create()).id
        q1, a1 = await exchange(store, here)
        with pytest.raises(ValueError, match="cannot be answered"):
            await store.add(here, "user", "after a question", parent_id=q1)
        with pytest.raises(ValueError, match="cannot be answered"):
            await store.add(here, "assistant", "first", parent_id=None)
        with pytest.raises(ValueError, match="cannot be answered"):
            await store.add(there, "user", "of another conversation", parent_id=a1)
        assert (await store.thread(there)).messages == ()

    on_database(location, work)


def test_what_is_unknown_is_not_found(location: Path | str):
    async def work(store: Conversations) -> None:
        for ask in (store.get("0" * 32), store.delete("0" * 32), store.thread("x"), store.add("x", "user", "y")):
            with pytest.raises(NotFound, match="no conversation"):
                await ask
        for ask in (store.message(1), store.show(10**30), store.branch(-1)):
            with pytest.raises(NotFound, match="no message"):
                await ask
        await store.write(12345, content="nobody's")  # its conversation was deleted meanwhile

    on_database(location, work)


def test_deleting_takes_all_messages_along_however_many_follow_each_other(location: Path | str):
    async def main() -> None:
        async with await Database.open(location) as database:
            await work(database, Conversations(database))

    async def work(database: Database, store: Conversations) -> None:
        conversation = (await store.create()).id
        last = (await exchange(store, conversation))[-1]
        async with database.write() as session:  # SQLite's cascades end at a depth of a thousand
            for number in range(1499):
                role = "assistant" if number % 2 else "user"
                row = MessageRow(conversation_id=conversation, parent_id=last, role=role)
                session.add(row)
                await session.flush()
                last = row.id
        assert len((await store.show(last)).messages) == 1501
        kept = await exchange(store, (await store.create()).id)
        await store.delete(conversation)
        with pytest.raises(NotFound):
            await store.message(last)
        assert (await store.message(kept[0])).content == "Q"
        later = await exchange(store, (await store.create()).id)
        assert later[0] > last, "a number was given twice"

    asyncio.run(main())


def test_search_finds_words_in_titles_and_messages(location: Path | str):
    async def work(store: Conversations) -> None:
        ids = {}
        for text in ("The Café of STRASSE", "100% of snake_case", "Ωmega und Straße", "nothing"):
            ids[text] = (await store.create()).id
            await exchange(store, ids[text], text=text)
        await store.change(ids["nothing"], title="Renamed to Lighthouse")

        async def found(query: str) -> set[str]:
            rows = await store.find(query)
            return {text for text, number in ids.items() if number in {row.id for row in rows}}

        assert await found("cafe") == {"The Café of STRASSE"}
        assert await found("strasse") == {"The Café of STRASSE", "Ωmega und Straße"}
        assert await found("STRASSE café") == {"The Café of STRASSE"}
        assert await found("ΩMEGA") == {"Ωmega und Straße"}
        assert await found("100%") == {"100% of snake_case"}
        assert await found("e_c") == {"100% of snake_case"}
        assert await found("light house") == {"nothing"}
        assert await found("absent") == set()
        assert await found("   ") == set(ids)

    on_database(location, work)


def test_the_list_is_latest_first_and_comes_in_pages(location: Path | str):
    async def work(store: Conversations) -> None:
        ids = [(await store.create(title=str(n))).id for n in range(5)]
        await exchange(store, ids[1])
        order = [row.id for row in await store.find()]
        assert order[0] == ids[1]
        assert order[1:] == [ids[4], ids[3], ids[2], ids[0]]
        assert [row.id for row in await store.find(limit=2, offset=2)] == order[2:4]

    on_database(location, work)


def test_answers_cut_off_by_the_end_of_a_server_are_marked(location: Path | str):
    async def work(store: Conversations) -> None:
        conversation = (await store.create()).id
        question = await store.add(conversation, "user", "Q")
        answer = await store.add(conversation, "assistant", "", parent_id=question.id, state="writing")
        await store.write(answer.id, content="half an ans")
        assert await store.recover() == 1
        assert await store.recover() == 0
        row = await store.message(answer.id)
        assert (row.state, row.content) == ("interrupted", "half an ans")

    on_database(location, work)


def test_two_processes_may_write_at_once(location: Path | str):
    async def work(store: Conversations) -> None:
        async with opened(location) as other:
            conversations = [(await store.create()).id for _ in range(4)]
            await asyncio.gather(
                *(exchange(store if n % 2 else other, conversations[n % 4], text=str(n)) for n in range(24))
            )
            assert sum([len(await _all_ids(store, one)) for one in conversations]) == 24 * 2

    on_database(location, work)


async def _all_ids(store: Conversations, conversation: str) -> set[int]:
    thread = await store.thread(conversation)
    roots = thread.versions[thread.messages[0].id]
    return {row.id for root in roots for row in (await store.show(root)).messages}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec=None), max_size=40))
def test_any_text_can_be_kept_and_found(location: Path | str, text: str):
    async def work(store: Conversations) -> None:
        conversation = await store.create(title=text)
        question = await store.add(conversation.id, "user", text)
        kept = (await store.message(question.id)).content
        assert kept == text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
        assert conversation.id in {row.id for row in await store.find(text, limit=100)}
        await store.delete(conversation.id)

    on_database(location, work)


@given(st.text(max_size=200))
def test_titles_are_short_single_lines(text: str):
    title = title_of(text)
    assert len(title) <= TITLE_LENGTH
    assert "\n" not in title
    assert bool(title) == bool(text.split())


@given(st.text(max_size=50))
def test_folding_forgets_case_and_accents(text: str):
    assert fold(fold(text)) == fold(text)
    assert fold(text.casefold()) == fold(text)
