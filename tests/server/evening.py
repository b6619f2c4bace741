"""An application in this process with a race that is counted and a post that tells of it, over a test's model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from lindos.assistant.settlement import Event
from lindos.knowledge import Change, Deleted, Post
from lindos.server import Settings, create_app
from lindos.server.service import Service
from tests.server.scripted import INFO, ScriptedChatModel

NOW = datetime.now(UTC)
LARGE = replace(INFO, parameters=70_000_000_000)
"""Of a model that writes about the world itself."""
COUNT = "https://count.example/1"
COUNTED = "Mayor of Port Ellery, 62% counted: Halvorsen 51.8%, Reyl 46.9%"
WHO = "Who won the election for mayor of Port Ellery?"
RACE: dict[str, Any] = {
    "id": "port-ellery",
    "title": "Mayor of Port Ellery",
    "match": ["Port Ellery"],
    "opens": NOW - timedelta(hours=12),
    "closes": NOW - timedelta(hours=1),
    "state": "counting",
    "authoritative": ["count.example"],
}


@dataclass
class Evening:
    client: httpx.AsyncClient
    service: Service

    async def seen(self, *changes: Change) -> None:
        assert self.service.assistant.posts is not None
        await self.service.assistant.posts.apply(changes)

    async def counted(self) -> None:
        """The race is counted, and one who counts says how far."""
        assert self.service.assistant.events is not None
        await self.service.assistant.events.put(Event.model_validate(RACE))
        await self.seen(Post("bluesky", COUNT, "did:count", COUNTED, NOW, NOW, handle="count.example"))

    async def deleted(self) -> None:
        """That post is gone."""
        await self.seen(Deleted(COUNT, datetime.now(UTC)))

    async def post(self, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
        reply = await self.client.post(path, json=body)
        assert reply.status_code == status, reply.text
        return reply.json()


@asynccontextmanager
async def evening(folder: Path, model: ScriptedChatModel) -> AsyncIterator[Evening]:
    settings = Settings.parse({"data": folder / "data", "personas": folder / "personas"})
    app = create_app(settings, lambda: model)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield Evening(client, app.state.service)
