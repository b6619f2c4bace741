"""Reading the page's streams in tests."""

from __future__ import annotations

import json
from typing import Any

import httpx

Event = tuple[str, dict[str, Any]]


def parsed(text: str) -> list[Event]:
    """All events of a whole stream."""
    found: list[Event] = []
    for part in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.split("\n") if line and not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def shown(events: list[Event]) -> list[str]:
    """The blocks a page shows that applied all patches."""
    page: list[str] = []
    for name, data in events:
        if name == "patch":
            for change in data["blocks"]:
                page[change["index"] : change["index"] + 1] = [change["html"]]
            del page[data["count"] :]
    return page


def ask(client: httpx.Client, conversation: str, text: str, **more: Any) -> list[Event]:
    """Ask something on the page, to the end of the answer."""
    reply = client.post(f"/api/conversations/{conversation}/messages", json={"text": text, **more})
    assert reply.status_code == 200, reply.text
    return parsed(reply.text)


def create(client: httpx.Client, **more: Any) -> str:
    """A new conversation's id."""
    reply = client.post("/api/conversations", json=more)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]
