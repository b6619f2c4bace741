"""A Mastodon server: a stream of server-sent events, a timeline by ids, and what an instance says of itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.knowledge.servers.web import Answer, Asked

FIRST = (1_795_000_000_000 << 16) | 1
"""A snowflake: milliseconds since 1970 above 16 bits."""


def status(number: int, content: str = "", **fields: Any) -> dict[str, Any]:
    own = {
        "id": str(number),
        "uri": f"https://social.example/users/ann/statuses/{number}",
        "created_at": datetime.fromtimestamp((number >> 16) / 1000, UTC).isoformat().replace("+00:00", "Z"),
        "edited_at": None,
        "in_reply_to_id": None,
        "visibility": "public",
        "language": "en",
        "spoiler_text": "",
        "content": content or f"<p>status {number}</p>",
        "account": {"acct": "ann"},
        "reblog": None,
        "card": None,
    }
    return own | fields


@dataclass
class Instance:
    """What it has posted, and who listens. `said` is sent to a listener as it is."""

    statuses: list[dict[str, Any]] = field(default_factory=list)
    token: str = ""
    page: int = 40
    plan: Callable[[int], int | None] = lambda connection: None
    """How many events the n-th listener gets before it is broken off; None: all."""
    about: Any = None
    asked: list[Asked] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)
    listeners: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def handle(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(b'{"error":"The access token is invalid"}', status=401)
        match asked.path:
            case "/api/v1/streaming/public":
                self.listeners += 1
                return Answer(self._listen(self.listeners - 1), headers={"Content-Type": "text/event-stream"})
            case "/api/v1/timelines/public":
                return Answer(json.dumps(self._timeline(asked.query)).encode())
            case "/api/v2/instance" if self.about is not None:
                return Answer(json.dumps(self.about).encode())
        return Answer(status=404)

    def say(self, text: str | bytes) -> None:
        """Send something to whoever listens."""
        self.said.append(text if isinstance(text, bytes) else text.encode())
        self._more.set()
        self._more = asyncio.Event()

    def tell(self, name: str, data: Any) -> None:
        self.say(f"event: {name}\ndata: {data if isinstance(data, str) else json.dumps(data)}\n\n")

    def post(self, number: int, content: str = "", **fields: Any) -> None:
        """Something is posted; who does not listen finds it in the timeline."""
        self.statuses.append(status(number, content, **fields))
        self.tell("update", self.statuses[-1])

    def _timeline(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """The latest statuses, or those that follow immediately on `min_id`; the latest first, as Mastodon has it."""
        after, limit = int(query.get("min_id", "0")), min(int(query.get("limit", "20")), self.page)
        newer = sorted((one for one in self.statuses if int(one["id"]) > after), key=lambda one: int(one["id"]))
        return (newer[:limit] if "min_id" in query else newer[-limit:])[::-1]

    async def _listen(self, number: int) -> AsyncIterator[bytes]:
        yield b":)\n\n"
        place, left = len(self.said), self.plan(number)
        while left is None or left > 0:
            while place < len(self.said) and left != 0:
                yield self.said[place]
                place += 1
                left = None if left is None else left - 1
            if left != 0:
                await self._more.wait()
