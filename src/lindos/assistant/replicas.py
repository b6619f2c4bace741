"""Replicas: several models that are the same one, as one ChatModel."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from lindos.assistant.balance import Load, Seat, choose
from lindos.assistant.model import (
    Answer,
    ChatModel,
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
from lindos.assistant.pumped import PumpedAnswer

SETTLE_SECONDS = 2.0
"""How long the others are waited for once the first replica is ready, so that a wrong one among them is found."""
DRAIN_SECONDS = 2.0
AGAIN_SECONDS = 0.3
"""Before replicas that failed are asked once more, when there is no other."""
PLACE_SECONDS = 10.0
"""How long a request that was taken and then failed waits for a place elsewhere."""

log = logging.getLogger("lindos.assistant")


@dataclass
class Replica:
    """One of the models, and what is known of it."""

    label: str
    """For the log."""
    model: ChatModel
    load: Load = field(default_factory=Load)
    stranger: bool = False
    """Whether it turned out to be another model than the rest."""


class Placed(NamedTuple):
    """A request at a replica."""

    number: int
    replica: Replica
    seat: Seat
    answer: Answer


@dataclass
class Wanted:
    """What `submit` was asked, and what became of it so far."""

    messages: Sequence[Message] | None
    ways: dict[str, Any]
    failed: set[int] = field(default_factory=set)
    """Replicas that could not answer it."""
    problem: EngineError | None = None
    """What the last of them said."""
    once_more: bool = True
    """Whether those may be asked once more, when there is no other."""


class Replicas:
    """Gives each request to the replica with the fewest under way, and to another one when it fails before it began.

    Belongs to the event loop it was made in. All must serve a model of the same name, unless `name` is what they are
    called together. `close` lets what is under way finish for `drain_seconds`, then ends it.
    """

    def __init__(
        self,
        models: Sequence[ChatModel],
        *,
        name: str | None = None,
        labels: Sequence[str] | None = None,
        drain_seconds: float = DRAIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not models:
            raise EngineError("there are no replicas: name at least one model")
        named = labels or [f"replica {number}" for number in range(1, len(models) + 1)]
        self._replicas = [Replica(label, model) for label, model in zip(named, models, strict=True)]
        self._name = name
        self._common: str | None = None
        self._drain_seconds = drain_seconds
        self._clock = clock
        self._answers: set[PumpedAnswer] = set()
        self._fault: EngineError | None = None
        self._closing = False
        self._settled = asyncio.Event()
        """Set once it is known whether there is a model to answer."""
        self._keeper = asyncio.create_task(self._keep())

    @property
    def ready(self) -> bool:
        return self._fault is None and not self._closing and self._common is not None and bool(self._usable())

    @property
    def loading(self) -> Loading:
        if self.ready:
            return Loading("ready", 1.0)
        return max((replica.model.loading for replica in self._replicas), key=lambda loading: loading.fraction)

    @property
    def fault(self) -> EngineError | None:
        return self._fault

    @property
    def info(self) -> ModelInfo:
        known = [info for replica in self._replicas if (info := self._known(replica))]
        if not known or self._common is None:
            raise self._fault or EngineError(f"the model is not there yet: {self.loading.message}")
        return replace(known[0], name=self._name or self._common, context=min(info.context for info in known))

    async def wait_ready(self) -> ModelInfo:
        await self._settled.wait()
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        return self.info

    async def wait_fault(self) -> EngineError:
        await asyncio.wait({self._keeper})
        return self._fault or EngineDied("the replicas were closed")

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
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        if self._closing or not self.ready:
            raise EngineError(f"the model is not ready: {'it is closing' if self._closing else self.loading.message}")
        ways = {"prompt": prompt, "sampling": sampling, "truncate": truncate, "priority": priority, "client": client}
        wanted = Wanted(messages, ways)
        answer = PumpedAnswer()
        placed = await self._place(wanted)
        self._answers.add(answer)
        answer.fill(self._relay(answer, wanted, placed))
        return answer

    async def stats(self) -> Stats:
        """Of all replicas together; those that do not answer are left out."""
        asked = await asyncio.gather(*(replica.model.stats() for replica in self._usable()), return_exceptions=True)
        found = [stats for stats in asked if isinstance(stats, Stats)]
        if not found:
            raise self._fault or EngineError("no replica tells what it is doing")
        sums = {f.name: sum(getattr(s, f.name) for s in found) for f in fields(Stats) if f.name != "finished"}
        ways = {way for stats in found for way in stats.finished}
        return Stats(**sums, finished={way: sum(stats.finished.get(way, 0) for stats in found) for way in ways})

    async def close(self) -> None:
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                await asyncio.gather(*(answer.wait() for answer in list(self._answers)))
        self._keeper.cancel()
        await asyncio.wait({self._keeper})
        self._fault = self._fault or EngineDied("the replicas were closed")
        self._settled.set()
        await asyncio.gather(*(replica.model.close() for replica in self._replicas))
        for answer in list(self._answers):
            await answer.settle()

    def under_way(self) -> list[int]:
        """Answers of each replica."""
        return [replica.load.under_way for replica in self._replicas]

    # One request.

    async def _place(self, wanted: Wanted) -> Placed:
        """Hand a request to a replica that takes it.

        Raises QueueFull when all that are left are full, else what the last one said.
        """
        full: set[int] = set()
        while not self._closing:
            number = choose(self._loads(), self._clock(), frozenset(wanted.failed | full))
            if number is None:
                if full or not wanted.failed or not wanted.once_more:
                    break
                wanted.once_more = False
                await asyncio.sleep(AGAIN_SECONDS)
                wanted.failed.clear()
                continue
            replica = self._replicas[number]
            seat = Seat(replica.load, self._clock())
            try:
                return Placed(number, replica, seat, await replica.model.submit(wanted.messages, **wanted.ways))
            except BaseException as error:
                seat.leave()
                if isinstance(error, RequestError) or not isinstance(error, EngineError):
                    raise
                if isinstance(error, QueueFull):
                    full.add(number)
                else:
                    self._failed(wanted, number, error)
        if full:
            raise QueueFull("all replicas are full; try again later")
        raise wanted.problem or EngineError("no replica can answer just now; try again later")

    async def _place_again(self, wanted: Wanted) -> Placed:
        """`_place` for a request that was taken already: it waits a while for others to leave."""
        until = self._clock() + PLACE_SECONDS
        while True:
            try:
                return await self._place(wanted)
            except QueueFull:
                if self._clock() >= until:
                    raise
                await asyncio.sleep(0.05)

    async def _relay(self, answer: PumpedAnswer, wanted: Wanted, placed: Placed) -> None:
        """Fill `answer` from where it was placed; from another replica when that one fails before it began."""
        try:
            while True:
                answer.dropped, answer.usage = placed.answer.dropped, placed.answer.usage
                try:
                    await self._forward(answer, placed)
                    return
                except EngineError as error:
                    placed.seat.leave()
                    if isinstance(error, RequestError):
                        raise
                    if isinstance(error, QueueFull):
                        wanted.failed.add(placed.number)
                    else:
                        self._failed(wanted, placed.number, error)
                    if answer.begun is not None or self._closing:
                        raise
                    placed = await self._place_again(wanted)
        except asyncio.CancelledError:
            placed.seat.give_up(self._clock())
            placed.answer.cancel()
            answer.end_cancelled(await placed.answer.wait())
        except EngineError as error:
            answer.usage = placed.answer.usage
            answer.fail(error)
        finally:
            placed.seat.leave()
            self._answers.discard(answer)

    async def _forward(self, answer: PumpedAnswer, placed: Placed) -> None:
        """All chunks of where it was placed. Raises EngineError as they do."""
        async for chunk in placed.answer:
            answer.estimated = getattr(placed.answer, "estimated", False)
            answer.put(chunk)
            if answer.begun is not None or answer.ended:
                placed.seat.begin(self._clock())

    # Who is there.

    def _failed(self, wanted: Wanted, number: int, error: EngineError) -> None:
        """A replica could not answer."""
        wanted.failed.add(number)
        wanted.problem = error
        if not self._closing:
            log.warning("%s failed: %s", self._replicas[number].label, error)
            self._replicas[number].load.failed(self._clock())

    def _usable(self) -> list[Replica]:
        return [replica for replica, load in zip(self._replicas, self._loads(), strict=True) if load.ready]

    def _loads(self) -> list[Load]:
        for replica in self._replicas:
            replica.load.ready = replica.model.ready and self._belongs(replica)
        return [replica.load for replica in self._replicas]

    def _belongs(self, replica: Replica) -> bool:
        """Whether a replica serves what the others do, which may change when it is started again."""
        stranger = self._name is None and self._common is not None and replica.model.info.name != self._common
        if stranger and not replica.stranger:
            name = replica.model.info.name
            log.error("%s serves %s, not %s: it gets no requests", replica.label, name, self._common)
        replica.stranger = stranger
        return not stranger

    @staticmethod
    def _known(replica: Replica) -> ModelInfo | None:
        try:
            return None if replica.stranger else replica.model.info
        except EngineError:
            return None

    async def _keep(self) -> None:
        """Find out what the model is; then wait until no replica will ever answer again."""
        waits = [asyncio.create_task(replica.model.wait_ready()) for replica in self._replicas]
        try:
            await self._first(waits)
            if self._fault is None:
                await asyncio.gather(*(replica.model.wait_fault() for replica in self._replicas))
                self._fault = EngineError("no replica is left\n" + self._faults())
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
            for wait in waits:
                if not wait.cancelled():
                    wait.exception()  # marks it as seen
            self._settled.set()

    async def _first(self, waits: list[asyncio.Task[ModelInfo]]) -> None:
        pending = set(waits)
        while pending and not any(_good(wait) for wait in waits):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            await asyncio.wait(pending, timeout=SETTLE_SECONDS)
        names = [
            (replica.label, wait.result().name)
            for replica, wait in zip(self._replicas, waits, strict=True)
            if _good(wait)
        ]
        if not names:
            self._fault = EngineError("no replica can be used\n" + self._faults())
        elif self._name is None and len({name for _, name in names}) > 1:
            listed = ", ".join(f"{name} at {label}" for label, name in names)
            self._fault = EngineError(f"the replicas serve different models ({listed}): choose one by its name")
        else:
            self._common = names[0][1]
            self._settled.set()

    def _faults(self) -> str:
        return "\n".join(f"{replica.label}: {replica.model.fault}" for replica in self._replicas)


def _good(wait: asyncio.Task[ModelInfo]) -> bool:
    return wait.done() and not wait.cancelled() and wait.exception() is None
