"""The engine itself: step = schedule, run, sample, hand out. One thread; no process, no sockets."""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lindos.engine.blocks import BLOCK
from lindos.engine.interface import Finish, Stats, Timing, TokenLogprob, Usage
from lindos.engine.memory import resident_bytes
from lindos.engine.request import Request
from lindos.engine.sampler import Failed, Sampled, sample
from lindos.engine.scheduler import Scheduler, Work

if TYPE_CHECKING:
    from torch import Tensor

    from lindos.engine.store import StoreStats

RATE_WINDOW = 10.0
"""Seconds over which the speed is taken."""


class StepRunner(Protocol):
    """What computes steps: the Runner, or a faster one."""

    def run(self, work: Sequence[Work]) -> Tensor:
        """Extend the caches by the work; fp32 logits [R, V] of the requests that sample, in the order of the work,
        each with as many more rows as it has guesses.

        The same work may be run again after an exception.
        """
        ...


@dataclass(frozen=True)
class Event:
    """News of one request; the last one carries usage."""

    id: int
    text: str
    ids: list[int]
    seconds: float
    finish: Finish | None = None
    usage: Usage | None = None
    timing: Timing | None = None
    error: str | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def frame(self) -> dict[str, Any]:
        """As the protocol sends it: without what is not set."""
        frame = {name: value for name, value in asdict(replace(self, logprobs=[])).items() if value is not None}
        return {**frame, "logprobs": [one.packed() for one in self.logprobs]} if self.logprobs else frame


class Outcome(NamedTuple):
    """What became of a piece of work: the token it led to, None for a prompt under way, and the logits [G, V] after
    each of its guesses, None without any."""

    work: Work
    found: Sampled | None = None
    more_GV: Tensor | None = None


