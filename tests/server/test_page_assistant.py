"""The page over the assistant itself, with posts and events in a database: what is deleted and moved on shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lindos.assistant import Assistant, personas
from lindos.assistant.settlement import Event, Events
from lindos.knowledge import Change, Deleted, Post, Posts
from lindos.server import Settings
from lindos.storage import Database
from tests.server.events import ask, create, shown
from tests.server.scripted import ScriptedChatModel
from tests.server.served import Served, served

NOW = datetime.now(UTC)
TEXT = "Mayor of Port Ellery, 62% counted: Halvorsen 51.8%, Reyl 46.9%"


@dataclass
class Night:
    server: Served
    client: httpx.Client
    posts: Posts
    events: Events

    def seen(self, *changes: Change) -> None:
        self.server.run(self.posts.apply(changes))

    def state(self, state: str, outcome: str = "") -> None:
        fields = {
            "id": "port-ellery",
            "title": "Mayor of Port Ellery",
            "match": ["Port Ellery"],
            "opens": NOW - timedelta(hours=12),
            "closes": NOW - timedelta(hours=1),
            "state": state,
            "authoritative": ["count.example"],
            "outcome": outcome,
        }
        self.server.run(self.events.put(Event.model_validate(fields)))


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    settings = Settings(port=0, data=tmp_path, personas=Path("nowhere"))
    model = ScriptedChatModel("Halvorsen has won Port Ellery!", piece=5)
    with served(settings, lambda: model) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        database = server.run(Database.open(tmp_path / "lindos.db"))
        posts = Posts(database)
        events = Events(database, posts)
        assistant = Assistant(model, personas(Path("nowhere")), posts, events)
        object.__setattr__(server.service, "assistant", assistant)  # frozen for all but tests
        yield Night(server, client, posts, events)
        server.run(database.close())


def test_from_a_count_to_its_deletion_and_the_end_of_the_race(night: Night):
    night.state("counting")
    night.seen(Post("bluesky", "https://count.example/1", "did:count", TEXT, NOW, NOW, handle="count.example"))
    conversation = create(night.client)
    events = ask(night.client, conversation, "Who won the election for mayor of Port Ellery?")
    answer = events[-1][1]["answer"]
    assert answer["blocks"] == shown(events)
    assert "has won" not in str(events)
    assert answer["basis"]["form"] == "partial"
    assert answer["basis"]["stale"] == []
    assert [(one["author"], one["authoritative"], one["cited"]) for one in answer["basis"]["sources"]] == [
        ("count.example", True, True)
    ]
    assert "51.8" in answer["text"]
    assert f'href="#source-{answer["id"]}-1"' in "".join(answer["blocks"])

    path = f"/api/conversations/{conversation}"
    marks = lambda: night.client.get("/api/news", params={"conversation": conversation}).json()["marks"]  # noqa: E731
    assert marks() == {str(answer["id"]): ""}
    assert night.client.get("/api/news").json()["posts"]["count"] == 1

    night.seen(Deleted("https://count.example/1", NOW))
    first = marks()
    found = night.client.get(path).json()["messages"][-1]
    assert "51.8" not in str(found)
    assert [one["state"] for one in found["basis"]["sources"]] == ["deleted"]
    assert found["mark"] == first[str(answer["id"])] != ""
    assert night.client.get(path).json()["messages"][-1] == found
    row = night.server.run(night.server.service.conversations.message(answer["id"]))
    assert "51.8" not in row.content + row.folded + row.basis

    night.state("certified", "Mira Halvorsen")
    found = night.client.get(path).json()["messages"][-1]
    assert found["basis"]["stale"] == ["Mayor of Port Ellery"]
    again = night.client.post(f"/api/messages/{answer['parent_id']}/answers", json={})
    assert '"form":"settled"' in again.text
