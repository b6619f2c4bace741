"""Answers in the terminal are kept with what they rest on, however they end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from lindos.assistant import Basis, EngineDied, personas
from lindos.assistant.settlement import Event, Events
from lindos.cli.terminal import Session
from lindos.knowledge import Post, Posts
from lindos.storage import Conversations, Database
from tests.server.conftest import run
from tests.server.evening import COUNT, COUNTED, LARGE, NOW, RACE, WHO
from tests.server.scripted import ScriptedChatModel


@pytest.mark.parametrize("ending", ["done", "failed", "stopped"])
def test_an_answer_is_kept_with_its_basis(tmp_path: Path, ending: str):
    async def work():
        database = await Database.open(tmp_path / "lindos.db")
        posts = Posts(database)
        await Events(database, posts).put(Event.model_validate(RACE))
        await posts.apply([Post("bluesky", COUNT, "did:count", COUNTED, NOW, NOW, handle="count.example")])
        fault = EngineDied("gone") if ending == "failed" else None
        pause = 60.0 if ending == "stopped" else 0.0
        model = ScriptedChatModel("Counting goes on.", info=LARGE, fault=fault, pause=pause)
        persona = personas(Path("nowhere"))["direct"]
        session = Session(model, persona, database, Console(stderr=True), keep=True)  # type: ignore[arg-type]
        asking = asyncio.create_task(session.ask(WHO))
        if ending == "stopped":
            while not session._text:
                await asyncio.sleep(0.01)
            asking.cancel()
        await asking
        conversations = Conversations(database)
        (found,) = await conversations.find("", limit=2)
        row = (await conversations.thread(found.id)).messages[-1]
        assert row.state == ending
        assert "51.8" in row.content
        basis = Basis.model_validate_json(row.basis)
        assert [source.uri for source in basis.sources] == [COUNT]
        assert any("51.8" in row.content[one.start : one.end] for one in basis.citations)
        assert all(one.end <= len(row.content) for one in basis.citations)
        await database.close()

    run(work)
