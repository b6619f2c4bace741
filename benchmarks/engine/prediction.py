"""What `lindos plan install --here` says of this machine beside what the engine then does.

Each round measures the machine anew, as a user's command would, and decodes soon after it: both see the same
neighbours.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.engine.bench import Bench, progress
from benchmarks.engine.decode import PROMPT
from benchmarks.engine.results import Figure, Side
from benchmarks.engine.shapes import SHAPES
from lindos.kernels import probe
from lindos.model.formats.packedfiles import Weights
from lindos.plan.constants import shipped_constants
from lindos.plan.install.packed import decode_packed
from lindos.specs import Precision

SEQUENCES = (1, 8)
CONTEXT = 512
STEPS = {True: {1: 8, 8: 4}, False: {1: 32, 8: 16}}
"""Of one round, of large models and of others; as many go before."""
REST = 1.0
"""Seconds after which the threads of NumPy's BLAS, which the probe used, sleep."""
WITHIN = 0.2
PRECISIONS: dict[Weights, Precision] = {"int4": Precision.INT4, "int8": Precision.INT8}


def prediction(bench: Bench) -> None:
    """One and several sequences at every size in int4, and at the first size in int8."""
    for size in bench.sizes:
        _compare(bench, size, "int4")
    _compare(bench, bench.sizes[0], "int8")


def _compare(bench: Bench, size: str, weights: Weights) -> None:
    spec = SHAPES[size]
    large = spec.parameters > 1e9
    with bench.lindos() as ours:
        ours.ask(
            "load",
            model=str(bench.packed(size, weights)),
            sequences=max(SEQUENCES),
            context=CONTEXT,
            threads=bench.threads,
        )
        for sequences in SEQUENCES:
            progress(f"predicting {sequences} at {size}, {weights}")
            steps, prompt = STEPS[large][sequences], PROMPT[large]
            rounds = min(bench.rounds, (CONTEXT - prompt) // steps // 2 - 1)
            begin = {"sequences": sequences, "prompt": prompt, "vocabulary": spec.vocabulary}
            ours.ask("begin", steps=2 * steps * rounds, **begin)
            said, took = [], []
            for _ in range(rounds):
                # What is free was free before the model was loaded.
                free = bench.machine.memory_available
                measured = probe(None, seconds=2.0).model_copy(update={"memory_available": free})
                step = decode_packed(spec, measured, PRECISIONS[weights], sequences, prompt, shipped_constants())
                said.append(step.step_seconds)
                time.sleep(REST)
                ours.ask("decode", steps=steps)
                took.append(ours.ask("decode", steps=steps)["seconds"] / steps)
            _record(bench, f"{size}, {weights}, {sequences} together", sequences, said, took)


def _record(bench: Bench, at: str, sequences: int, said: list[float], took: list[float]) -> None:
    ratios = sorted(real / predicted for predicted, real in zip(said, took, strict=True))
    middle = statistics.median(ratios)
    found = f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    sides = [Side.of("predicted", sequences, said), Side.of("Lindos", sequences, took)]
    bench.record.figure(Figure("prediction", at, sides, more={"predicted over measured speed": found}))
    bench.record.verdict("prediction", at, "within 20% of the engine", found, abs(middle - 1) <= WITHIN)
