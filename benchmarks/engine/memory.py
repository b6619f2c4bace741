"""A model larger than its memory: 2 GiB, enforced by a control group, for each side."""

from __future__ import annotations

from typing import Any

from benchmarks.engine.asking import Contender, ContenderError
from benchmarks.engine.bench import Bench, closing, progress
from benchmarks.engine.limits import LimitError, MemoryLimit, forget_files
from benchmarks.engine.models import model_bytes
from benchmarks.engine.results import Figure, Side
from benchmarks.engine.shapes import SHAPES
from benchmarks.pairs import Ratio

LIMIT = 2 << 30
WANTED = 4.0
WASTE = 1.1
PROMPT, STEPS, ROUNDS = 4, 4, 3
"""Few: llama.cpp takes seconds a token."""


def memory(bench: Bench) -> None:
    """One sequence on each side, its rate, the bytes it had read, and whether it lives."""
    size = bench.main
    bench.packed(size)
    if bench.peers:
        bench.gguf(size)
    try:
        with MemoryLimit("lindos", LIMIT) as our_limit, MemoryLimit("peer", LIMIT) as their_limit:
            _measure(bench, size, our_limit, their_limit)
    except LimitError as error:
        bench.record.note(f"memory: skipped, {error}")
        bench.record.verdict("memory", f"{size} in 2 GiB", f"{WANTED:g} times llama.cpp's mmap", str(error), None)


def _measure(bench: Bench, size: str, our_limit: MemoryLimit, their_limit: MemoryLimit) -> None:
    at = f"{size}, int4, 2 GiB"
    ours, theirs = bench.lindos(our_limit.path), bench.llamacpp(their_limit.path)
    with closing(ours, theirs):
        progress(f"memory: one sequence at {size} in 2 GiB")
        mine = _lindos_rounds(bench, ours, size)
        peer = [] if theirs is None else _llamacpp_rounds(bench, theirs, size)
        counted = ours.ask("counters") if mine else {}
        more: dict[str, Any] = {"kills of Lindos": our_limit.kills, "peak of its group": our_limit.peak}
        more |= counted
        for side, rounds in ((ours, mine), (theirs, peer)):
            if side is not None and rounds:
                more[f"bytes a token read by {side.name}"] = sum(read for _, read in rounds) // (STEPS * len(rounds))
        more["bytes a token without any cache"] = _token_bytes(size)
    if bench.peers:
        more["llama.cpp at its default settings"] = _default_llamacpp(bench, size)
    seconds = [[took for took, _ in rounds] for rounds in (mine, peer)]
    ratio = Ratio.of(list(zip(*seconds, strict=True))) if mine and peer else None
    named = zip(("Lindos", "llama.cpp mmap"), seconds, strict=True)
    sides = [Side.of(name, STEPS, some) for name, some in named if some]
    bench.record.figure(Figure("memory", at, sides, ratio, WANTED, more))
    met = None if ratio is None else ratio.median >= WANTED
    found = str(ratio) if ratio else "not measured: a side is missing" if not mine else "no peer"
    bench.record.verdict("memory", at, f"{WANTED:g} times llama.cpp's mmap", found, met)
    _judge_bytes(bench, at, counted)
    lives = our_limit.kills == 0
    bench.record.verdict("memory", at, "never killed", f"{our_limit.kills} kills", lives if mine else None)


def _lindos_rounds(bench: Bench, ours: Contender, size: str) -> list[tuple[float, int]]:
    """Seconds and bytes read of each round; nothing, and a note, where the engine has no expert store."""
    model = bench.packed(size)
    forget_files(model)
    try:
        loaded = ours.ask("load", model=str(model), memory=LIMIT, sequences=1, context=256, threads=bench.threads)
    except ContenderError as error:
        bench.record.note(f"memory: {error}")
        return []
    if "lacks" in loaded:
        bench.record.note(f"memory: {loaded['lacks']}")
        return []
    return _rounds(ours, size)


def _llamacpp_rounds(bench: Bench, theirs: Contender, size: str) -> list[tuple[float, int]]:
    """With mmap, and weights left as they lie in the file: rearranged ones would be memory of its own."""
    model = bench.gguf(size)
    forget_files(model)
    try:
        theirs.ask("load", model=str(model), mode="mmap", repack=False)
        flags = {"threads": bench.threads, "flash": "on", "batch": 64, "ubatch": 64}
        theirs.ask("settings", sequences=1, context=256, **flags)
        return _rounds(theirs, size)
    except ContenderError as error:
        bench.record.note(f"memory: {error}")
        return []


def _rounds(side: Contender, size: str) -> list[tuple[float, int]]:
    begin = {"sequences": 1, "prompt": PROMPT, "steps": STEPS * (ROUNDS + 1), "vocabulary": SHAPES[size].vocabulary}
    side.ask("begin", **begin)
    found = []
    for _ in range(ROUNDS + 1):
        before = side.ask("usage")["read"]
        took = side.ask("decode", steps=STEPS)["seconds"]
        found.append((took, side.ask("usage")["read"] - before))
    return found[1:]


def _default_llamacpp(bench: Bench, size: str) -> str:
    """What becomes of it when nobody tells it about the limit."""
    with MemoryLimit("default", LIMIT) as limit:
        side = bench.llamacpp(limit.path)
        assert side is not None
        with closing(side):
            try:
                side.ask("load", model=str(bench.gguf(size)))
                flags = {"threads": bench.threads, "flash": "auto", "batch": 512, "ubatch": 512}
                side.ask("settings", sequences=1, context=256, **flags)
                side.ask("begin", sequences=1, prompt=1, steps=2, vocabulary=SHAPES[size].vocabulary)
            except ContenderError as error:
                return str(error)
    return "lives"


def _judge_bytes(bench: Bench, at: str, counted: dict[str, int]) -> None:
    target = f"at most {WASTE:g} times the bytes the misses need"
    if not counted.get("expert_bytes_needed"):
        bench.record.verdict("memory", at, target, "this engine counts none", None)
        return
    waste = counted["expert_bytes_read"] / counted["expert_bytes_needed"]
    bench.record.verdict("memory", at, target, f"{waste:.3f} times", waste <= WASTE)


def _token_bytes(size: str) -> int:
    """What the experts of one token weigh."""
    spec = SHAPES[size]
    return model_bytes(spec, "int4")[2] * spec.experts_per_token * spec.layers
