"""What a question is about, and what of the posts that were found is quoted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lindos.assistant.answer import AssistantAnswer
from lindos.assistant.ask import Ask
from lindos.assistant.assistant import Assistant
from lindos.assistant.persona import personas
from lindos.assistant.scripted import scripted
from lindos.assistant.settlement import Event, Events
from lindos.assistant.subject import speaking_of, subject_of
from lindos.knowledge import Post, Posts
from lindos.specs import Message
from lindos.storage import Database

NOW = datetime(2031, 5, 4, 21, 0, tzinfo=UTC)
ELECTION = {
    "id": "v",
    "title": "Veldoria presidential election",
    "match": ["Veldoria election"],
    "opens": "2031-05-04T06:00:00Z",
    "closes": "2031-05-04T20:00:00Z",
    "state": "counting",
    "authoritative": ["wire.example"],
    "quorum": 1,
}


def post(number: int, author: str, text: str) -> Post:
    seen = NOW - timedelta(minutes=number)
    return Post(uri=f"at://{author}/{number}", source="file", author=author, text=text, created_at=seen, seen_at=seen)


BRIDGE = post(1, "harbour.example", "The harbour bridge reopens on Monday.")
ANA = post(2, "ana.example", "So happy the harbour bridge is back!")
OTHER = post(3, "bob.example", "People say strange things about bands.")
RUMOUR = post(4, "troll", "Orlin Tace WON Veldoria!!! It's over")
COUNT = post(5, "wire.example", "With 62% counted in Veldoria, Orlin Tace leads Maren Doul 51.2% to 46.9%.")


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("What do people say about the harbour bridge?", "harbour bridge"),
        ("Que disent les gens du pont du port ?", "pont port"),
        ("What's new?", ""),
        ("Quoi de neuf ?", ""),
    ],
)
def test_a_subject_is_what_a_question_is_about(question: str, subject: str):
    assert subject_of(question) == subject


def test_posts_that_have_one_word_of_many_are_left_out():
    full = post(9, "cleo.example", "The harbour is full of bands.")
    assert speaking_of([BRIDGE, ANA, full], "harbour bridge reopens monday") == [BRIDGE, ANA]


def test_posts_that_were_found_by_their_meaning_stay():
    assert speaking_of([BRIDGE, OTHER], "harbour bridge") == [BRIDGE, OTHER]


async def answered(folder: Path, question: str, *, parameters: int) -> tuple[str, AssistantAnswer]:
    """(all the text, the answer at its end) of a model of a size that says that somebody has won."""
    async with await Database.open(folder / "posts.db") as database:
        posts = Posts(database)
        await posts.apply([BRIDGE, ANA, OTHER, RUMOUR, COUNT])
        events = Events(database, posts, lambda: NOW)
        await events.put(Event.parse(ELECTION, where="test"))
        model = scripted([{"match": ".*", "reply": "Orlin Tace has won Veldoria."}])
        model.info = replace(model.info, parameters=parameters)
        assistant = Assistant(model, personas(), posts, events, clock=lambda: NOW)
        answer = await assistant.answer(Ask((Message(role="user", content=question),)))
        async with answer:
            text = "".join([chunk.text async for chunk in answer])
        return text, answer


def test_a_small_model_quotes_what_is_about_the_question(tmp_path: Path):
    question = "What do people say about the harbour bridge?"
    text, answer = asyncio.run(answered(tmp_path, question, parameters=1))
    assert all(post.text in text for post in (BRIDGE, ANA))
    assert OTHER.text not in text
    assert {source.uri for source in answer.basis.sources} == {BRIDGE.uri, ANA.uri}


@pytest.mark.parametrize("parameters", [1, 10**12])
def test_a_post_that_announces_what_is_not_settled_is_not_quoted(tmp_path: Path, parameters: int):
    text, answer = asyncio.run(answered(tmp_path, "What's new?", parameters=parameters))
    assert "won" not in text.casefold().split()
    assert RUMOUR.uri not in {source.uri for source in answer.basis.sources}
    assert COUNT.uri in {source.uri for source in answer.basis.sources}
