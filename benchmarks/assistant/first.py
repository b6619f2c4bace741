"""The time to a first visible word: of the assistant, and beside it of the bare model."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.assistant.client import Heard, chat
from benchmarks.assistant.world import Question

ASSISTANT, BARE = "lindos", "scripted"


@dataclass(frozen=True)
class Pair:
    """One question, put to both."""

    ours: float
    """Seconds to the assistant's first word."""
    bare: float
    held: int
    """How many of the model's words were waited for; none where the assistant says something itself before."""

    @property
    def added(self) -> float:
        return self.ours - self.bare


async def compare(port: int, questions: Sequence[Question], count: int) -> list[Pair]:
    """Ask `count` times, going through the questions, both in turn, the order changing every time."""
    pairs = []
    for number in range(count):
        question = questions[number % len(questions)]
        found: dict[str, Heard] = {}
        for model in (ASSISTANT, BARE) if number % 2 else (BARE, ASSISTANT):
            more = question.more if model == ASSISTANT else {}
            found[model] = await chat(port, question.text, model=model, seed=number, **more)
        (ours, said), (bare, word) = (_first(found[model]) for model in (ASSISTANT, BARE))
        pairs.append(Pair(ours, bare, len(said.split()) if said.startswith(word.strip()) else 0))
    return pairs


def _first(heard: Heard) -> tuple[float, str]:
    """(seconds to the first words, those words)."""
    if heard.fault:
        raise RuntimeError(heard.fault)
    at, text = next(heard.words())
    return at - heard.asked, text


def row(kind: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The figures of a kind of questions."""
    added = np.array([pair.added for pair in pairs]) * 1e3
    return {
        "questions": kind,
        "count": len(pairs),
        "bare p50 (ms)": statistics.median(pair.bare for pair in pairs) * 1e3,
        "assistant p50 (ms)": statistics.median(pair.ours for pair in pairs) * 1e3,
        "added p50 (ms)": float(np.median(added)),
        "added p95 (ms)": float(np.percentile(added, 95)),
        "words held back": statistics.median(pair.held for pair in pairs),
    }
