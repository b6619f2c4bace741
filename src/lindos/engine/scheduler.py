"""Which tokens of which requests go through the network in the next step. Torch-free; counts only.

Strictly first come, first served: a request that waits is never overtaken, and when the cache runs out it is the
youngest running request that goes back to the head of the queue, to be computed anew later. The oldest one can
therefore always finish.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from lindos.engine.blocks import BlockPool
from lindos.engine.request import Request


class Work(NamedTuple):
    """Tokens [start, end) of a request, to be computed in one step."""

    request: Request
    start: int
    end: int

    @property
    def samples(self) -> bool:
        """Whether the request's next token is sampled after this step."""
        return self.end == len(self.request.tokens)


class Scheduler:
    """Waiting and running requests, and the cache's budget they share."""

    def __init__(self, pool: BlockPool, *, max_running: int, step_tokens: int) -> None:
        self.pool = pool
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []  # by age, oldest first
        self.preemptions = 0
        self._max_running = max_running
        # Every running request must be able to go one token on in every step.
        self._step_tokens = max(step_tokens, max_running)

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    def add(self, request: Request) -> None:
        """Queue a request, whose prompt and limit must fit the cache when it is alone."""
        self.waiting.append(request)

    def remove(self, request: Request) -> None:
        """Forget a request in whatever state, and free what it holds."""
        if request in self.running:
            self.running.remove(request)
        elif request in self.waiting:
            self.waiting.remove(request)
        self._release(request)

    def schedule(self) -> list[Work]:
        """The next step: one token of each answering request, then prompts, oldest first, as far as the step allows.

        Not empty while there are requests.
        """
        preempted_before = self.preemptions
        answering = [request for request in self.running if request.left == 1]
        work = [Work(request, request.cached, request.cached + 1) for request in answering if self._make_room(request)]
        room = self._step_tokens - len(work)
        if self.preemptions == preempted_before:
            self._admit(room)
        for request in self.running:
            if request not in answering and room > 0:
                count = min(request.left, room)
                work.append(Work(request, request.cached, request.cached + count))
                room -= count
        return work

    def _admit(self, room: int) -> None:
        """Let waiting requests in, in order, while a slot, a place in this step and their prompt's blocks are free."""
        room -= sum(request.left for request in self.running if request.left > 1)
        while self.waiting and len(self.running) < self._max_running and room > 0:
            request = self.waiting[0]
            needed = self.pool.needed(len(request.tokens))
            # One spare block for each that runs already, lest the newcomer be sent back in the very next steps.
            if needed + len(self.running) > self.pool.free:
                return
            self.pool.take(needed)
            request.blocks = needed
            self.running.append(self.waiting.popleft())
            room -= request.left

    def _make_room(self, request: Request) -> bool:
        """Set a block aside for the request's next token if it needs one; False when it was itself sent back."""
        if request not in self.running:
            return False
        needed = self.pool.needed(len(request.tokens)) - request.blocks
        while needed > self.pool.free:
            youngest = self.running.pop()
            self._release(youngest)
            self.waiting.appendleft(youngest)
            self.preemptions += 1
            if youngest is request:
                return False
        self.pool.take(needed)
        request.blocks += needed
        return True

    def _release(self, request: Request) -> None:
        self.pool.give(request.blocks)
        request.blocks = 0
        request.cached = 0
        request.cache = None
