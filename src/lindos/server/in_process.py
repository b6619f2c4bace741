"""The API before an assistant without a socket: its routes are asked as clients do, and their answers read."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from lindos.assistant import Assistant, EngineError, personas
from lindos.assistant.routes import RouteAsker, RoutedAsk, RouteName
from lindos.server.app import create_app
from lindos.server.page.answers import Answers
from lindos.server.reading import answer_of, error_of, whole_of
from lindos.server.service import ALIAS, Service
from lindos.server.settings import Settings
from lindos.specs import SpecError
from lindos.storage import Conversations, Database, Responses

PATHS: dict[RouteName, str] = {
    "responses": "/v1/responses",
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
}
HOST = "http://127.0.0.1"
"""A name that a server on this machine goes by."""


@asynccontextmanager
async def asking_in_process(assistant: Assistant, database: Database) -> AsyncIterator[RouteAsker]:
    """An asker over the routes of an application before `assistant`, which keeps its answers in `database`."""
    settings = Settings()
    app = create_app(settings, lambda: assistant.model)
    conversations = Conversations(database)
    # Its lifespan, which would open a database and start a model of its own, is never begun.
    app.state.service = Service(
        settings,
        assistant.model,
        assistant,
        conversations,
        personas(),
        Answers(settings, conversations),
        Responses(database),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=HOST, timeout=None, trust_env=False) as client:

        async def ask(asked: RoutedAsk) -> dict[str, Any]:
            return await _ask(client, asked)

        yield ask


async def _ask(client: httpx.AsyncClient, asked: RoutedAsk) -> dict[str, Any]:
    path = PATHS[asked.route.name]
    body = body_of(asked)
    got = await client.post(path, json=body)
    if got.is_error:
        message = f"POST {path} was answered with {got.status_code}: {error_of(got.json()) or got.reason_phrase}"
        raise SpecError(message) if got.status_code < 500 else EngineError(message)
    reply = whole_of(asked.route.name, got.text) if body.get("stream") else got.json()
    if words := error_of(reply):
        raise EngineError(f"POST {path} broke off: {words}")
    return answer_of(asked.route.name, reply)


def body_of(asked: RoutedAsk) -> dict[str, Any]:
    """The body of a request that asks this; what the question brings of its own goes before."""
    own: dict[RouteName, dict[str, Any]] = {
        "responses": {"input": asked.text, "max_output_tokens": asked.max_tokens},
        "chat": {"messages": [{"role": "user", "content": asked.text}], "max_tokens": asked.max_tokens},
        "completions": {"prompt": asked.text, "max_tokens": asked.max_tokens},
    }
    code = re.match(r"[a-z]{2,3}(?![a-z])", asked.language.lower())
    return {
        "model": ALIAS,
        "persona": asked.persona,
        "temperature": 0,
        "stream": asked.route.stream,
        **own[asked.route.name],
        **({"language": code[0]} if code else {}),
        **asked.request,
    }
