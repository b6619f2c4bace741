"""The lines of a batch: what each asks for.

A line is a prompt of its own, `{"prompt": TEXT}` or `{"messages": [...]}`, with any fields of the API's requests beside
it and an `id` if wanted; or a request as OpenAI's batches have it, `{"custom_id", "method", "url", "body"}`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@dataclass(frozen=True)
class Task:
    """One line that asks for something."""

    line: int
    """From 1."""
    digest: str
    """Of the line's text."""
    route: str
    body: dict[str, Any]
    name: str | None = None
    """Its `id` or `custom_id`."""
    shaped: bool = False
    """Whether it is a request as OpenAI's batches have it, to be answered like one."""
    fault: str | None = None
    """Why it cannot be asked."""


def digest(line: bytes) -> str:
    """What tells one line's text from another's."""
    return hashlib.sha256(line.strip()).hexdigest()[:16]


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, by number. Raises OSError."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def read_tasks(path: Path, defaults: Mapping[str, Any], done: Collection[int] = ()) -> Iterator[Task]:
    """The tasks of a file but those `done`; `defaults` stand where a line says nothing. Raises OSError."""
    for number, line in lines_of(path):
        if number not in done:
            yield parse_task(number, line, defaults)


def parse_task(number: int, line: bytes, defaults: Mapping[str, Any]) -> Task:
    """What a line asks for; a line that asks for nothing is a task with a fault."""

    def faulty(why: str, name: str | None = None) -> Task:
        return Task(number, digest(line), "", {}, name, fault=why)

    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return faulty(f"not JSON: {error}")
    if isinstance(found, str):
        found = {"prompt": found}
    if not isinstance(found, dict):
        return faulty("a line is an object with a prompt or messages, or a text")
    if "body" in found or "custom_id" in found:
        return _shaped(number, line, found, defaults)
    name = found.pop("id", None)
    if name is not None and not isinstance(name, str | int):
        return faulty("'id' is a text or a number")
    name = None if name is None else str(name)
    if ("prompt" in found) == ("messages" in found):
        return faulty("a line has either 'prompt' or 'messages'", name)
    route = COMPLETIONS if "prompt" in found else CHAT
    return Task(number, digest(line), route, _body(found, defaults), name)


def _shaped(number: int, line: bytes, found: dict[str, Any], defaults: Mapping[str, Any]) -> Task:
    name, url, body = found.get("custom_id"), found.get("url", CHAT), found.get("body")
    fault = None
    if not isinstance(name, str) or not isinstance(body, dict):
        fault = "a request has a text 'custom_id' and an object 'body'"
    elif url not in (CHAT, COMPLETIONS) or found.get("method", "POST") != "POST":
        fault = f"a request is a POST to {CHAT} or {COMPLETIONS}"
    name = name if isinstance(name, str) else None
    if fault is not None or not isinstance(body, dict):
        return Task(number, digest(line), "", {}, name, shaped=True, fault=fault)
    return Task(number, digest(line), url, _body(body, defaults), name, shaped=True)


def _body(found: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Whole answers; whose is not for the line to say: there is one model."""
    more = {name: value for name, value in defaults.items() if name not in found}
    if "max_completion_tokens" in found:
        more.pop("max_tokens", None)
    asked = {name: value for name, value in found.items() if name not in ("model", "stream", "stream_options")}
    return {**asked, **more}
