"""Many streams at once through the gate: what each of them gets of what the model says, and how late."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.assistant.client import Heard, chat
from benchmarks.assistant.serving import Serving
from benchmarks.assistant.world import Question, Scenario, asked

MIX = {"small talk": 10, "small talk with names": 4, "about the world": 3, "about an event": 3}
"""Of twenty streams."""
PATIENCE = 2.0
"""How many times as long as it should last a stream is listened to."""


@dataclass(frozen=True)
class Flow:
    """How the words of one stream came. What the assistant puts before the model's words does not count."""

    kind: str
    words: int
    rate: float
    """Words a second, from the first that came to the last."""
    gaps: list[float] = field(repr=False)
    """Seconds between one piece and the next."""
    lags: list[float] = field(repr=False)
    """For each piece, seconds since the model said the word that let it go: the one after it, because only what
    follows shows that a word, or the sentence that is held back, is over."""


@dataclass
class Outcome:
    """What became of all streams."""

    flows: list[Flow] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    server_cpu: float = 0.0
    """Cores, while all streams were there."""
    client_cpu: float = 0.0


def planned(count: int, scenarios: Sequence[Scenario]) -> list[tuple[str, Question]]:
    """What each stream asks: kinds by MIX, spread evenly."""
    pools = {kind: asked(kind, scenarios) for kind in MIX}
    turns = [kind for turn in range(max(MIX.values())) for kind, share in MIX.items() if turn < share]
    return [
        (kind, pools[kind][number % len(pools[kind])])
        for number in range(count)
        for kind in [turns[number % len(turns)]]
    ]


async def measure(
    serving: Serving, scenarios: Sequence[Scenario], count: int, *, reply_words: int, pause: float, ramp: float
) -> Outcome:
    """`count` streams, begun within `ramp` seconds; `pause` is the model's between words."""
    plan = planned(count, scenarios)
    lasting = (reply_words + 1) * pause

    async def one(number: int) -> Heard:
        await asyncio.sleep(ramp * number / count)
        text = plan[number][1].text
        return await chat(serving.port, text, model="lindos", user=str(number), seconds=lasting * PATIENCE + 10)

    running = [asyncio.create_task(one(number)) for number in range(count)]
    outcome = Outcome()
    await asyncio.sleep(ramp)
    outcome.server_cpu, outcome.client_cpu = await _used(serving, max(lasting - ramp, lasting / 4))
    heard = await asyncio.gather(*running, return_exceptions=True)
    began: dict[str, float] = (await asyncio.to_thread(serving.report))["began"]
    for number, ((kind, _), found) in enumerate(zip(plan, heard, strict=True)):
        if isinstance(found, BaseException):
            outcome.faults.append(f"{kind}: {found!r}")
            continue
        fault = found.fault
        flow = None if fault else flow_of(kind, list(found.words()), reply_words, began[f"user {number}"], pause)
        if flow is None:
            outcome.faults.append(f"{kind}: {fault or 'words are missing'}")
        else:
            outcome.flows.append(flow)
    return outcome


async def _used(serving: Serving, seconds: float) -> tuple[float, float]:
    """(cores that the server computes on, cores that this process does), over so many seconds."""
    before, ours, at = await asyncio.to_thread(serving.report), time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    after = await asyncio.to_thread(serving.report)
    passed = time.monotonic() - at
    return (after["cpu"] - before["cpu"]) / passed, (time.process_time() - ours) / passed


def flow_of(kind: str, pieces: Sequence[tuple[float, str]], words: int, began: float, pause: float) -> Flow | None:
    """How the `words` words of the model, begun at `began`, came; None where some did not come."""
    left = sum(_count(text) for _, text in pieces) - words
    if left < 0:
        return None
    arrived: list[tuple[float, int]] = []
    """(when, how many of the model's words were there by then)."""
    for at, text in pieces:
        new = _count(text)
        if left >= new:  # what the assistant says first
            left -= new
            continue
        arrived.append((at, (arrived[-1][1] if arrived else 0) + new - left))
        left = 0
    (first, early), (last, _) = arrived[0], arrived[-1]
    rate = (words - early) / (last - first) if last > first else 0.0
    gaps = [b - a for (a, _), (b, _) in pairwise(arrived)]
    lags = [at - (began + pause * (said + 1)) for at, said in arrived]
    return Flow(kind, words, rate, gaps, lags)


def _count(text: str) -> int:
    return len(re.findall(r"\S+", text))


def rows(flows: Iterable[Flow]) -> list[dict[str, Any]]:
    """The figures by kind, and of all."""
    kinds: dict[str, list[Flow]] = {}
    for flow in flows:
        kinds.setdefault(flow.kind, []).append(flow)
    found = [_row(kind, same) for kind, same in kinds.items()]
    everything = [flow for same in kinds.values() for flow in same]
    return [*found, _row("all", everything)] if everything else []


def _row(kind: str, flows: Sequence[Flow]) -> dict[str, Any]:
    rates = np.array([flow.rate for flow in flows])
    gaps = np.array([gap for flow in flows for gap in flow.gaps] or [0.0]) * 1e3
    lags = np.array([lag for flow in flows for lag in flow.lags]) * 1e3
    figures: dict[str, Any] = {"streams": kind, "count": len(flows)}
    figures |= {"rate min": float(rates.min()), "rate p50": float(np.median(rates))}
    for name, values in {"gap": gaps, "lag": lags}.items():
        p50, p99 = np.percentile(values, [50, 99])
        figures |= {f"{name} p50 (ms)": float(p50), f"{name} p99": float(p99), f"{name} max": float(values.max())}
    return figures
