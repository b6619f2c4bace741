"""Decoding 1, 8 and 32 sequences side by side, against llama.cpp and against what memory could deliver."""

from __future__ import annotations

import statistics

from benchmarks.engine.asking import Contender
from benchmarks.engine.bench import Bench, Rounds, closing, in_turn, progress
from benchmarks.engine.models import model_bytes
from benchmarks.engine.results import Figure
from benchmarks.engine.shapes import SHAPES
from benchmarks.engine.tuning import tune_llamacpp, tune_transformers
from benchmarks.pairs import Ratio
from lindos.model.formats.packedfiles import Weights

SEQUENCES = (1, 8, 32)
CONTEXT = 256
PROMPT = {True: 16, False: 64}
"""Tokens each sequence has read before, of large models and of others."""
STEPS = {True: {1: 4, 8: 2, 32: 1}, False: {1: 16, 8: 8, 32: 4}}
"""Of one round."""
WANTED = {1: 1.8, 8: 3.0, 32: 3.0}
SHARE = 0.75
AGAINST_BF16: dict[Weights, float] = {"bf16": 2.5, "int8": 4.0}


def decode(bench: Bench) -> None:
    """int4 beside llama.cpp at every size; one sequence beside transformers at the first."""
    for size in bench.sizes:
        _beside_llamacpp(bench, size)
    _beside_transformers(bench, bench.sizes[0])


def _beside_llamacpp(bench: Bench, size: str) -> None:
    model = str(bench.packed(size))
    theirs = bench.llamacpp()
    with bench.lindos() as ours, closing(theirs):
        if theirs is not None:
            prepare_llamacpp(bench, theirs, size)
        ours.ask("load", model=model, sequences=max(SEQUENCES), context=CONTEXT, threads=bench.threads)
        for sequences in SEQUENCES:
            progress(f"decoding {sequences} at {size}")
            _compare(bench, size, sequences, ours, theirs)


def prepare_llamacpp(bench: Bench, theirs: Contender, size: str) -> None:
    """Load its model with what it is fastest with; found out once a size."""
    model = str(bench.gguf(size))
    if size not in bench.flags:
        progress(f"trying what llama.cpp is fastest with at {size}")
        bench.flags[size] = tune_llamacpp(theirs, model, size, CONTEXT, bench.threads)
        bench.record.note(f"llama.cpp at {size}, int4, is fastest with: {bench.flags[size]}")
    else:
        theirs.ask("load", model=model, repack=bench.flags[size].repack)


def _compare(bench: Bench, size: str, sequences: int, ours: Contender, theirs: Contender | None) -> None:
    spec = SHAPES[size]
    large = spec.parameters > 1e9
    steps = STEPS[large][sequences]
    watched = min(16, CONTEXT - PROMPT[large] - steps * (bench.rounds + 1) - 1)
    begin = {
        "sequences": sequences,
        "prompt": PROMPT[large],
        "steps": steps * (bench.rounds + 1) + watched,
        "vocabulary": spec.vocabulary,
    }
    if theirs is not None:
        load = "decode 1" if sequences == 1 else "decode 8"
        theirs.ask("settings", sequences=sequences, context=CONTEXT, **bench.flags[size].of(load))
        theirs.ask("begin", **begin)
    ours.ask("begin", **begin)
    rounds = in_turn(ours, theirs, bench.rounds, "decode", steps=steps)
    routing = ours.ask("routing", steps=watched)
    _, always, expert = model_bytes(spec, "int4")
    read = always + routing["touched"] * expert
    share = read / (statistics.median(rounds.mine) / steps) / bench.machine.memory_bandwidth
    bench.record.figure(
        Figure(
            part="decode",
            at=f"{size}, int4, {sequences} together",
            sides=rounds.sides(sequences * steps, "llama.cpp"),
            ratio=rounds.ratio,
            wanted=WANTED[sequences],
            more={
                "share of memory bandwidth": share,
                "bytes a step": int(read),
                "experts touched a step": routing["touched"],
                "evenness of the routers' load (1 is even)": routing["balance"],
                "choices repeated from the step before": routing["repeated"],
                **processor_figures(rounds, steps, "a step"),
            },
        )
    )
    _judge(bench, size, sequences, rounds.ratio, share)


def _judge(bench: Bench, size: str, sequences: int, ratio: Ratio | None, share: float) -> None:
    at, found = f"{size}, int4, {sequences} together", f"{share:.0%} of bandwidth"
    record = bench.record
    if sequences > 1:
        met = share >= SHARE or (ratio is not None and ratio.median >= WANTED[sequences])
        known = met or ratio is not None
        text = f"{ratio or 'no peer'}; {found} for the experts touched"
        record.verdict("decode", at, "3 times llama.cpp, or 75% of the roofline", text, met if known else None)
        return
    met_one = None if ratio is None else ratio.median >= WANTED[1]
    record.verdict("decode", at, "1.8 times llama.cpp", str(ratio or "no peer"), met_one)
    if SHAPES[size].parameters > 1e9:
        record.verdict("decode", at, "75% of memory bandwidth", found, share >= SHARE)


def _beside_transformers(bench: Bench, size: str) -> None:
    spec = SHAPES[size]
    steps = STEPS[False][1] // 2
    theirs = bench.transformers()
    with closing(theirs):
        if theirs is not None:
            theirs.ask("load", size=size)
            progress("trying what transformers is fastest with")
            flags = tune_transformers(theirs, size, bench.threads)
            theirs.ask("settings", **flags)
            bench.record.note(f"transformers' Mixtral at {size}, bf16, is fastest with: {flags}")
        for weights, wanted in AGAINST_BF16.items():
            begin = {"sequences": 1, "prompt": 64, "steps": steps * (bench.rounds + 1), "vocabulary": spec.vocabulary}
            with bench.lindos() as ours:
                ours.ask("load", model=str(bench.packed(size, weights)), context=CONTEXT, threads=bench.threads)
                ours.ask("begin", **begin)
                if theirs is not None:
                    theirs.ask("begin", **begin)
                progress(f"decoding 1 at {size}, {weights}, beside transformers")
                rounds = in_turn(ours, theirs, bench.rounds, "decode", steps=steps)
            ratio, at = rounds.ratio, f"{size}, {weights}, 1 alone"
            more = processor_figures(rounds, steps, "a step")
            bench.record.figure(Figure("decode", at, rounds.sides(steps, "transformers bf16"), ratio, wanted, more))
            met = None if ratio is None else ratio.median >= wanted
            target = f"{wanted:g} times transformers bf16"
            bench.record.verdict("decode", at, target, str(ratio or "no peer"), met)


def processor_figures(rounds: Rounds, parts: int, of: str) -> dict[str, float]:
    """Processor time of each side, in milliseconds, and how many times Lindos's the other's is."""
    found = {f"processor ms {of}, {name}": 1e3 * one / parts for name, one in rounds.processor.items()}
    if len(rounds.processor) == 2:
        mine, theirs = rounds.processor.values()
        found["ratio of processor time"] = theirs / mine
    return found
