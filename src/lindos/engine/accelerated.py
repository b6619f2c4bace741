"""A Transformer on an accelerator: decode steps as captured graphs, everything else as PyTorch's own products.

A graph is captured for each size of step when it first comes, and checked against the step it was captured from.
Where something fails, steps that gather more than half as much go the plain way from then on, and stderr says so.

Letters: B rows, V vocabulary.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lindos.engine.blocks import BLOCK
from lindos.engine.cache import Pages
from lindos.engine.fixedstep import Attend, FixedStep, Inputs, Size, attend_table
from lindos.engine.network import Batch, TorchNetwork
from lindos.model import Transformer
from lindos.specs import ModelSpec

GATHERED = 1 << 29
"""Bytes of keys and values that a captured step copies together in a layer at most. Where there are more, reading them
takes longer than launching kernels, and a copy is what hurts."""
GRAPHS = 32
"""Captured at a time; the one not used for longest goes first."""
MARGIN = 1 << 31
"""Bytes that loading keeps free for this: what a layer gathers, as much for the other numbers of a step, and the
rest, 32 MiB each, for the graphs themselves."""
TOLERANCE = 0.02
"""By how much of the largest logit a replay may differ from the step: the same kernels, perhaps cut otherwise."""


class AcceleratedNetwork(TorchNetwork):
    """On a processor, without graphs, it computes the same fixed steps: so they are tested."""

    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        self._captures = self.device.type == "cuda"
        self._attend: Attend = _CompiledAttention() if self._captures else attend_table
        self._step: FixedStep | None = None
        self._graphs: dict[Size, Graph] = {}
        self._most = GATHERED // block_bytes(self.spec, self.kv_dtype)

    def forward(self, batch: Batch, last: list[int]) -> Tensor:
        size = Size.of(batch, last)
        if size is None or size.gathered > self._most:
            return super().forward(batch, last)
        try:
            return self._run(batch, size)[: len(last)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the plain way is still there
            self._most = size.gathered // 2
            self._forget(everything=isinstance(error, torch.OutOfMemoryError))
            _say(f"steps that gather more than {self._most} blocks are not captured", error)
        return super().forward(batch, last)

    def _run(self, batch: Batch, size: Size) -> Tensor:
        step, flat = self._step_over(batch.pages), Inputs.fill(batch, size)
        if not self._captures:
            return step(Inputs.view(flat, size))
        graph = self._graphs.pop(size, None) or self._capture(step, flat, size)
        self._graphs[size] = graph
        return graph(flat)

    def _step_over(self, pages: Pages) -> FixedStep:
        """The step over these pages; graphs over others are forgotten."""
        if self._step is None or self._step.pages is not pages:
            self._graphs.clear()
            self._step = FixedStep(self._model, pages, self._attend)
        return self._step

    def _forget(self, *, everything: bool) -> None:
        """Graphs that will not be used again, or all, to make room."""
        for size in [size for size in self._graphs if everything or size.gathered > self._most]:
            del self._graphs[size]

    def _capture(self, step: FixedStep, flat: Tensor, size: Size) -> Graph:
        while len(self._graphs) >= GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        return Graph(step, flat.to(self.device), size, next(iter(self._graphs.values()), None))


class Graph:
    """A captured step of one size."""

    def __init__(self, step: FixedStep, flat: Tensor, size: Size, other: Graph | None) -> None:
        """`flat` holds the inputs of a real step, which runs a few times: each writes the same to the cache.

        Memory between a step's ends is shared with the `other` graph: one replays at a time.
        Raises RuntimeError where something waits for the host, cannot be captured, or replays to something else.
        """
        self._flat = flat
        inputs = Inputs.view(flat, size)
        expected_BV = _rehearse(step, inputs)
        self._graph = torch.cuda.CUDAGraph()
        pool = None if other is None else other._graph.pool()
        # What the thread that reads requests does meanwhile is no part of it.
        with torch.cuda.graph(self._graph, pool=pool, stream=_stream(), capture_error_mode="thread_local"):
            self._logits_BV = step(inputs)
        self._graph.replay()
        if not same_logits(self._logits_BV, expected_BV):
            raise RuntimeError("a replayed graph gives other logits than the step it was captured from")

    def __call__(self, flat: Tensor) -> Tensor:
        """Logits, fp32 [B, V], of the step with these inputs."""
        self._flat.copy_(flat)
        self._graph.replay()
        return self._logits_BV.clone()


@functools.cache
def _stream() -> torch.cuda.Stream:
    """One for all captures: PyTorch keeps memory for products on every stream that it has seen."""
    return torch.cuda.Stream()


def _rehearse(step: FixedStep, inputs: Inputs) -> Tensor:
    """The step's logits, on a stream of its own as for a capture; the second time it may not wait for the host.

    A capture that fails leaves PyTorch's memory in disorder, so what would fail shall do so here.
    """
    stream, current = _stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        step(inputs)
        with _no_waiting():
            logits_BV = step(inputs)
    current.wait_stream(stream)
    return logits_BV


@contextlib.contextmanager
def _no_waiting() -> Iterator[None]:
    """Waiting for the device is an error: in the whole process, where no other thread computes on it."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that not everything is noticed
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class _CompiledAttention:
    """`attend_table` compiled; as it is from the first failure on."""

    def __init__(self) -> None:
        self._active: Attend = torch.compile(attend_table)

    def __call__(self, *args: Any) -> Tensor:
        try:
            return self._active(*args)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if self._active is attend_table:
                raise
            self._active = attend_table
            _say("attention is not compiled", error)
        return attend_table(*args)


def block_bytes(spec: ModelSpec, dtype: torch.dtype) -> int:
    """Of a block's keys and values in one layer."""
    return 2 * spec.kv_heads * BLOCK * spec.head_size * dtype.itemsize


def same_logits(found_BV: Tensor, expected_BV: Tensor) -> bool:
    """Whether they differ by rounding only; what is not finite is the sampler's to refuse."""
    off = (found_BV - expected_BV).nan_to_num(0.0).abs().max()
    return bool(off <= TOLERANCE * expected_BV.nan_to_num(0.0).abs().max())


def _say(what: str, error: Exception) -> None:
    first = (str(error).splitlines() or [""])[0]
    print(f"lindos: on this accelerator {what}: {type(error).__name__}: {first}", file=sys.stderr, flush=True)
