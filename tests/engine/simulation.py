"""Steps of the scheduler with the network left out: they only move counts. What must always hold is checked in each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lindos.engine import Sampling
from lindos.engine.blocks import BLOCK, BlockPool
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.engine.scheduler import Scheduler, Work


def request(number: int, prompt: int, limit: int, *, priority: int = 0, client: str = "") -> Request:
    sampling = Sampling(seed=number, ignore_end=True)
    return Request(number, [1] * prompt, limit, sampling, OutputText(None, ()), priority=priority, client=client)


def scheduler(*, blocks: int, running: int, step: int) -> Scheduler:
    return Scheduler(BlockPool(blocks * BLOCK), max_running=running, step_tokens=step)


@dataclass
class Simulation:
    """A scheduler, and what became of its requests."""

    scheduler: Scheduler
    step_tokens: int
    started: list[Request] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)
    """By client, a prompt's tokens once, an answer's twice."""

    def add(self, one: Request) -> Request:
        self.scheduler.add(one)
        return one

    def step(self) -> list[Work]:
        work = self.scheduler.schedule()
        assert work, "requests are there, so something must move"
        self.check(work)
        # In the order they were let in: in the first step a prompt of one token stands before longer ones.
        self.started += [one for one in self.scheduler.running if one not in self.started]
        for item in work:
            self.served[item.request.client] += 2 * item.samples
            if item.samples and len(item.request.tokens) == item.request.prompt_tokens:
                self.served[item.request.client] += item.request.prompt_tokens
            item.request.cached = item.end
            if item.samples and item.request.append(1)[1] is not None:
                self.scheduler.remove(item.request)
                self.ended.append(item.request.id)
        return work

    def finish(self, steps: int = 100_000) -> None:
        for _ in range(steps):
            if self.scheduler.idle:
                return
            self.step()
        raise AssertionError("it does not end")

    def check(self, work: list[Work]) -> None:
        pool, running, waiting = self.scheduler.pool, self.scheduler.running, list(self.scheduler.waiting)
        assert pool.used == sum(r.blocks for r in running) <= pool.total
        assert all(r.blocks == r.cached == 0 for r in waiting)
        assert len(self.scheduler.waiting) == len(waiting)
        assert not set(running) & set(waiting)
        assert sum(item.end - item.start for item in work) <= self.step_tokens
        assert len({item.request.id for item in work}) == len(work) <= len(running)
        for item in work:
            assert item.request in running
            assert item.start == item.request.cached < item.end <= len(item.request.tokens)
            assert pool.needed(item.end) <= item.request.blocks
        ranks = [-r.priority for r in running]
        assert ranks == sorted(ranks), "running requests are ranked by priority"
        for one in running:  # nobody is let in past an older request of the same client and priority
            assert not [
                r for r in waiting if (r.client, r.priority) == (one.client, one.priority) and r.order < one.order
            ]
