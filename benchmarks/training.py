"""Training speed beside transformers' MixtralForCausalLM of the same shape.

Both in the format this machine multiplies at speed (bf16 where it has units for it), on the same batch, with their
optimiser step, the same number of threads and the allocator tuned alike; Mixtral with grouped expert products, fused
attention (it has no soft cap to compute) and fused AdamW. Whole training steps are timed, each side in a process of its
own, in turn. Three comparisons: both sides as they are; both under torch.compile (Lindos compiles its element-wise
chains, Mixtral the whole model); and each side in whichever way it was faster.

    python -m benchmarks.training [--model pebble] [--rows 16] [--sequence 512] [--rounds 7] [--precision bf16]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.pairs import Contender, compare, serve_rounds
from lindos.data import Batch
from lindos.kernels import usable_cores
from lindos.model import Transformer, initialise
from lindos.model.elementwise import fuse_elementwise
from lindos.model.hardware import product_dtype
from lindos.specs import load_model_spec
from lindos.train import RunFile
from lindos.train.memory import keep_freed_memory
from lindos.train.optimizer import MasterWeights, Optimizer
from lindos.train.stage import Stage
from lindos.train.step import PlainLearner, purpose_of

WAYS = ("plain", "compiled")


def batches(options: argparse.Namespace, vocabulary: int):
    """Endless random batches [rows, sequence + 1], the same for both sides."""
    rng = np.random.default_rng(0)
    while True:
        yield rng.integers(1, vocabulary, (options.rows, options.sequence + 1))


def lindos_step(options: argparse.Namespace) -> Callable[[], float]:
    """A step of `lindos train`."""
    fuse_elementwise(options.compile)
    spec = load_model_spec(options.model)
    run = RunFile.parse(
        {
            "name": "benchmark",
            "model": options.model,
            "data": {"path": "", "sequence": options.sequence, "batch": options.rows, "micro_batch": options.rows},
            "optimizer": {"kind": options.optimizer, "lr": 1e-3},
            "schedule": {"steps": 1000},
        }
    )
    model = Transformer(spec, dtype=_dtype(options))
    initialise(model, 0)
    optimizer = Optimizer(MasterWeights(model), run.optimizer)
    learner = PlainLearner(Stage(model, purpose_of(run)), options.rows)
    mask = np.ones((options.rows, options.sequence), bool)
    source = batches(options, spec.vocabulary)

    def step() -> float:
        tokens = next(source)
        began = time.perf_counter()
        learner.learn(Batch(tokens, mask))
        optimizer.step(0, 1.0)
        return time.perf_counter() - began

    return step


def mixtral_step(options: argparse.Namespace) -> Callable[[], float]:
    """A step of transformers' Mixtral: forward with router loss, backward, clipping, fused AdamW."""
    transformers: Any = importlib.import_module("transformers")
    spec = load_model_spec(options.model)
    config = transformers.MixtralConfig(
        vocab_size=spec.vocabulary,
        hidden_size=spec.width,
        intermediate_size=spec.expert_width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_size,
        max_position_embeddings=spec.sequence,
        num_local_experts=spec.experts,
        num_experts_per_tok=spec.experts_per_token,
        tie_word_embeddings=True,
        output_router_logits=True,
        attn_implementation="sdpa",
        experts_implementation=options.experts,
    )
    model = transformers.MixtralForCausalLM(config).to(_dtype(options)).train()
    if options.compile:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    source = batches(options, spec.vocabulary)

    def step() -> float:
        # The labels are shifted inside: one token a row fewer is predicted, of a sequence as long.
        tokens = torch.from_numpy(next(source))[:, :-1]
        began = time.perf_counter()
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - began

    return step


def main() -> None:
    """Parse, then either serve rounds as one contender or compare the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=["lindos", "mixtral"], help=argparse.SUPPRESS)
    parser.add_argument("--model", default="pebble", help="catalogue name of the shape")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw", help="of the Lindos side")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["plain", "compiled"], help="one of the first two comparisons")
    parser.add_argument("--experts", default="grouped_mm", help="Mixtral's implementation of the experts")
    options = parser.parse_args()
    if options.serve:
        torch.set_num_threads(options.threads)
        keep_freed_memory()
        serve_rounds((lindos_step if options.side == "lindos" else mixtral_step)(options))
        return
    shared = [f"--model={options.model}", f"--rows={options.rows}", f"--sequence={options.sequence}"]
    shared += [f"--threads={options.threads}", f"--optimizer={options.optimizer}", f"--experts={options.experts}"]
    shared += [f"--precision={options.precision}"]
    print(f"{options.model}, {options.rows} x {options.sequence} tokens, {_dtype(options)}, {options.threads} threads")
    if options.only:
        _compare(options.only, (options.only, options.only), shared, options)
        return
    seconds = {way: _compare(way, (way, way), shared, options) for way in WAYS}
    best = tuple(min(WAYS, key=lambda way: seconds[way][side]) for side in (0, 1))
    if best[0] == best[1]:
        print(f"best: both sides are faster {best[0]}, so that comparison stands")
    else:
        _compare("best", best, shared, options)


def _compare(
    name_of: str, ways: tuple[str, ...], shared: list[str], options: argparse.Namespace
) -> tuple[float, float]:
    """Measure and print; the sides' median seconds a step."""
    ours, theirs = (
        Contender(side, "benchmarks.training", f"--side={side}", *shared, *(["--compile"] if way == "compiled" else []))
        for side, way in zip(("lindos", "mixtral"), ways, strict=True)
    )
    try:
        ratio, pairs = compare(ours, theirs, options.rounds, warmup=3)
    finally:
        ours.close()
        theirs.close()
    tokens = options.rows * options.sequence
    lindos, mixtral = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    for name, way, median in (("lindos", ways[0], lindos), ("mixtral", ways[1], mixtral)):
        print(f"{name_of}: {name:8} {tokens / median:8,.0f} tokens/s (median), {way}")
    print(f"{name_of}: lindos is {ratio} times as fast as mixtral, {options.rounds} rounds", flush=True)
    return lindos, mixtral


def _dtype(options: argparse.Namespace) -> torch.dtype:
    formats = {"auto": product_dtype(), "bf16": torch.bfloat16, "fp32": torch.float32}
    return formats[options.precision]


if __name__ == "__main__":
    main()
