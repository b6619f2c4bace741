"""A server with a real engine, shared by the tests of this room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from lindos.assistant import EngineChatModel, EngineOptions
from lindos.server import Settings, create_app
from lindos.specs import ModelSpec
from tests.server.scripted import ScriptedChatModel
from tests.server.served import Served, served

LONG = 8192
"""Tokens of context: enough that an answer is still under way when a test looks."""
MOST = 4
"""Requests the engine holds at a time."""


@pytest.fixture(scope="session")
def long_model_dir(tmp_path_factory: pytest.TempPathFactory, tiny_spec: ModelSpec, tiny_tokenizer_dir: Path) -> Path:
    """The tiny model with a long context."""
    from lindos.model import Transformer, initialise
    from lindos.model.formats import save_model

    folder = tmp_path_factory.mktemp("models") / "long"
    model = Transformer(tiny_spec.model_copy(update={"sequence": LONG}))
    initialise(model, seed=7)
    save_model(model, folder, tokenizer=tiny_tokenizer_dir)
    return folder


@pytest.fixture(scope="session")
def endless_model_dir(tmp_path_factory: pytest.TempPathFactory, tiny_spec: ModelSpec, tiny_tokenizer_dir: Path) -> Path:
    """The tiny model, made so that it never says a role token: its answers last until they are stopped."""
    import torch

    from lindos.model import Transformer, initialise
    from lindos.model.formats import save_model
    from lindos.text import SPECIAL_TOKENS

    folder = tmp_path_factory.mktemp("models") / "endless"
    model = Transformer(tiny_spec.model_copy(update={"sequence": LONG, "tied_head": False}))
    initialise(model, seed=7)
    with torch.no_grad():  # whatever is read points one way, and in the head role tokens point the other
        model.embedding[:, 0] = 1.0
        model.head[:, 0] = 1.0
        model.head[: len(SPECIAL_TOKENS), 0] = -1.0
    save_model(model, folder, tokenizer=tiny_tokenizer_dir)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, long_model_dir: Path) -> Iterator[Served]:
    """A server with the tiny model in a real engine."""
    settings = Settings(port=0, data=tmp_path_factory.mktemp("data"), linger_seconds=0.5, personas=Path("nowhere"))
    options = EngineOptions(threads=1, max_requests=MOST, max_running=MOST)
    with served(settings, lambda: EngineChatModel.start(long_model_dir, options)) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    """An HTTP client of that server."""
    with httpx.Client(base_url=server.url, timeout=120) as found:
        yield found


InProcess = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def in_process(tmp_path: Path) -> InProcess:
    """in_process(model, **settings): a client of an application without socket or engine."""

    @asynccontextmanager
    async def opened(model: ScriptedChatModel, **fields: object) -> AsyncIterator[httpx.AsyncClient]:
        settings = Settings.parse({"data": tmp_path / "data", "personas": tmp_path / "personas", **fields})
        app = create_app(settings, lambda: model)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as found:
                yield found

    return opened


def run(work: Callable[[], object]) -> None:
    """Run an async test."""
    asyncio.run(work())  # type: ignore[arg-type]
