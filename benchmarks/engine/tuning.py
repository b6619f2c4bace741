"""What a peer is fastest with here, found by trying: threads, flash attention, rearranged weights, ways of experts."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from benchmarks.engine.asking import Contender
from benchmarks.engine.shapes import SHAPES

BATCH = 512
"""Tokens llama.cpp takes at a time, its own default of a physical batch; every load here fits one."""


@dataclass(frozen=True)
class Flags:
    """llama.cpp's settings for one size of model, by load: `decode 1`, `decode 8`, `prefill`."""

    repack: bool
    best: dict[str, dict[str, Any]]

    def of(self, load: str) -> dict[str, Any]:
        return {**self.best[load], "batch": BATCH, "ubatch": BATCH}

    def __str__(self) -> str:
        rearranged = "on" if self.repack else "off"
        loads = "; ".join(
            f"{load}: {flags['threads']} threads, flash attention {flags['flash']}" for load, flags in self.best.items()
        )
        return f"repacked weights {rearranged}; {loads}"


def tune_llamacpp(side: Contender, model: str, size: str, context: int, threads: int) -> Flags:
    """Try everything on short loads, with at most so many threads; the model is loaded with the winner at the end."""
    vocabulary, large = SHAPES[size].vocabulary, SHAPES[size].parameters > 1e9
    tried: dict[bool, dict[str, tuple[float, dict[str, Any]]]] = {}
    for repack in (True, False):
        side.ask("load", model=model, repack=repack)
        for some, flash in itertools.product(_threads(threads), ("on", "off")):
            flags = {"threads": some, "flash": flash}
            for load, sequences in (("decode 1", 1), ("decode 8", 8), ("prefill", 1)):
                side.ask("settings", sequences=sequences, context=context, **flags, batch=BATCH, ubatch=BATCH)
                seconds = _trial(side, load, sequences, vocabulary, large)
                known = tried.setdefault(repack, {})
                if load not in known or seconds < known[load][0]:
                    known[load] = seconds, flags
    repack = min(tried, key=lambda way: math.prod(seconds for seconds, _ in tried[way].values()))
    if repack:
        side.ask("load", model=model, repack=True)
    return Flags(repack, {load: flags for load, (_, flags) in tried[repack].items()})


def _trial(side: Contender, load: str, sequences: int, vocabulary: int, large: bool) -> float:
    """The better of two, after a first one."""
    if load == "prefill":
        length = 32 if large else 128
        return min(side.ask("prefill", length=length, vocabulary=vocabulary, seed=n)["seconds"] for n in range(3))
    steps = 2 if large else 8
    side.ask("begin", sequences=sequences, prompt=4, steps=3 * steps, vocabulary=vocabulary)
    return min(side.ask("decode", steps=steps)["seconds"] for _ in range(3))


def tune_transformers(side: Contender, size: str, threads: int) -> dict[str, Any]:
    """The fastest way to compute experts, and threads, by decoding a few tokens."""
    best: tuple[float, dict[str, Any]] = (math.inf, {})
    for experts, some in itertools.product(("grouped_mm", "batched_mm", "eager"), _threads(threads)):
        flags = {"experts": experts, "threads": some}
        side.ask("settings", **flags)
        side.ask("begin", sequences=1, prompt=4, steps=16, vocabulary=SHAPES[size].vocabulary)
        best = min(best, (min(side.ask("decode", steps=4)["seconds"] for _ in range(3)), flags), key=lambda t: t[0])
    return best[1]


def _threads(most: int) -> list[int]:
    """All of them, and half."""
    return sorted({most, max(1, most // 2)}, reverse=True)
