"""Steps of the scheduler with the network left out: they move counts, and write down which tokens the blocks stand for.
What must always hold is checked in each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lindos.engine import Sampling
from lindos.engine.blocks import BLOCK, BlockPool
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.engine.scheduler import Scheduler, Work
from lindos.engine.speculation import Speculation


def request(number: int, prompt: int | list[int], limit: int, *, priority: int = 0, client: str = "") -> Request:
    """A number of tokens stands for a prompt that begins as no other does."""
    tokens = [1000 + number] * prompt if isinstance(prompt, int) else list(prompt)
    sampling = Sampling(seed=number, ignore_end=True)
    return Request(number, tokens, limit, sampling, OutputText(None, ()), priority=priority, client=client)


def scheduler(*, blocks: int, running: int, step: int, reuse: bool = True, guess: bool = False) -> Scheduler:
    pool = BlockPool(blocks * BLOCK, reuse=reuse)
    speculation = Speculation(pad=None) if guess else None
    return Scheduler(pool, max_running=running, step_tokens=step, speculation=speculation)


@dataclass
class Simulation:
    """A scheduler, and what became of its requests."""

    scheduler: Scheduler
    step_tokens: int
    started: list[Request] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)
    """By client, a prompt's tokens once, an answer's twice."""
    computed: Counter[int] = field(default_factory=Counter)
    """Tokens that went through the network, by request."""
    content: dict[int, list[int]] = field(default_factory=dict)
    """By block, for each place what stands for the tokens up to the one whose keys and values are there."""
    beginnings: dict[int, list[int]] = field(default_factory=dict)
    """By request, what stands for its first token, its first two, ..."""

    def add(self, one: Request) -> Request:
        self.scheduler.add(one)
        return one

    def step(self) -> list[Work]:
        work = self.scheduler.schedule()
        assert work, "requests are there, so something must move"
        self.check(work)
        self.write(work)
        # In the order they were let in: in the first step a prompt of one token stands before longer ones.
        self.started += [one for one in self.scheduler.running if one not in self.started]
        for item in work:
            self.served[item.request.client] += 2 * item.samples
            if item.samples and len(item.request.tokens) == item.request.prompt_tokens:
                self.served[item.request.client] += item.request.prompt_tokens
            if not item.samples:
                self.scheduler.computed(item)
                continue
            # What an answer goes on with hangs on what was said before, as with a network at temperature 0.
            ended, right, request = None, 0, item.request
            while True:
                ended = request.append(sum(request.tokens[-3:]) % 3)[1]
                if ended is not None or right == len(item.guesses) or request.tokens[-1] != item.guesses[right]:
                    break
                right += 1
            self.served[request.client] += 2 * right
            self.scheduler.computed(item, right)
            if ended is not None:
                self.scheduler.remove(request)
                self.ended.append(request.id)
        return work

    def finish(self, steps: int = 100_000) -> None:
        for _ in range(steps):
            if self.scheduler.idle:
                return
            self.step()
        raise AssertionError("it does not end")

    def write(self, work: list[Work]) -> None:
        """What a step writes into blocks, and reads of what stands there."""
        for request, start, end, guesses in work:
            self.computed[request.id] += end - start
            known = self.beginnings.setdefault(request.id, [])
            for token in request.tokens[len(known) :]:
                known.append(hash((known[-1] if known else 0, token)))
            for position in range(start, end):
                block = request.blocks[position // BLOCK]
                assert self.scheduler.pool.holders(block) == 1, "a block that others hold is written"
                self.content.setdefault(block, [0] * BLOCK)[position % BLOCK] = known[position]
            guessed = known[end - 1]
            for position, token in enumerate(guesses, end):
                guessed = hash((guessed, token))
                block = request.blocks[position // BLOCK]
                assert self.scheduler.pool.holders(block) == 1, "a block that others hold is written"
                self.content.setdefault(block, [0] * BLOCK)[position % BLOCK] = guessed
        for request, _, end, _ in work:
            known = self.beginnings[request.id][:end]
            for index, first in enumerate(range(0, end, BLOCK)):
                expected = known[first : first + BLOCK]
                assert self.content[request.blocks[index]][: len(expected)] == expected, "another's content is read"

    def check(self, work: list[Work]) -> None:
        pool, running, waiting = self.scheduler.pool, self.scheduler.running, list(self.scheduler.waiting)
        held = Counter(block for one in running for block in one.blocks)
        assert all(pool.holders(block) == held[block] for block in range(pool.total)), "no block is lost or taken twice"
        assert pool.used == len(held) <= pool.total
        assert all(not r.blocks and r.cached == 0 for r in waiting)
        assert len(self.scheduler.waiting) == len(waiting)
        assert not set(running) & set(waiting)
        assert sum(item.end - item.start + len(item.guesses) for item in work) <= self.step_tokens
        assert len({item.request.id for item in work}) == len(work) <= len(running)
        for item in work:
            assert item.request in running
            assert item.start == item.request.cached < item.end <= len(item.request.tokens)
            assert pool.needed(item.end) <= len(item.request.blocks) == len(set(item.request.blocks))
        ranks = [-r.priority for r in running]
        assert ranks == sorted(ranks), "running requests are ranked by priority"
        for one in running:  # nobody is let in past an older request of the same client and priority
            assert not [
                r for r in waiting if (r.client, r.priority) == (one.client, one.priority) and r.order < one.order
            ]
