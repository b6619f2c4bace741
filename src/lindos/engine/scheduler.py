"""Which tokens of which requests go through the network in the next step. Torch-free; counts only.

Who waits is let in by priority and in fairness between clients (`fairness.py`), and nobody is let in past the one who
is next. Running requests are ranked by priority, then by when they were let in. When the cache runs out, the last in
rank is sent back, to be computed anew later, so the first in rank always goes on and ends. When the next to be let in
does not fit, those of lower priorities are sent back for it, the last in rank first, if that helps.

Tokens whose keys and values are still in the cache are not computed again, whoever's they were; at least one always is,
for what follows it to be sampled.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import NamedTuple

from lindos.engine.blocks import BLOCK, BlockPool
from lindos.engine.fairness import FairQueue
from lindos.engine.request import Request
from lindos.engine.speculation import Speculation


class Work(NamedTuple):
    """Tokens [start, end) of a request, to be computed in one step."""

    request: Request
    start: int
    end: int
    guesses: tuple[int, ...] = ()
    """What the request may go on with, computed along (`speculation.py`)."""

    @property
    def samples(self) -> bool:
        """Whether the request's next token is sampled after this step."""
        return self.end == len(self.request.tokens)


class Scheduler:
    """Waiting and running requests, and the cache's budget they share."""

    def __init__(
        self, pool: BlockPool, *, max_running: int, step_tokens: int, speculation: Speculation | None = None
    ) -> None:
        """Without `speculation` nothing is guessed."""
        self.pool = pool
        self.speculation = speculation
        self.waiting = FairQueue()
        self.running: list[Request] = []  # by rank, first the one that keeps its place longest
        self.preemptions = 0
        self._max_running = max_running
        # Every running request must be able to go one token on in every step.
        self._step_tokens = max(step_tokens, max_running)
        self._orders = itertools.count()

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    def add(self, request: Request) -> None:
        """Queue a request, whose prompt and limit must fit the cache when it is alone."""
        request.order = next(self._orders)
        self.waiting.add(request)

    def remove(self, request: Request, *, failed: bool = False) -> None:
        """Forget a request in whatever state, and free what it holds; what a failed one computed is of no use."""
        if failed:
            self.pool.forget(request.blocks)
        if request in self.running:
            self.running.remove(request)
        elif request in self.waiting:
            self.waiting.remove(request)
        self._release(request)

    def schedule(self) -> list[Work]:
        """The next step: one token of each answering request, then prompts by rank, as far as the step allows.

        Not empty while there are requests.
        """
        preempted_before = self.preemptions
        for request in [request for request in self.running if request.left == 1]:
            self._make_room(request)
        if self.preemptions == preempted_before:
            self._admit()
        single = [request for request in self.running if request.left == 1]
        work = [Work(request, request.cached, request.cached + 1) for request in single]
        room = self._step_tokens - len(work)
        for request in self.running:
            if request.left > 1 and room > 0:
                self._skip(request)
                count = min(request.left, room)
                work.append(Work(request, request.cached, request.cached + count))
                room -= count
        for item in work:
            if item.samples:
                self.waiting.charge_answer(item.request, 1)
        if self.speculation is not None and len(single) == len(work):  # beside a prompt a row is dear
            work = self._guess(work, room)
        return work

    def _guess(self, work: list[Work], room: int) -> list[Work]:
        """The work with what is guessed to follow, as far as it is worth it and the requests hold room for it."""
        assert self.speculation is not None
        most = [min(self._room(item), item.request.limit_left - 1) for item in work]
        guesses = self.speculation.guess([item.request for item in work], most, room)
        return [item._replace(guesses=tuple(some)) for item, some in zip(work, guesses, strict=True)]

    @staticmethod
    def _room(item: Work) -> int:
        """Tokens behind the work for which its request holds blocks."""
        return len(item.request.blocks) * BLOCK - item.end

    def computed(self, work: Work, right: int = 0) -> None:
        """A step has extended the cache by the work, and by the guesses that were `right`: what fills blocks can be
        found from now on."""
        request, end = work.request, work.end + right
        full = range(work.start // BLOCK, end // BLOCK)
        request.reach(end)
        if right:
            self.waiting.charge_answer(request, right)
        if self.speculation is not None and work.guesses:
            self.speculation.learn(request, len(work.guesses), right)
        if full:
            digests = request.digests.first(full.stop)
            for index in full:
                self.pool.keep(request.blocks[index], digests[index])

    def _admit(self) -> None:
        """Let waiting requests in, one after the other, while the next one has a slot, a place in this step and its
        prompt's blocks, or gets them from lower priorities."""
        while (request := self.waiting.next()) is not None and self._has_place(request):
            found = self._found(request)
            victims = self._victims(request, found)
            if victims is None:
                return
            for victim in victims:
                self._send_back(victim)
            self.pool.hold(found)
            request.blocks = found + self.pool.take(self.pool.needed(len(request.tokens)) - len(found))
            request.skip(len(found) * BLOCK)
            self.waiting.admit(request)
            rank = sum(other.priority >= request.priority for other in self.running)
            self.running.insert(rank, request)

    def _has_place(self, request: Request) -> bool:
        """Whether the tokens of those before it in rank leave some of the step to it."""
        before = (other.left for other in self.running if other.priority >= request.priority)
        return sum(before) < self._step_tokens

    def _found(self, request: Request) -> list[int]:
        """Blocks in which its first tokens stand, all but the last one at most."""
        return self.pool.find(request.digests.first((len(request.tokens) - 1) // BLOCK))

    def _skip(self, request: Request) -> None:
        """Go past what others have computed since the request was let in, such as the beginning they share."""
        found = self._found(request)
        index = request.cached // BLOCK
        if index < len(found) and found[index] != request.blocks[index]:
            self.pool.hold(found[index:])
            self.pool.give(request.blocks[index : len(found)])
            request.blocks[index : len(found)] = found[index:]
            request.skip(len(found) * BLOCK)

    def _victims(self, request: Request, found: list[int]) -> list[Request] | None:
        """The fewest to be sent back so that the request can start, which holds what was found; None when it cannot."""
        pool = self.pool
        slots, blocks = self._max_running - len(self.running), pool.free
        needed = pool.needed(len(request.tokens)) - sum(pool.holders(block) > 0 for block in found)
        shared = set(found)
        given: Counter[int] = Counter()
        victims: list[Request] = []
        # One spare block for each that runs beside it, lest the newcomer be sent back in the very next steps.
        while slots < 1 or needed + len(self.running) - len(victims) > blocks:
            last = len(self.running) - len(victims) - 1
            if last < 0 or self.running[last].priority >= request.priority:
                return None
            victims.append(self.running[last])
            slots += 1
            given.update(self.running[last].blocks)
            blocks += sum(
                given[block] == pool.holders(block) for block in self.running[last].blocks if block not in shared
            )
        return victims

    def _make_room(self, request: Request) -> None:
        """Set a block aside for the request's next token if it needs one, unless it is itself sent back."""
        while request in self.running:
            needed = self.pool.needed(len(request.tokens)) - len(request.blocks)
            if needed <= self.pool.free:
                request.blocks += self.pool.take(needed)
                return
            self._send_back(self.running[-1])

    def _send_back(self, request: Request) -> None:
        self.running.remove(request)
        self._release(request)
        self.waiting.add(request)
        self.preemptions += 1

    def _release(self, request: Request) -> None:
        self.pool.give(request.blocks)
        request.blocks = []
        request.cached = 0
