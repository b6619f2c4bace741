"""Finding a model, and the engine behind ChatModel."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

import lindos
from lindos.assistant import (
    ChatModel,
    EngineChatModel,
    EngineDied,
    EngineError,
    EngineOptions,
    bundled_model,
    chat_sampling,
    find_model,
)
from lindos.assistant.model import Message, Sampling
from lindos.specs import SpecError
from tests.server.scripted import INFO, ScriptedChatModel

HELLO = [Message(role="user", content="How are you today?")]
OPTIONS = EngineOptions(threads=1)


def test_a_named_directory_is_found(tiny_model_dir: Path):
    assert find_model(str(tiny_model_dir)) == tiny_model_dir


def test_what_is_no_model_is_told_apart(tmp_path: Path):
    with pytest.raises(SpecError, match="there is no model directory 'nowhere'"):
        find_model("nowhere")
    with pytest.raises(SpecError, match=r"has no config\.json"):
        find_model(str(tmp_path))
    (tmp_path / "model.gguf").touch()
    with pytest.raises(SpecError, match=r"lindos convert .*model\.gguf DST --quantise int4"):
        find_model(str(tmp_path / "model.gguf"))


def test_the_bundled_model_is_meant_by_nothing_and_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lindos, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(SpecError, match="not in this installation"):
        bundled_model()
    (tmp_path / "bundled" / "pebble").mkdir(parents=True)
    (tmp_path / "bundled" / "pebble" / "config.json").touch()
    assert find_model(None) == find_model("pebble") == tmp_path / "bundled" / "pebble"


def test_answers_leave_room_for_the_question():
    assert chat_sampling(INFO).max_tokens == 512
    assert chat_sampling(replace(INFO, context=100_000)).max_tokens == 1024
    assert chat_sampling(replace(INFO, context=1)).max_tokens == 1


def test_an_engine_answers_through_the_protocol(tiny_model_dir: Path):
    async def work():
        model: ChatModel = EngineChatModel.start(tiny_model_dir, OPTIONS)
        try:
            assert not model.ready
            with pytest.raises(EngineError, match="not ready"):
                await model.submit(HELLO)
            info = await model.wait_ready()
            assert model.ready
            assert info == model.info
            async with await model.submit(HELLO, sampling=Sampling(max_tokens=5, seed=1)) as answer:
                tokens = sum([chunk.tokens async for chunk in answer])
            assert answer.usage.completion_tokens == tokens
            assert (await model.stats()).running == 0
        finally:
            await model.close()
        with pytest.raises(EngineDied):
            await model.submit(HELLO)
        await model.close()

    asyncio.run(work())


def test_a_model_that_cannot_be_loaded_is_not_tried_again(tmp_path: Path):
    async def work():
        (tmp_path / "config.json").write_text("{}")
        model = EngineChatModel.start(tmp_path, OPTIONS)
        try:
            with pytest.raises(EngineError):
                await model.wait_ready()
            assert model.fault is not None
            with pytest.raises(EngineError, match=r"config\.json"):
                await model.submit(HELLO)
        finally:
            await model.close()

    asyncio.run(work())


def test_an_engine_that_keeps_dying_is_given_up(tiny_model_dir: Path):
    async def work():
        model = EngineChatModel.start(tiny_model_dir, OPTIONS)
        try:
            for _ in range(3):
                await model.wait_ready()
                pid = model.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                while model.fault is None and (model.pid == pid or not model.ready):
                    await asyncio.sleep(0.05)
            assert isinstance(model.fault, EngineDied)
            with pytest.raises(EngineDied):
                await model.wait_ready()
        finally:
            await model.close()

    asyncio.run(work())


def test_deaths_count_from_when_it_was_ready_however_long_it_loads(tiny_model_dir: Path, monkeypatch, caplog):
    """As if every load took longer than the time in which an engine has to die to be given up."""
    monkeypatch.setattr("lindos.assistant.engine_model.SETTLED_SECONDS", 0.5)
    live = EngineChatModel._live

    async def slowly(self: EngineChatModel) -> None:
        await asyncio.sleep(0.6)
        await live(self)

    monkeypatch.setattr(EngineChatModel, "_live", slowly)

    async def work():
        model = EngineChatModel.start(tiny_model_dir, OPTIONS)
        try:
            for lived in (0.0, 0.0, 1.0, 0.0, 0.0):  # the third one lived: the count begins anew
                await model.wait_ready()
                assert model.fault is None
                pid = model.pid
                assert pid is not None
                await asyncio.sleep(lived)
                os.kill(pid, signal.SIGKILL)
                while model.fault is None and (model.pid == pid or not model.ready):
                    await asyncio.sleep(0.02)
            assert isinstance(model.fault, EngineDied)
        finally:
            await model.close()

    asyncio.run(work())
    assert caplog.text.count("starting it again") == 4


def test_an_engine_that_cannot_even_be_started_is_a_fault_not_a_wait(tiny_model_dir: Path, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(24, "Too many open files")

    async def work():
        monkeypatch.setattr("lindos.engine.process.socket.socketpair", refused)  # an event loop needs it, too
        model = EngineChatModel.start(tiny_model_dir, OPTIONS)
        with pytest.raises(EngineError, match="Too many open files"):
            await asyncio.wait_for(model.wait_ready(), 30)
        await model.close()

    asyncio.run(work())


def test_the_scripted_model_of_these_tests_is_a_chat_model():
    model: ChatModel = ScriptedChatModel("")
    assert model.ready
