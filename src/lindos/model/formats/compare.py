"""Whether a conversion says the same as its source: by logits where both fit in memory, else by samples of weights."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lindos.kernels import available_memory
from lindos.kernels.packing import STRIP, Quantised, pack
from lindos.kernels.quantising import packed
from lindos.model.formats.gguf.exact import whole_matrices
from lindos.model.formats.matrices import VOCABULARY, stored_matrices
from lindos.model.formats.own import fill
from lindos.model.formats.packedfiles import PackedSource
from lindos.model.formats.packing import PackedSink
from lindos.model.formats.sinks import Sink
from lindos.model.formats.source import FormatError, TensorSource
from lindos.specs import ModelSpec

TOLERANCE = 1e-4
TOKENS = 8
STRIPS_COMPARED = 4
"""Of 16 outputs, of a sampled matrix."""


@dataclass(frozen=True)
class Comparison:
    """What was compared and how far apart it was."""

    kind: str
    """`logits` or `samples`."""
    difference: float
    """The largest between the result and its source rounded as the result is: what the conversion itself did."""
    rounding: float
    """The largest between the result's logits and the source's: what storing in fewer bits did."""
    compared: int
    """Tokens, or tensors of which a sample was compared."""

    def __str__(self) -> str:
        if self.kind == "samples":
            return (
                f"a sample of each of {self.compared} tensors equals the source's "
                "(logits were not compared: the model does not fit in memory)"
            )
        rounded = f"; storing it in fewer bits moved them by {self.rounding:.3g} at most" if self.rounding else ""
        return f"logits of {self.compared} tokens equal the source's within {self.difference:.2g}{rounded}"


def compare(source: TensorSource, result: TensorSource, sink: Sink, memory: int | None = None) -> Comparison:
    """Compare in fp32. `memory`: bytes to make do with, by default what the machine has free.

    Raises FormatError where the two differ by more than rounding explains.
    """
    memory = available_memory() if memory is None else memory
    if 4 * source.spec.parameters * 1.25 + (256 << 20) > memory:
        return _compare_samples(source, result, sink)
    tokens = probe_tokens(source.spec)
    exact = _logits(source, tokens)
    rounded = _logits(source, tokens, sink)
    found = _logits(result, tokens)
    difference = float((found - rounded).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(rounded.abs().max())):
        raise FormatError(
            f"{result.directory}: its logits differ from those of {source.directory} by {difference:.3g}, "
            "more than rounding explains; the conversion is not sound"
        )
    return Comparison("logits", difference, float((found - exact).abs().max()), len(tokens))


def probe_tokens(spec: ModelSpec) -> list[int]:
    """A few tokens from all over the vocabulary, none of them padding."""
    wanted = min(TOKENS, spec.sequence)
    tokens = [(1 + index * spec.vocabulary // wanted) % spec.vocabulary for index in range(wanted)]
    return [token for token in tokens if token != spec.pad_token] or tokens


@torch.inference_mode()
def _logits(source: TensorSource, tokens: list[int], rounding: Sink | None = None) -> Tensor:
    model = fill(source, dtype=torch.float32, rounding=rounding)
    return model(torch.tensor([tokens]))[0]


def _compare_samples(source: TensorSource, result: TensorSource, sink: Sink) -> Comparison:
    """One block (an expert, some rows, a small tensor whole) of every tensor, bit for bit."""
    choose = random.Random(0)
    for name, info in source.tensors.items():
        rows = choose.choice(list(info.blocks()))
        if (
            isinstance(sink, PackedSink)
            and not sink.moments
            and isinstance(result, PackedSource)
            and result.matrices(name)
        ):
            _compare_strips(source, result, sink, name, rows, choose)
            continue
        expected = sink.rounded(info, source.read(name, rows), rows)
        found = result.read(name, rows).float()
        if not torch.equal(expected, found):
            where = result.tensors[name].where
            raise FormatError(f"{where} differs from the source's {info.where} by more than rounding explains")
    return Comparison("samples", 0.0, 0.0, len(source.tensors))


def _compare_strips(
    source: TensorSource, result: PackedSource, sink: PackedSink, name: str, rows: slice, choose: random.Random
) -> None:
    """Some outputs of a packed matrix, made anew by PyTorch and NumPy whatever kernels wrote it."""
    info = source.tensors[name]
    matrix = result.matrices(name)[rows.start if len(info.shape) == 3 else 0]
    base = rows.start if name in VOCABULARY else 0  # rows of the matrix that the block begins with
    height = rows.stop - rows.start if name in VOCABULARY else matrix.rows
    first = choose.randrange(-(-height // STRIP))
    some = slice(first * STRIP, min((first + STRIPS_COMPARED) * STRIP, height))
    if name in sink.exact:
        whole = next(whole_matrices(source, name, rows))
        assert matrix.format != "bf16"
        expected = pack(Quantised(whole.values[some], whole.scales[some]), matrix.format)
    else:
        stored = next(stored_matrices(source, name, rows)).rows(some)
        expected = packed(torch.from_numpy(stored.widened()), matrix.format, sink.rounding)
    found = result.strips(matrix, slice((base + some.start) // STRIP, -(-(base + some.stop) // STRIP)))
    if found.rows != expected.rows or not np.array_equal(found.data, expected.data):
        raise FormatError(f"{result.tensors[name].where} differs from the source's {info.where}; convert it again")
