"""The weights a network starts from: whoever holds a part of a matrix draws that part, and all parts fit together."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from lindos.model.transformer import Transformer
from lindos.specs import ModelSpec

DRAWN_TOGETHER = 1 << 18
"""Numbers that one generator draws: a stretch of rows."""


def initialise(model: Transformer, seed: int) -> None:
    """Fill the weights for training from scratch, reproducibly on any device.

    Matrices are normal with variance 1/in; embeddings such that, multiplied, they have unit variance. The norms
    after attention and experts make the scale of the output projections irrelevant to the forward pass; without them
    those are divided by sqrt(2 * layers), so that the residual stream does not grow with depth (GPT-2, section 2.3 of
    https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf). Router rows
    start small, so that the first choices are nearly even.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(initial_part(model.spec, seed, name, parameter.shape))


def initial_part(
    spec: ModelSpec, seed: int, name: str, shape: Sequence[int], part: Sequence[slice] | None = None
) -> Tensor:
    """What `initialise` fills the tensor of this name and shape with, or a `part` of it (a slice a dimension); fp32.

    Every stretch of rows has a generator of its own, made from the seed, the name and the stretch's number.
    """
    ranges = [range(size)[piece] for size, piece in zip(shape, part or [slice(None)] * len(shape), strict=True)]
    sizes = [len(each) for each in ranges]
    if len(shape) == 1 or 0 in sizes:
        return torch.ones(sizes)
    *stack, rows, columns = ranges
    matrices = []
    for index in itertools.product(*stack):
        first = _number(index, shape) * shape[-2]
        wanted = range(first + rows.start, first + rows.stop)
        drawn = _rows(f"{seed}:{name}", wanted, shape[-1], _scale(spec, name, shape))
        matrices.append(drawn[:, columns.start : columns.stop])
    return torch.stack(matrices).view(sizes)


def _number(index: Sequence[int], shape: Sequence[int]) -> int:
    """Which matrix of the stack `shape` this is."""
    number = 0
    for place, size in zip(index, shape, strict=False):
        number = number * size + place
    return number


def _rows(key: str, wanted: range, columns: int, std: float) -> Tensor:
    """Some rows of all matrices one below the other, drawn stretch by stretch."""
    stretch = max(1, DRAWN_TOGETHER // columns)
    values = torch.empty(len(wanted), columns)
    generator = torch.Generator()
    for number in range(wanted.start // stretch, -(-wanted.stop // stretch)):
        digest = hashlib.blake2b(f"{key}:{number}".encode(), digest_size=8).digest()
        generator.manual_seed(int.from_bytes(digest, "little") >> 1)
        start = number * stretch
        drawn = torch.empty(stretch, columns).normal_(0.0, std, generator=generator)
        low, high = max(start, wanted.start), min(start + stretch, wanted.stop)
        values[low - wanted.start : high - wanted.start] = drawn[low - start : high - start]
    return values


def _scale(spec: ModelSpec, name: str, shape: Sequence[int]) -> float:
    """The standard deviation of a matrix."""
    if name == "embedding":
        return 1.0 / spec.embedding_multiplier
    if name == "head":
        return shape[-1] ** -0.5
    if name.endswith("router"):
        return 0.02
    smaller = spec.norms_per_layer == 2 and name.endswith((".output", ".down"))
    return shape[-2] ** -0.5 * ((2 * spec.layers) ** -0.5 if smaller else 1.0)
