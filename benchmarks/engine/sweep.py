"""A large batch under the same limit: each layer's experts are read once for all, against one sequence with a cache."""

from __future__ import annotations

from pathlib import Path

from benchmarks.engine.asking import ContenderError
from benchmarks.engine.bench import Bench, closing, progress
from benchmarks.engine.limits import LimitError, MemoryLimit, forget_files
from benchmarks.engine.memory import LIMIT
from benchmarks.engine.results import Figure, Side
from benchmarks.engine.shapes import SHAPES
from benchmarks.pairs import Ratio

BATCH = 256
WANTED = 20.0
PROMPT, ROUNDS = 4, 3
STEPS = {1: 4, BATCH: 2}
"""Of one round."""


def sweep(bench: Bench) -> None:
    """Tokens a second of both, in processes of their own, one after the other."""
    size = bench.main
    at, target = f"{size}, int4, 2 GiB, batch {BATCH}", f"{WANTED:g} times the cached single stream"
    try:
        single, batch = (_rounds(bench, size, sequences) for sequences in (1, BATCH))
    except (LimitError, ContenderError) as error:
        bench.record.note(f"sweep: not measured, {error}")
        bench.record.verdict("sweep", at, target, "not measured", None)
        return
    alone = [one / STEPS[1] for one in single]
    together = [one / STEPS[BATCH] / BATCH for one in batch]
    ratio = Ratio.of(list(zip(together, alone, strict=True)))
    sides = [Side.of("batch", 1, together), Side.of("one alone", 1, alone)]
    bench.record.figure(Figure("sweep", at, sides, ratio, WANTED))
    bench.record.verdict("sweep", at, target, str(ratio), ratio.median >= WANTED)


def _rounds(bench: Bench, size: str, sequences: int) -> list[float]:
    """Seconds of each round. Raises ContenderError, also for an engine without an expert store."""
    model: Path = bench.packed(size)
    with MemoryLimit(f"sweep-{sequences}", LIMIT) as limit:
        side = bench.lindos(limit.path)
        with closing(side):
            progress(f"sweep: {sequences} at {size} in 2 GiB")
            forget_files(model)
            loaded = side.ask(
                "load", model=str(model), memory=LIMIT, sequences=sequences, context=64, threads=bench.threads
            )
            if "lacks" in loaded:
                raise ContenderError(loaded["lacks"])
            steps = STEPS[sequences]
            begin = {"prompt": PROMPT, "steps": steps * (ROUNDS + 1), "vocabulary": SHAPES[size].vocabulary}
            side.ask("begin", sequences=sequences, **begin)
            return [side.ask("decode", steps=steps)["seconds"] for _ in range(ROUNDS + 1)][1:]
