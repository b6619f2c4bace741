"""One request inside the engine: its tokens, what it still needs, and when things happened to it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from lindos.engine.blocks import Digests
from lindos.engine.guesses import Guesses
from lindos.engine.history import SeenTokens
from lindos.engine.interface import Finish, Sampling, Timing, TokenLogprob, Usage
from lindos.engine.output import OutputText

if TYPE_CHECKING:
    from lindos.engine.constraint import Constraint


@dataclass(eq=False)
class Request:
    """What the scheduler, the runner and the sampler share about one request."""

    id: int
    tokens: list[int]
    """The prompt, then what was sampled."""
    limit: int
    """Most tokens to sample; at least 1."""
    sampling: Sampling
    output: OutputText
    stop_tokens: frozenset[int] = frozenset()
    dropped: int = 0
    """Messages left out of the prompt so that it fits."""
    constraint: Constraint | None = None
    """What keeps the answer to its grammar."""
    priority: int = 0
    """Higher ones go first."""
    client: str = ""
    """Whose it is; "" is nobody in particular."""

    order: int = 0
    """Its place in the order of arrival; the scheduler's."""
    charged: bool = False
    """Whether its client was charged for the prompt; the scheduler's."""
    cached: int = 0
    """Tokens whose keys and values are in the cache."""
    blocks: list[int] = field(default_factory=list)
    """Blocks of KV cache that it holds, in the order of its tokens."""
    reached: int = 0
    """The most tokens that were ever in the cache for it."""
    reused: int = 0
    """Tokens of the prompt that it found in the cache and never computed."""
    guesses: Guesses | None = None
    """What it may go on with; the scheduler's."""
    pending: list[int] = field(default_factory=list)
    """Sampled tokens that no chunk has carried yet."""
    pending_logprobs: list[TokenLogprob] = field(default_factory=list)
    """One for each of `pending`, where they are wanted."""

    accepted: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)
        seed = secrets.randbits(64) if self.sampling.seed is None else self.sampling.seed % (1 << 64)
        self.random = np.random.Generator(np.random.Philox(seed))
        self.seen = SeenTokens(self.tokens) if self.sampling.penalises else None
        self.digests = Digests(self.tokens)
        self._hidden: list[int] = []
        self._looked = 0

    @property
    def left(self) -> int:
        """Tokens that must go through the network before the next one can be sampled."""
        return len(self.tokens) - self.cached

    @property
    def limit_left(self) -> int:
        """Tokens that may still be sampled."""
        return self.limit - (len(self.tokens) - self.prompt_tokens)

    @property
    def usage(self) -> Usage:
        """What it took so far; a request that never ran took nothing."""
        written = len(self.tokens) - self.prompt_tokens
        return Usage() if self.started is None else Usage(self.prompt_tokens, written, self.reused)

    def hidden(self, pad: int | None) -> list[int]:
        """Positions of padding so far, which no query may see."""
        if pad is None:
            return []
        new = self.tokens[self._looked :]
        if pad in new:
            self._hidden += [self._looked + i for i, token in enumerate(new) if token == pad]
        self._looked = len(self.tokens)
        return self._hidden

    def skip(self, end: int) -> None:
        """The tokens up to `end` were found in the cache."""
        self.reused += max(0, min(end, self.prompt_tokens) - self.reached)
        self.reach(end)

    def reach(self, end: int) -> None:
        """The tokens up to `end` are in the cache."""
        self.cached = end
        self.reached = max(self.reached, end)

    @property
    def seconds(self) -> float:
        """Since it was accepted."""
        return time.monotonic() - self.accepted

    def timing(self) -> Timing:
        """As of now, which is when it ends."""
        total = self.seconds
        queued = total if self.started is None else self.started - self.accepted
        return Timing(queued, None if self.first_token is None else self.first_token - self.accepted, total)

    def take_pending(self) -> tuple[list[int], list[TokenLogprob]]:
        """What no chunk has carried yet, for the next one to carry."""
        taken = self.pending, self.pending_logprobs
        self.pending, self.pending_logprobs = [], []
        return taken

    def append(self, token: int, logprobs: Sequence[tuple[int, float]] | None = None) -> tuple[str, Finish | None]:
        """Take a sampled token: the text that can be shown now, and whether the request is done.

        `logprobs` are (token, log probability) of the token itself, then of the likeliest ones at its place.
        """
        if self.first_token is None:
            self.first_token = time.monotonic()
        self.tokens.append(token)
        self.pending.append(token)
        if logprobs is not None:
            own, *top = (TokenLogprob(one, logprob, self.output.data(one)) for one, logprob in logprobs)
            self.pending_logprobs.append(replace(own, top=tuple(top)))
        if self.seen is not None:
            self.seen.add(token)
        if self.constraint is not None:
            self.constraint.accept(token)
        if token in self.stop_tokens:
            return self.output.flush(), "stop"
        text = self.output.push(token)
        if self.output.stopped:
            return text, "stop"
        if self.constraint is not None and self.constraint.complete:
            return text + self.output.flush(), "stop"
        if len(self.tokens) - self.prompt_tokens >= self.limit:
            return text + self.output.flush(), "length"
        return text, None
