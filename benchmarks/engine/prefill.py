"""Reading one prompt up to its first token."""

from __future__ import annotations

from benchmarks.engine.bench import Bench, closing, in_turn, progress
from benchmarks.engine.decode import prepare_llamacpp, processor_figures
from benchmarks.engine.results import Figure
from benchmarks.engine.shapes import SHAPES
from benchmarks.engine.tuning import tune_transformers
from lindos.model.formats.packedfiles import Weights

BESIDE_LLAMACPP = 5.0
BESIDE_TRANSFORMERS = 1.5
WEIGHTS: tuple[Weights, ...] = ("int4", "bf16")
"""What Lindos has beside transformers' bf16: the target leaves it open."""
SLOW_ROUNDS = 3
"""Beside transformers: without bf16 units its prompt takes minutes."""


def length_at(size: str) -> int:
    """Tokens of the prompt."""
    return 128 if SHAPES[size].parameters > 1e9 else 512


def prefill(bench: Bench) -> None:
    """int4 beside llama.cpp at every size, beside transformers at the first."""
    for size in bench.sizes:
        _beside_llamacpp(bench, size)
    _beside_transformers(bench, bench.sizes[0])


def _beside_llamacpp(bench: Bench, size: str) -> None:
    length = length_at(size)
    theirs = bench.llamacpp()
    with bench.lindos() as ours, closing(theirs):
        if theirs is not None:
            prepare_llamacpp(bench, theirs, size)
            theirs.ask("settings", sequences=1, context=1024, **bench.flags[size].of("prefill"))
        ours.ask("load", model=str(bench.packed(size)), sequences=1, threads=bench.threads)
        progress(f"prefill at {size}")
        asked = {"length": length, "vocabulary": SHAPES[size].vocabulary, "seed": 7}
        rounds = in_turn(ours, theirs, bench.rounds, "prefill", **asked)
    ratio, at = rounds.ratio, f"{size}, int4, {length} tokens"
    more = processor_figures(rounds, 1, "in all")
    bench.record.figure(Figure("prefill", at, rounds.sides(length, "llama.cpp"), ratio, BESIDE_LLAMACPP, more))
    met = None if ratio is None else ratio.median >= BESIDE_LLAMACPP
    bench.record.verdict("prefill", at, "5 times llama.cpp", str(ratio or "no peer"), met)


def _beside_transformers(bench: Bench, size: str) -> None:
    length = length_at(size)
    theirs = bench.transformers()
    with closing(theirs):
        if theirs is not None:
            theirs.ask("load", size=size)
            theirs.ask("settings", **tune_transformers(theirs, size, bench.threads) | {"experts": "grouped_mm"})
        for weights in WEIGHTS if theirs is not None else WEIGHTS[1:]:
            with bench.lindos() as ours:
                ours.ask("load", model=str(bench.packed(size, weights)), sequences=1, threads=bench.threads)
                progress(f"prefill at {size}, {weights}, beside transformers")
                asked = {"length": length, "vocabulary": SHAPES[size].vocabulary, "seed": 7}
                count = bench.rounds if theirs is None else min(bench.rounds, SLOW_ROUNDS)
                rounds = in_turn(ours, theirs, count, "prefill", warmup=0, **asked)
            ratio, at = rounds.ratio, f"{size}, {weights}, {length} tokens"
            sides, more = rounds.sides(length, "transformers bf16"), processor_figures(rounds, 1, "in all")
            bench.record.figure(Figure("prefill", at, sides, ratio, BESIDE_TRANSFORMERS, more))
            met = None if ratio is None else ratio.median >= BESIDE_TRANSFORMERS
            bench.record.verdict("prefill", at, "1.5 times transformers bf16", str(ratio or "no peer"), met)
