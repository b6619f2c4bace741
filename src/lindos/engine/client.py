"""The door to the engine: starts its process and speaks to it, in asyncio and without torch.

    async with await EngineClient.start(directory) as engine:
        async with await engine.submit(prompt="Once upon a time") as generation:
            async for chunk in generation:
                print(chunk.text, end="")
        print(generation.usage)

`submit` raises what keeps a request from running (QueueFull, RequestError) before anything is streamed, and its
Generation keeps the exact counts on every ending: finished, cancelled, failed. `generate` is both steps in one.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from lindos.engine import protocol
from lindos.engine.generation import Generation
from lindos.engine.interface import (
    Chunk,
    Completion,
    EngineDied,
    EngineError,
    EngineOptions,
    Finish,
    Grammar,
    Loading,
    ModelInfo,
    QueueFull,
    RequestError,
    Sampling,
    Stats,
    Timing,
    TokenLogprob,
    Truncate,
    Usage,
)
from lindos.engine.process import EngineProcess
from lindos.specs import Message

__all__ = [
    "Chunk",
    "Completion",
    "EngineClient",
    "EngineDied",
    "EngineError",
    "EngineOptions",
    "Finish",
    "Generation",
    "Grammar",
    "Loading",
    "ModelInfo",
    "QueueFull",
    "RequestError",
    "Sampling",
    "Stats",
    "Timing",
    "TokenLogprob",
    "Truncate",
    "Usage",
]

Messages = Iterable[Message | Mapping[str, str]]


class Asked(TypedDict, total=False):
    """What `submit` takes beside messages, for those that hand it on."""

    prompt: str | None
    tokens: Sequence[int] | None
    sampling: Sampling | None
    truncate: Truncate
    priority: int
    client: str


class EngineClient:
    """One engine process with one model. Made by `start`; belongs to the event loop it was made in."""

    def __init__(self, process: EngineProcess) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self._generations: dict[int, Generation] = {}
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._ready: asyncio.Future[ModelInfo] = asyncio.get_running_loop().create_future()
        self._fault: EngineError | None = None
        self._closing = False
        self.loading = Loading("starting", 0.0)
        """The last that was heard of the start."""
        self._on_progress: Callable[[Loading], None] | None = None
        self._pump = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls,
        model: Path | str,
        options: EngineOptions | None = None,
        *,
        on_progress: Callable[[Loading], None] | None = None,
        wait: bool = True,
        **changes: Any,
    ) -> EngineClient:
        """Start an engine with the model directory `model`; `changes` are fields of EngineOptions.

        Returns when the model is loaded, or with `wait=False` at once: `ready` and `wait_ready` then tell. Raises
        EngineError when the model cannot be loaded, with the reason the engine gave.
        """
        options = replace(options or EngineOptions(), **changes)
        client = cls(await EngineProcess.spawn())
        client._on_progress = on_progress
        client._process.send({"op": "start", "version": protocol.VERSION, "model": str(model), **asdict(options)})
        if wait:
            try:
                await client.wait_ready()
            except BaseException:
                await client.close()
                raise
        return client

    # Its state.

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and the process lives."""
        return self._ready.done() and self._fault is None and not self._closing

    @property
    def fault(self) -> EngineError | None:
        """What ended the engine, or kept it from starting; None while all is well."""
        return self._fault

    @property
    def info(self) -> ModelInfo:
        """The model. Raises EngineError before the engine is ready."""
        if not self._ready.done():
            raise EngineError(f"the engine is not ready yet: {self.loading.message}")
        return self._ready.result()

    @property
    def pid(self) -> int:
        """Process id of the engine."""
        return self._process.pid

    async def wait_ready(self) -> ModelInfo:
        """Wait until the model is loaded. Raises EngineError when it cannot be."""
        return await asyncio.shield(self._ready)

    async def wait_fault(self) -> EngineError:
        """Wait until the engine has ended, however long it lives; returns why, closing it being one reason."""
        await asyncio.shield(self._pump)
        assert self._fault is not None
        return self._fault

    async def stats(self) -> Stats:
        """What the engine is doing. Answered between two frames, so also while a step runs."""
        await self.wait_ready()
        return Stats(**(await self._ask({"op": "stats"}))["stats"])

    # Requests.

    async def submit(
        self,
        messages: Messages | None = None,
        *,
        prompt: str | None = None,
        tokens: Sequence[int] | None = None,
        sampling: Sampling | None = None,
        truncate: Truncate = "never",
        priority: int = 0,
        client: str = "",
    ) -> Generation:
        """Hand in one request: chat `messages`, or a raw `prompt`, or its token ids.

        `truncate="oldest"` drops the oldest turns of a conversation that are not the system's until it fits;
        the Generation's `dropped` says how many. Requests of a higher `priority` go first, and among equals the
        clients, by their names in `client`, share the engine evenly. Raises QueueFull, RequestError (neither costs
        anything) or EngineDied.
        """
        body = _prompt_body(messages, prompt, tokens, truncate)
        await self.wait_ready()
        number = next(self._ids)
        generation = Generation(number, self._cancel)
        self._generations[number] = generation
        frame = {"op": "submit", "prompt": body, "sampling": asdict(sampling or Sampling())}
        frame |= {"priority": priority, "client": client}
        try:
            answer = await self._ask(frame, number)
        except BaseException:
            # The caller may have been cancelled while the engine already took the request.
            self._cancel(number)
            self._generations.pop(number, None)
            raise
        generation.accepted(answer)
        return generation

    async def generate(self, messages: Messages | None = None, **asked: Unpack[Asked]) -> AsyncIterator[Chunk]:
        """`submit` and its chunks as one async generator; closing it cancels the request. Raises as they do."""
        generation = await self.submit(messages, **asked)
        try:
            async for chunk in generation:
                yield chunk
        finally:
            generation.cancel()

    async def complete(self, messages: Messages | None = None, **asked: Unpack[Asked]) -> Completion:
        """The whole answer at once; a cancelled caller cancels the request. Raises as `submit` and Generation do."""
        async with await self.submit(messages, **asked) as generation:
            return await generation.collect()

    # The end.

    async def close(self) -> None:
        """End the engine's process; pending requests raise EngineDied. Does nothing the second time."""
        self._closing = True
        self._process.hang_up()
        await asyncio.shield(self._pump)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What comes back.

    def _cancel(self, number: int) -> None:
        self._process.send({"op": "cancel", "id": number})

    async def _ask(self, frame: protocol.Frame, number: int | None = None) -> protocol.Frame:
        if self._fault is not None:
            raise _again(self._fault)
        if self._closing:
            raise EngineDied("the engine was closed")
        number = next(self._ids) if number is None else number
        answer: asyncio.Future[protocol.Frame] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._process.send({**frame, "id": number})
            await self._process.drain()
            return await answer
        except protocol.ProtocolError as error:
            raise RequestError(f"the request is too large for the engine: {error}") from None
        finally:
            self._answers.pop(number, None)

    async def _listen(self) -> None:
        try:
            while (frame := await self._process.receive()) is not None:
                self._handle(frame)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must learn that nothing will come
            self._fault = EngineDied(f"the engine's messages cannot be handled: {type(error).__name__}: {error}")
        closing = self._closing
        await self._process.end(patience=5.0)
        if closing:
            self._fault = self._fault or EngineDied("the engine was closed")
        self._fail_all(self._fault or EngineDied(f"the engine's process is gone: {self._process.last_words()}"))

    def _fail_all(self, fault: EngineError) -> None:
        self._fault = fault
        if not self._ready.done():
            self._ready.set_exception(fault)
            self._ready.exception()  # marks it as seen, for a client that nobody waited on
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_again(fault))
        for generation in self._generations.values():
            generation.fail(fault)
        self._generations.clear()

    def _handle(self, frame: protocol.Frame) -> None:
        match frame["op"]:
            case "events":
                for event in frame["events"]:
                    self._event(event)
            case "accepted" | "stats":
                self._resolve(frame["id"], frame)
            case "refused":
                self._resolve(frame["id"], _refusal(frame))
            case "loading":
                self.loading = Loading(frame["message"], frame["fraction"])
                if self._on_progress:
                    self._on_progress(self.loading)
            case "ready":
                self.loading = Loading("ready", 1.0)
                self._ready.set_result(ModelInfo(**frame["info"]))
            case "failed":
                self._fault = EngineError(frame["message"])

    def _event(self, event: dict[str, Any]) -> None:
        generation = self._generations.get(event["id"])
        if generation is not None and generation.take(event):
            del self._generations[event["id"]]

    def _resolve(self, number: int, value: protocol.Frame | EngineError) -> None:
        answer = self._answers.get(number)
        if isinstance(value, EngineError):
            self._generations.pop(number, None)
        if answer is None or answer.done():
            return
        if isinstance(value, EngineError):
            answer.set_exception(value)
        else:
            answer.set_result(value)


def _again(fault: EngineError) -> EngineError:
    """The same error anew, so that tracebacks of several callers do not pile up in one object."""
    return type(fault)(str(fault))


def _refusal(frame: protocol.Frame) -> EngineError:
    if frame["kind"] == "full":
        return QueueFull(frame["message"])
    return RequestError(frame["message"], param=frame.get("param"), too_long=frame.get("too_long", False))


def _token(value: Any) -> int:
    """A token id of any integer type (NumPy's, say); nothing is rounded into one."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise RequestError(f"token ids are whole numbers (got {value!r})", param="tokens") from None


def _prompt_body(
    messages: Messages | None, prompt: str | None, tokens: Sequence[int] | None, truncate: Truncate
) -> dict[str, Any]:
    if sum(part is not None for part in (messages, prompt, tokens)) != 1:
        raise RequestError("give exactly one of messages, prompt and tokens", param="prompt")
    if prompt is not None:
        return {"text": prompt}
    if tokens is not None:
        return {"tokens": [_token(token) for token in tokens]}
    # The engine checks them: what is not a message is refused there, with its place in the list.
    turns = [m.model_dump() if isinstance(m, Message) else dict(m) for m in messages or ()]
    return {"messages": turns, "truncate": truncate}
