"""What an upstream was seen to do, as Stats; of its memory and steps nothing is known."""

from __future__ import annotations

import time
from collections import Counter, deque

from lindos.assistant.model import Stats
from lindos.assistant.pumped import PumpedAnswer

WINDOW_SECONDS = 10.0


class Tally:
    """Counts of answers and tokens since the start."""

    def __init__(self) -> None:
        self._prompt = self._completion = self._cached = 0
        self._finished: Counter[str] = Counter()
        self._recent: deque[tuple[float, int]] = deque()

    def add(self, tokens: int) -> None:
        """Tokens came just now."""
        if tokens:
            self._recent.append((time.monotonic(), tokens))
            self._forget()

    def ended(self, answer: PumpedAnswer) -> None:
        """An answer has its final counts."""
        self._prompt += answer.usage.prompt_tokens
        self._completion += answer.usage.completion_tokens
        self._cached += answer.usage.cached_tokens
        self._finished[answer.finish or "error"] += 1

    def stats(self, *, running: int, waiting: int) -> Stats:
        """As of now."""
        self._forget()
        return Stats(
            running=running,
            waiting=waiting,
            kv_tokens=0,
            kv_kept=0,
            kv_budget=0,
            tokens_per_second=sum(tokens for _, tokens in self._recent) / WINDOW_SECONDS,
            prompt_tokens=self._prompt,
            completion_tokens=self._completion,
            cached_tokens=self._cached,
            finished=dict(self._finished),
            preemptions=0,
            steps=0,
            step_seconds=0.0,
            resident_bytes=0,
        )

    def _forget(self) -> None:
        while self._recent and self._recent[0][0] < time.monotonic() - WINDOW_SECONDS:
            self._recent.popleft()
