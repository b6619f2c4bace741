"""Random weights, written straight in the kernels' layout, as fast as the disk takes them, and the same as GGUF.

Matrices have variance 1/in, as an initialisation has it; embeddings unit variance once multiplied; routers 1/in too,
so that a token's choice is its own while the load stays even. The whole numbers are quantiles of a normal
distribution, drawn with equal chance, and every group of 32 has a scale of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.engine.shapes import SHAPES
from lindos.kernels.packing import GROUP, STRIP, Format
from lindos.model.formats import convert
from lindos.model.formats.names import expected_shapes
from lindos.model.formats.packedfiles import Matrix, Weights, matrices
from lindos.model.formats.packing import VOCABULARY, PackedSink
from lindos.model.formats.shards import plan_shards, write_index, write_json, write_shard
from lindos.model.formats.sinks import Piece
from lindos.model.formats.source import TensorInfo, TensorSource
from lindos.specs import ModelSpec

GGUF_KINDS = {"int4": "q4_0", "int8": "q8_0", "bf16": "bf16"}
STRIPS_AT_A_TIME = 256


def packed_model(folder: Path, size: str, weights: Weights) -> Path:
    """The directory of a model, made where it is missing."""
    place = folder / f"{size}-{weights}"
    if not (place / "config.json").is_file():
        print(f"making {place}: random weights of {SHAPES[size].name}, {weights}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        write_random(place, SHAPES[size], weights)
    return place


def gguf_model(folder: Path, size: str, weights: Weights) -> Path:
    """The same model for llama.cpp, made where it is missing: the same whole numbers and scales, bit for bit."""
    place = folder / f"{size}-{weights}.gguf"
    if not place.is_file():
        source = packed_model(folder, size, weights)
        print(f"making {place} of {source}", flush=True)
        convert(source, place, to="gguf", dtype="keep", verify=False)
    return place


def write_random(place: Path, spec: ModelSpec, weights: Weights, seed: int = 0) -> None:
    """A quantised directory of random weights; memory holds little at a time."""
    sink = RandomSink(spec, weights, seed)
    infos = [TensorInfo(name, shape, "fp32") for name, shape in expected_shapes(spec)]
    shards = plan_shards(infos, sink)
    for shard in shards:
        write_shard(place / shard.file, shard, _Nothing(), sink)
    write_index(place, shards)
    write_json(place / "config.json", sink.config(spec))


class RandomSink(PackedSink):
    """Writes what it draws, not what a source holds."""

    def __init__(self, spec: ModelSpec, weights: Weights, seed: int) -> None:
        super().__init__(weights)
        self._spec, self._draw = spec, _Numbers(seed)

    def pieces(self, source: TensorSource, info: TensorInfo, rows: slice) -> Iterator[Piece]:
        found = matrices(info.name, info.shape, self.weights)
        if not found:
            yield info.name, rows.start, self._plain(info, rows)
        elif info.name in VOCABULARY:
            if rows.start == 0:
                yield from self._matrix(found[0], 1.0 / self._spec.embedding_multiplier)
        else:
            for matrix in found if len(info.shape) == 2 else found[rows]:
                yield from self._matrix(matrix, matrix.columns**-0.5)
                yield from self._end(info, matrix)

    def _plain(self, info: TensorInfo, rows: slice) -> Tensor:
        shape = (rows.stop - rows.start, *info.shape[1:])
        if info.name.endswith(".router"):
            return torch.from_numpy(self._draw.normal(shape, info.shape[0] ** -0.5))
        return torch.ones(shape)

    def _matrix(self, matrix: Matrix, deviation: float) -> Iterator[Piece]:
        strips = -(-matrix.rows // STRIP)
        at = 0
        for first in range(0, strips, STRIPS_AT_A_TIME):
            count = min(STRIPS_AT_A_TIME, strips - first)
            data = self._draw.strips(matrix, count, deviation)
            if first + count == strips and (filled := matrix.rows % STRIP):
                _silence(data[-1], matrix, filled)
            yield matrix.name, at, torch.from_numpy(data.reshape(-1)).view(torch.int8)
            at += data.size


class _Numbers:
    """Random bytes by the gigabyte."""

    def __init__(self, seed: int) -> None:
        self._raw = np.random.SFC64(seed)
        self._few = np.random.default_rng(seed)
        self._pairs = _nibble_pairs()
        self._bytes = np.clip(np.round(_quantiles(256) * (127 / 3)), -127, 127).astype(np.int8).view(np.uint8)
        self._bf16 = _quantiles(1 << 16)

    def normal(self, shape: tuple[int, ...], deviation: float) -> NDArray[np.float32]:
        return self._few.normal(0.0, deviation, shape).astype(np.float32)

    def strips(self, matrix: Matrix, count: int, deviation: float) -> NDArray[np.uint8]:
        """`count` strips in the kernels' layout, [count, bytes]."""
        groups = -(-matrix.columns // GROUP)
        format: Format = matrix.format
        strip = matrix.bytes // -(-matrix.rows // STRIP)
        if format == "bf16":
            bits = (self._bf16 * deviation).astype(np.float32).view(np.uint32)
            table = (bits + 0x8000 >> 16).astype(np.uint16)
            return table[self._random(count * strip).view(np.uint16)].view(np.uint8).reshape(count, strip)
        numbers = self._pairs if format == "int4" else self._bytes
        data = np.zeros((count, strip), np.uint8)
        body = groups * STRIP * GROUP // (2 if format == "int4" else 1)
        data[:, strip - body :] = numbers[self._random(count * body)].reshape(count, body)
        spread = _spread(format) / np.float32(deviation)
        scales = self._few.uniform(0.8, 1.2, (count, groups * STRIP)).astype(np.float32) / spread
        data[:, : groups * STRIP * 2] = scales.astype(np.float16).view(np.uint8)
        return data

    def _random(self, size: int) -> NDArray[np.uint8]:
        return self._raw.random_raw(-(-size // 8)).view(np.uint8)[:size]


class _Nothing(TensorSource):
    """What a sink that draws its numbers is given for a source."""

    def read(self, name: str, rows: slice) -> Tensor:
        raise NotImplementedError


def _quantiles(count: int) -> NDArray[np.float64]:
    normal = NormalDist()
    return np.array([normal.inv_cdf((n + 0.5) / count) for n in range(count)])


def _nibbles() -> NDArray[np.int64]:
    """Sixteen values from -7 to 7, symmetric, so that no matrix has a mean of its own."""
    return np.round(_quantiles(16) * (7 / _quantiles(16)[-1])).astype(np.int64)


def _nibble_pairs() -> NDArray[np.uint8]:
    """What a random byte becomes: two of the values, stored as value + 8."""
    stored = (_nibbles() + 8).astype(np.uint8)
    byte = np.arange(256)
    return (stored[byte & 15] | (stored[byte >> 4] << 4)).astype(np.uint8)


def _spread(format: Format) -> np.float32:
    """Standard deviation of the whole numbers."""
    return np.float32(np.std(_nibbles()) if format == "int4" else 127 / 3)


def _silence(strip: NDArray[np.uint8], matrix: Matrix, filled: int) -> None:
    """Rows that only fill the last strip up are zero: by their scales, or by their bits."""
    groups = -(-matrix.columns // GROUP)
    if matrix.format == "bf16":
        strip.view(np.uint16).reshape(-1, STRIP, 2)[:, filled:] = 0
    else:
        strip[: groups * STRIP * 2].view(np.uint16).reshape(groups, STRIP)[:, filled:] = 0


def model_bytes(spec: ModelSpec, weights: Weights) -> tuple[int, int, int]:
    """(all packed matrices, those that every step reads, one expert) in bytes. Small fp32 tensors are left out.

    Every step reads all but the experts; the embedding counts as the head that it is, its looked-up rows are nothing.
    """
    total = expert = 0
    for name, shape in expected_shapes(spec):
        found = matrices(name, shape, weights)
        total += sum(matrix.bytes for matrix in found)
        if name.startswith("layers.0.experts.") and found:
            expert += found[0].bytes
    return total, total - expert * spec.experts * spec.layers, expert
