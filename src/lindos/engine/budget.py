"""How a promise of memory is divided: what the process and the dense weights take, then caches, then experts.

All sizes are bytes unless they say otherwise. Torch-free.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from lindos.engine.blocks import BLOCK
from lindos.engine.interface import EngineError
from lindos.engine.memory import resident_bytes
from lindos.specs import ModelSpec

SPARE = 64 << 20
"""Kept back for what is not counted: code that is loaded when it is first used, the allocator's leftovers."""
SPARE_SHARE = 0.02
"""And this much of the promise."""
STEP = 0.25
"""Most of what is left beside the dense weights that a step's numbers take, where experts are short."""
FEWEST = 2
"""Experts in memory that can be worked with: one computes while the next is read."""


@dataclass(frozen=True)
class Weights:
    """Sizes of a packed model: all that is not an expert, and one expert."""

    dense: int
    expert: int
    experts: int
    """How many, in all layers."""
    kv_bytes: int
    """Of keys and values for one token."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for; None: whatever suits."""

    max_running: int
    step_tokens: int
    context: int | None = None
    kv_tokens: int | None = None
    cache_share: float = 0.25
    """Most of what is left beside the dense weights that caches take, where experts are short."""


@dataclass(frozen=True)
class MemoryPlan:
    """What a promise buys."""

    slots: int
    """Experts in memory."""
    context: int
    kv_tokens: int
    step_tokens: int


def process_bytes() -> int:
    """What this process and the one that started it hold now."""
    return resident_bytes() + resident_bytes(os.getppid())


def divide(promised: int, process: int, weights: Weights, spec: ModelSpec, wanted: Wanted) -> MemoryPlan:
    """Divide `promised` bytes, of which the process holds `process` before anything of the model is loaded.

    All experts, if they fit beside one full context; otherwise caches and the numbers of a step take at most their
    shares of what the dense weights leave, and experts the rest. Raises EngineError with the least that would do.
    """
    left = promised - process - weights.dense - SPARE - int(SPARE_SHARE * promised)
    step = max(wanted.step_tokens, wanted.max_running)
    while step > wanted.max_running and step_bytes(spec, step, wanted.max_running) > STEP * left:
        step = max(wanted.max_running, step // 2)
    context = wanted.context or spec.sequence
    full = wanted.max_running * context
    beside = _tokens(left - step_bytes(spec, step, wanted.max_running) - weights.experts * weights.expert, weights)
    if wanted.kv_tokens is None and beside >= context:
        return MemoryPlan(weights.experts, context, min(full, beside), step)
    frugal = wanted.kv_tokens or wanted.context or BLOCK
    room = wanted.kv_tokens or max(frugal, min(full, _tokens(int(wanted.cache_share * left), weights)))
    for tokens, rows in ((room, step), (frugal, wanted.max_running)):
        rest = left - step_bytes(spec, rows, wanted.max_running) - _blocks(tokens) * weights.kv_bytes
        if rest >= FEWEST * weights.expert:
            slots = min(rest // weights.expert, weights.experts)
            return MemoryPlan(slots, min(context, tokens), tokens, rows)
    least = promised - rest + FEWEST * weights.expert - int(SPARE_SHARE * promised)
    raise EngineError(
        f"{_gib(promised)} of memory are too few for {spec.name}: libraries, server and dense weights take "
        f"{_gib(process + weights.dense)}; with a cache for {frugal:,} tokens and {FEWEST} experts in memory "
        f"it takes {_gib(int(least / (1 - SPARE_SHARE)))} at least"
    )


def _tokens(room: int, weights: Weights) -> int:
    """Whose caches fit, in whole blocks."""
    return room // weights.kv_bytes // BLOCK * BLOCK


def _gib(size: int) -> str:
    return f"{math.ceil(100 * size / 2**30) / 100:.2f} GiB"


def step_bytes(spec: ModelSpec, rows: int, sampled: int) -> int:
    """An upper bound of what a step of `rows` tokens computes with, of which `sampled` give logits."""
    inner, kv = spec.heads * spec.head_size, spec.kv_heads * spec.head_size
    choices, width = spec.experts_per_token, spec.width
    numbers = 6 * width + 4 * inner + 4 * kv + 3 * (spec.shared_width or 0) + spec.experts
    numbers += choices * (spec.expert_width + width + 2)
    # Inputs of products are held once more, as whole numbers with scales, in bf16 or in fp32 by the weights' format.
    copies = width + inner + choices * spec.expert_width + (spec.shared_width or 0)
    return 4 * rows * (numbers + copies) + 4 * 4 * sampled * spec.vocabulary


def _blocks(tokens: int) -> int:
    return -(-tokens // BLOCK) * BLOCK
