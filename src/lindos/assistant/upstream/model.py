"""UpstreamChatModel: any server that speaks OpenAI's API, as a ChatModel."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Self

from lindos.assistant.model import (
    Answer,
    EngineDied,
    EngineError,
    Loading,
    Message,
    ModelInfo,
    QueueFull,
    RequestError,
    Sampling,
    Stats,
    Truncate,
)
from lindos.assistant.upstream.answer import UpstreamAnswer
from lindos.assistant.upstream.attempt import attempt, open_client
from lindos.assistant.upstream.dialect import dialects
from lindos.assistant.upstream.faults import Fault
from lindos.assistant.upstream.fitting import TRIES, shortened
from lindos.assistant.upstream.options import UpstreamOptions
from lindos.assistant.upstream.probe import Served, Unfit, served_model
from lindos.assistant.upstream.request import asked_for, body_of
from lindos.assistant.upstream.tally import Tally

ASSUMED_CONTEXT = 8192
"""Tokens, where neither the upstream nor the options tell: it only bounds how long an answer is asked for."""
FIRST_PROBE_SECONDS = 0.5
"""Between the first two questions to an upstream that does not answer; doubled up to `probe_seconds`."""
GAP_SECONDS = 0.1
"""Between two questions at least, however much goes wrong."""

log = logging.getLogger("lindos.assistant")


class UpstreamChatModel:
    """One upstream, asked now and then whether it is there. Belongs to the event loop that `start` ran in."""

    def __init__(self, options: UpstreamOptions, on_progress: Callable[[Loading], None] | None = None) -> None:
        self._options = options
        self._dialect = dialects()[options.kind]
        self._limit_fields = list(self._dialect.chat_limit)
        self._on_progress = on_progress
        self._client = open_client(options)
        self._info: ModelInfo | None = None
        self._context: int | None = None
        self._fault: EngineError | None = None
        self._ready = False
        self._loading = Loading("asking the upstream for its model", 0.0)
        self._asked_once = asyncio.Event()
        """Set once it was ready for the first time, or will never be."""
        self._doubted = asyncio.Event()
        self._heard_at = 0.0
        self._answers: set[UpstreamAnswer] = set()
        self._tally = Tally()
        self._keeper = asyncio.create_task(self._keep())

    @classmethod
    def start(cls, options: UpstreamOptions, *, on_progress: Callable[[Loading], None] | None = None) -> Self:
        """Begin to ask for the upstream and return at once; `wait_ready` waits for it."""
        return cls(options, on_progress)

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def loading(self) -> Loading:
        return self._loading

    @property
    def fault(self) -> EngineError | None:
        return self._fault

    @property
    def info(self) -> ModelInfo:
        if self._info is None:
            raise self._fault or EngineError(f"the model is not there yet: {self._loading.message}")
        return self._info

    async def wait_ready(self) -> ModelInfo:
        await self._asked_once.wait()
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        return self.info

    async def wait_fault(self) -> EngineError:
        await asyncio.wait({self._keeper})
        return self._fault or EngineDied("the upstream was closed")

    async def submit(
        self,
        messages: Sequence[Message] | None = None,
        *,
        prompt: str | None = None,
        sampling: Sampling | None = None,
        truncate: Truncate = "never",
        priority: int = 0,
        client: str = "",
    ) -> Answer:
        self._check_ready()
        asked = asked_for(messages, prompt, sampling, priority, client)
        body_of(asked, "", self._dialect, "")  # what it cannot do is refused before anything is sent
        if self._under_way() >= self._options.max_requests:
            raise QueueFull(f"{self._options.max_requests} requests are under way at the upstream; try again later")
        answer = UpstreamAnswer(asked, self._ended)
        self._answers.add(answer)
        answer.fill(self._answer(answer, truncate))
        try:
            await answer.wait_taken(self._options.accept_seconds)
        except BaseException:
            answer.cancel()  # nobody will: the caller was cancelled, or is told why it was refused
            raise
        return answer

    async def stats(self) -> Stats:
        if self._info is None:
            raise self._fault or EngineError(f"the model is not there yet: {self._loading.message}")
        waiting = sum(answer.begun is None and not answer.ended for answer in self._answers)
        return self._tally.stats(running=self._under_way() - waiting, waiting=waiting)

    async def close(self) -> None:
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        self._fault = self._fault or EngineDied("the connection to the upstream was closed")
        self._ready = False
        self._asked_once.set()
        answers = list(self._answers)
        for answer in answers:
            answer.abandon()
        for answer in answers:
            await answer.settle()
        await self._client.aclose()

    def _check_ready(self) -> None:
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        if not self._ready:
            raise EngineError(f"the model is not ready: {self._loading.message}")

    def _under_way(self) -> int:
        return sum(not answer.ended for answer in self._answers)

    # One request.

    async def _answer(self, answer: UpstreamAnswer, truncate: Truncate) -> None:
        """Fill an answer, trying again as long as it has not begun."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.total_seconds
        failures = refusals = 0
        try:
            while True:
                try:
                    await self._stream(answer, until)
                    return
                except Fault as fault:
                    if answer.begun is not None:
                        raise fault.error from None
                    refusals += 1
                    if refusals <= TRIES and self._changed(answer, fault, truncate):
                        continue
                    failures += 1
                    await self._patiently(fault, failures, until)
        except asyncio.CancelledError:
            if answer.stopped or self._fault is None:
                answer.end_cancelled()
            else:
                answer.fail(EngineDied("the connection to the upstream was closed"))
        except EngineError as error:
            answer.fail(error)
        finally:
            self._answers.discard(answer)

    def _ended(self, answer: UpstreamAnswer) -> None:
        if answer.was_taken:
            self._tally.ended(answer)

    async def _stream(self, answer: UpstreamAnswer, until: float) -> None:
        answer.limit_field = self._limit_fields[0]
        body = body_of(answer.asked, self.info.name, self._dialect, answer.limit_field)
        deltas = attempt(self._client, self._options, answer.asked.path, body, answer.taken, until)
        async with aclosing(deltas):
            async for delta in deltas:
                self._heard_at = time.monotonic()
                self._tally.add(answer.take_delta(delta))
                if delta.broken:
                    raise EngineError(delta.broken)
                if delta.done:
                    answer.conclude()
        answer.conclude()

    def _changed(self, answer: UpstreamAnswer, fault: Fault, truncate: Truncate) -> bool:
        """Whether the request now suits the upstream, which found it too long or knows a field by another name."""
        if not isinstance(fault.error, RequestError):
            return False
        if fault.error.too_long:
            shorter = shortened(answer.asked, fault.numbers, truncate, self._context)
            if shorter is None:
                return False
            answer.asked, dropped = shorter
            answer.dropped += dropped
            return True
        named = fault.error.param == answer.limit_field or answer.limit_field in str(fault.error)
        if not named or answer.asked.messages is None:
            return False
        if answer.limit_field != self._limit_fields[0]:
            return True  # another request that was under way found it out before
        if len(self._limit_fields) > 1:
            self._limit_fields.pop(0)
            return True
        return False

    async def _patiently(self, fault: Fault, failures: int, until: float) -> None:
        """Wait before the next try. Raises the fault's error when there is none."""
        options = self._options
        if fault.unreachable:
            self._lost(fault.error)
        elif fault.again:
            self._doubted.set()
        pause = options.backoff_seconds * 2 ** (failures - 1) * random.uniform(0.5, 1.0)
        pause = max(pause, fault.after or 0.0)
        left = until - asyncio.get_running_loop().time()
        if not fault.again or failures > options.retries or pause > min(options.retry_after_seconds, left):
            raise fault.error from None
        log.warning("%s: %s; trying again in %.1f s", options.url, fault.error, pause)
        await asyncio.sleep(pause)

    # Whether it is there.

    def _lost(self, error: EngineError) -> None:
        self._ready = False
        self._tell(f"{error}; trying again")
        self._doubted.set()

    def _tell(self, message: str, fraction: float = 0.0) -> None:
        self._loading = Loading(message, fraction)
        if self._on_progress:
            self._on_progress(self._loading)

    async def _keep(self) -> None:
        """Ask for the model until it is there, and from then on now and then whether it still is."""
        pause = FIRST_PROBE_SECONDS
        while self._fault is None:
            self._doubted.clear()
            try:
                self._found(await served_model(self._client, self._options))
                pause = self._options.probe_seconds
            except EngineError as error:
                if isinstance(error, Unfit) and self._info is None:
                    self._fault = EngineError(str(error))
                    break
                if str(error) not in self._loading.message:  # once, not at every question
                    log.warning("%s: %s", self._options.url, error)
                pause = FIRST_PROBE_SECONDS if self._ready else min(2 * pause, self._options.probe_seconds)
                self._ready = False
                self._tell(f"{error}; trying again")
            except Exception:
                log.exception("%s cannot be asked for its model", self._options.url)
                self._ready = False
                self._tell("the upstream cannot be asked for its model; the log says why")
            await self._rest(pause)
        self._ready = False
        self._asked_once.set()

    async def _rest(self, pause: float) -> None:
        """Wait for the next question: not while tokens come, which say enough, but soon when something went wrong."""
        while not self._doubted.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._doubted.wait()
            if not self._ready or time.monotonic() - self._heard_at > pause:
                break
        await asyncio.sleep(GAP_SECONDS if self._doubted.is_set() else 0)

    def _found(self, served: Served) -> None:
        if not self._ready:
            log.info("%s serves %s", self._options.url, served.name)
        self._info, self._context = _info(served), served.context
        self._ready = True
        self._tell("ready", 1.0)
        self._asked_once.set()


def _info(served: Served) -> ModelInfo:
    note = ""
    if served.context is None:
        note = f"The upstream does not tell its context; {ASSUMED_CONTEXT:,} tokens are assumed (--context)."
    return ModelInfo(
        name=served.name,
        kind="chat",
        context=served.context or ASSUMED_CONTEXT,
        parameters=0,
        active_parameters=0,
        vocabulary=0,
        dtype="",
        device="upstream",
        threads=0,
        template="upstream",
        note=note,
        kernels="upstream",
    )
