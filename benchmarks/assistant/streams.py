"""Many streams at once through the gate: what each of them gets of what the model says, and how late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.assistant.client import Heard, chat
from benchmarks.assistant.serving import Serving
from benchmarks.assistant.world import Question, Scenario, asked, reply
from lindos.assistant.gate import ELLIPSIS

MIX = {"small talk": 10, "small talk with names": 4, "about the world": 3, "about an event": 3}
"""Of twenty streams."""
PATIENCE = 2.0
"""How many times as long as it should last a stream is listened to."""


@dataclass(frozen=True)
class Flow:
    """How the words of one stream came. What the assistant puts before the model's words does not count."""

    kind: str
    missing: int
    """Words of the model that were cut."""
    rate: float
    """Words a second, from the first that came to the last; those that were cut count: they were worked on."""
    gaps: list[float] = field(repr=False)
    """Seconds between one piece and the next, where that is one word."""
    held: list[float] = field(repr=False)
    """The same where it is more: the rest of a sentence that was held back to its end."""
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
    kinds = [turns[number % len(turns)] for number in range(count)]
    return [(kind, pools[kind][number % len(pools[kind])]) for number, kind in enumerate(kinds)]


async def measure(
    serving: Serving, scenarios: Sequence[Scenario], count: int, *, reply_words: int, pause: float, ramp: float
) -> Outcome:
    """`count` streams, begun within `ramp` seconds; `pause` is the model's between words."""
    plan = planned(count, scenarios)
    lasting = (reply_words + 1) * pause

    async def one(number: int) -> Heard:
        await asyncio.sleep(ramp * number / count)
        text = plan[number][1].text
        patience = lasting * PATIENCE + 10
        return await chat(serving.port, text, model="lindos", user=str(number), seconds=patience, seed=number)

    running = [asyncio.create_task(one(number)) for number in range(count)]
    outcome = Outcome()
    await asyncio.sleep(ramp)
    outcome.server_cpu, outcome.client_cpu = await _used(serving, max(lasting - ramp, lasting / 4))
    heard = await asyncio.gather(*running, return_exceptions=True)
    began: dict[str, float] = (await asyncio.to_thread(serving.report))["began"]
    for number, ((kind, question), found) in enumerate(zip(plan, heard, strict=True)):
        if isinstance(found, BaseException) or found.fault:
            outcome.faults.append(f"{kind}: {found!r}" if isinstance(found, BaseException) else found.fault)
            continue
        said = reply(question.text, reply_words, number)
        flow = flow_of(kind, list(found.words()), said, began[f"user {number}"], pause)
        outcome.flows += [flow] if flow else []
        outcome.faults += [] if flow else [f"{kind}: nothing of what the model said has come"]
    return outcome


async def _used(serving: Serving, seconds: float) -> tuple[float, float]:
    """(cores that the server computes on, cores that this process does), over so many seconds."""
    before, ours, at = await asyncio.to_thread(serving.report), time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    after = await asyncio.to_thread(serving.report)
    passed = time.monotonic() - at
    return (after["cpu"] - before["cpu"]) / passed, (time.process_time() - ours) / passed


def flow_of(
    kind: str, pieces: Sequence[tuple[float, str]], said: Sequence[str], began: float, pause: float
) -> Flow | None:
    """How what the model `said`, begun at `began`, came; None where nothing came."""
    arrived: list[tuple[float, int]] = []
    """(when, how many of the model's words were decided on by then: they came, or stand before one that did)."""
    missing = at = 0
    for when, text in pieces:
        words = text.replace(ELLIPSIS, " ").split()
        place = next((n for n in range(at, len(said)) if said[n : n + len(words)] == words), None) if words else None
        if place is None:  # the assistant's own words
            continue
        missing += place - at
        at = place + len(words)
        arrived.append((when, at))
    if len(arrived) < 2:
        return None
    (first, early), (last, late) = arrived[0], arrived[-1]
    gaps: list[float] = []
    held: list[float] = []
    for (before, had), (when, count) in pairwise(arrived):
        (gaps if count == had + 1 else held).append(when - before)
    lags = [when - (began + pause * (count + 1)) for when, count in arrived]
    return Flow(kind, missing + len(said) - late, (late - early) / (last - first), gaps, held, lags)


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
    figures: dict[str, Any] = {"streams": kind, "count": len(flows), "words cut": sum(flow.missing for flow in flows)}
    figures |= {"rate min": float(rates.min()), "rate p50": float(np.median(rates))}
    waits = {
        "gap": [gap for flow in flows for gap in flow.gaps],
        "held": [gap for flow in flows for gap in flow.held],
        "lag": [lag for flow in flows for lag in flow.lags],
    }
    for name, seconds in waits.items():
        p50, p99, most = np.percentile(np.array(seconds or [0.0]) * 1e3, [50, 99, 100])
        figures |= {f"{name} p50 (ms)": float(p50), f"{name} p99": float(p99), f"{name} max": float(most)}
    return figures
