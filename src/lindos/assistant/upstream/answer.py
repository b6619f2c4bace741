"""UpstreamAnswer: what an upstream streams, as our Answer, with its counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from lindos.assistant.model import Chunk, EngineError, Finish, Usage
from lindos.assistant.pumped import PumpedAnswer
from lindos.assistant.upstream.replies import UNKNOWN_TOKEN, Delta
from lindos.assistant.upstream.request import Asked

CHARACTERS_A_TOKEN = 4
"""For prompts whose tokens nobody told."""


class UpstreamAnswer(PumpedAnswer):
    """An Answer. Its chunks' ids are UNKNOWN_TOKEN each: upstreams tell texts and counts.

    Counts are the upstream's own wherever it tells them, at the end or beside every chunk. An answer that ended without
    (a cancelled one, say, of a server that counts at the end) is `estimated`: a token for each piece of text that came,
    and one for every four characters of the prompt.
    """

    def __init__(self, asked: Asked, on_end: Callable[[Self], None] | None = None) -> None:
        super().__init__(on_end)
        self.asked = asked
        """As it was sent last."""
        self.limit_field = ""
        """By what name the limit of tokens was sent."""
        self._taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._counted: Usage | None = None
        self._uncounted = 0
        """Tokens that seem to have come since."""
        self._ended_as: Finish | None = None
        self._taken_after: float | None = None

    @property
    def was_taken(self) -> bool:
        """Whether the upstream ever took it."""
        return self._taken_after is not None

    def taken(self) -> None:
        """The upstream took the request."""
        self._taken_after = self.seconds
        if not self._taken.done():
            self._taken.set_result(None)

    async def wait_taken(self, seconds: float) -> None:
        """Wait until it was taken, `seconds` at most. Raises EngineError when it was refused meanwhile."""
        await asyncio.wait({self._taken}, timeout=seconds)
        if self._taken.done():
            self._taken.result()

    def take_delta(self, delta: Delta) -> int:
        """Deliver what came; returns how many tokens it stands for."""
        tokens = delta.tokens
        self._uncounted += tokens
        if delta.usage is not None:
            self._counted, self._uncounted = delta.usage, 0
            tokens = max(delta.usage.completion_tokens - self.usage.completion_tokens, len(delta.logprobs))
            self.usage = Usage(delta.usage.prompt_tokens, self.usage.completion_tokens, delta.usage.cached_tokens)
        self._ended_as = self._ended_as or delta.finish
        if delta.text or tokens or delta.logprobs:
            ids = (UNKNOWN_TOKEN,) * tokens
            self.put(Chunk(delta.text, ids, self.seconds, logprobs=delta.logprobs))
        return tokens

    def conclude(self) -> None:
        """The last word; the first one counts."""
        if self.ended:
            return
        usage = self._final_usage()
        timing = self.timed(self._taken_after)
        self.put(Chunk(seconds=self.seconds, finish=self._ended_as or "stop", usage=usage, timing=timing))

    def end_cancelled(self, usage: Usage | None = None) -> None:
        super().end_cancelled(usage or self._final_usage())
        self._refuse(EngineError("the request was cancelled"))

    def fail(self, fault: EngineError) -> None:
        if not self.ended:
            self.usage = self._final_usage()
        super().fail(fault)
        self._refuse(fault)

    def _refuse(self, fault: EngineError) -> None:
        if not self._taken.done():
            self._taken.set_exception(fault)
            self._taken.exception()  # marks it as seen: whoever waits is told all the same

    def _final_usage(self) -> Usage:
        if self._counted is None and not self.was_taken:
            return Usage()  # it never ran
        self.estimated = self._counted is None or self._uncounted > 0
        if self._counted is None:
            return Usage(self._prompt_estimate(), self.usage.completion_tokens)
        return replace(self._counted, completion_tokens=self._counted.completion_tokens + self._uncounted)

    def _prompt_estimate(self) -> int:
        texts = [self.asked.prompt or "", *(message.content for message in self.asked.messages or ())]
        return -(-sum(map(len, texts)) // CHARACTERS_A_TOKEN)