class EngineCore:
    """Runs requests to their ends. Whatever goes wrong in a step ends the requests concerned, never the engine."""

    def __init__(self, runner: StepRunner, scheduler: Scheduler, experts: StoreStats | None = None) -> None:
        """`experts`: what the runner's store of experts counts, if it has one."""
        self._runner = runner
        self._experts = experts
        self._scheduler = scheduler
        self._requests: dict[int, Request] = {}
        self._finished: Counter[str] = Counter(stop=0, length=0, cancelled=0, error=0)
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._cached_tokens = 0
        self._steps = 0
        self._step_seconds = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return self._scheduler.idle

    def add(self, request: Request) -> None:
        """Queue a request."""
        self._requests[request.id] = request
        self._scheduler.add(request)

    def cancel(self, number: int) -> list[Event]:
        """End a request, wherever it is; nothing when it has ended already."""
        request = self._requests.get(number)
        return [] if request is None else [self._end(request, request.output.flush(), "cancelled")]

    def step(self) -> list[Event]:
        """Advance every running request as far as one step allows; the news, at most one event a request."""
        started = time.monotonic()
        work = self._scheduler.schedule()
        for item in work:
            if item.request.started is None:
                item.request.started = started
        events: list[Event] = []
        sampled = 0
        for item, found, more in self._run(work, events):
            before = len(item.request.tokens)
            if found is None:
                self._scheduler.computed(item)
            else:
                events += self._taken(item, found, more)
            sampled += len(item.request.tokens) - before
        self._count(started, sampled)
        self._learn(work, time.monotonic() - started)
        return events

    def _run(self, work: list[Work], events: list[Event]) -> list[Outcome]:
        """What became of each piece of work; failed work only leaves events."""
        try:
            return self._attempt(work, events)
        except Exception:  # noqa: BLE001 - whatever it is, it must not take the other requests along
            traceback.print_exc(file=sys.stderr)
        done: list[Outcome] = []
        for item in work:
            try:
                done += self._attempt([item], events)
            except Exception as error:  # noqa: BLE001
                events.append(self._fail(item.request, f"{type(error).__name__}: {error}"))
        return done

    def _attempt(self, work: list[Work], events: list[Event]) -> list[Outcome]:
        logits_RV = self._runner.run(work)
        sampling = [item for item in work if item.samples]
        rows = list(itertools.accumulate((1 + len(item.guesses) for item in sampling), initial=0))
        first_RV = logits_RV if len(rows) == len(logits_RV) + 1 else logits_RV[rows[:-1]]
        tokens = sample(first_RV, [item.request for item in sampling]) if sampling else []
        done = [Outcome(item) for item in work if not item.samples]
        for item, found, row in zip(sampling, tokens, rows, strict=False):
            if isinstance(found, Failed):
                events.append(self._fail(item.request, found.reason))
            else:
                after_GV = logits_RV[row + 1 : row + 1 + len(item.guesses)] if item.guesses else None
                done.append(Outcome(item, found, after_GV))
        return done

    def _taken(self, work: Work, found: Sampled, more_GV: Tensor | None) -> list[Event]:
        try:
            return self._advance(work, found, more_GV)
        except Exception as error:  # noqa: BLE001 - as above
            traceback.print_exc(file=sys.stderr)
            return [self._fail(work.request, f"{type(error).__name__}: {error}")]

    def _advance(self, work: Work, found: Sampled, more_GV: Tensor | None) -> list[Event]:
        """Take the sampled token, and as long as it is the guessed one, sample the next from the row behind."""
        request, text, right = work.request, "", 0
        while True:
            piece, finish = request.append(found.token, found.logprobs)
            text += piece
            guessed = right < len(work.guesses) and found.token == work.guesses[right]
            if finish is not None or not guessed or more_GV is None:
                break
            (after,) = sample(more_GV[right : right + 1], [request])
            right += 1
            if isinstance(after, Failed):
                return [self._fail(request, after.reason, text)]
            found = after
        self._scheduler.computed(work, right)
        if finish is not None:
            return [self._end(request, text, finish)]
        return [_news(request, text)] if text else []

    def _learn(self, work: list[Work], seconds: float) -> None:
        """What steps of answers cost, for guesses to be weighed by."""
        speculation = self._scheduler.speculation
        if speculation is not None and all(item.end - item.start == 1 for item in work):
            speculation.row_cost.learn(len(work) + sum(len(item.guesses) for item in work), seconds)

    def _end(self, request: Request, text: str, finish: Finish) -> Event:
        self._forget(request, finish)
        return _news(request, text, finish=finish, usage=request.usage, timing=request.timing())

    def _fail(self, request: Request, reason: str, text: str = "") -> Event:
        """`text` was to be shown before."""
        self._forget(request, "error")
        message = f"the engine could not go on with this request: {reason}"
        text += request.output.flush()
        return _news(request, text, usage=request.usage, timing=request.timing(), error=message)

    def _forget(self, request: Request, how: str) -> None:
        self._scheduler.remove(request, failed=how == "error")
        del self._requests[request.id]
        self._finished[how] += 1
        self._prompt_tokens += request.usage.prompt_tokens
        self._completion_tokens += request.usage.completion_tokens
        self._cached_tokens += request.usage.cached_tokens

    # What it is doing.

    def _count(self, started: float, sampled: int) -> None:
        now = time.monotonic()
        self._steps += 1
        self._step_seconds += now - started
        self._recent.append((now, sampled))
        while self._recent[0][0] < now - RATE_WINDOW:
            self._recent.popleft()

    def stats(self) -> Stats:
        """Counts as of now; another thread may ask while a step runs."""
        now = time.monotonic()
        recent = [(at, count) for at, count in list(self._recent) if at >= now - RATE_WINDOW]
        pool, speculation = self._scheduler.pool, self._scheduler.speculation
        under_way = [request.usage for request in list(self._requests.values())]
        return Stats(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            kv_tokens=pool.used * BLOCK,
            kv_kept=pool.kept * BLOCK,
            kv_budget=pool.total * BLOCK,
            tokens_per_second=sum(count for _, count in recent) / RATE_WINDOW,
            prompt_tokens=self._prompt_tokens + sum(usage.prompt_tokens for usage in under_way),
            completion_tokens=self._completion_tokens + sum(usage.completion_tokens for usage in under_way),
            cached_tokens=self._cached_tokens + sum(usage.cached_tokens for usage in under_way),
            finished=dict(self._finished),
            preemptions=self._scheduler.preemptions,
            steps=self._steps,
            step_seconds=self._step_seconds,
            resident_bytes=resident_bytes(),
            **({} if self._experts is None else self._experts.counts()),
            **({} if speculation is None else {"guessed": speculation.guessed, "guessed_right": speculation.right}),
        )


def _news(request: Request, text: str, **more: Any) -> Event:
    """An event that carries `text` and all tokens that no event has carried yet."""
    ids, logprobs = request.take_pending()
    return Event(request.id, text, ids, request.seconds, logprobs=logprobs, **more)
