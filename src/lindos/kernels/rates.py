"""How fast the native kernels get through weights here, by how many inputs meet them. Torch-free.

The same kernels as the engine's, over weights that no cache holds: what a prediction needs to know of processor, memory
and kernels, in one number each.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lindos.kernels.choosing import KernelsError, chosen_kernels, native_module
from lindos.kernels.packing import FORMATS, Format, packed_bytes
from lindos.specs import Precision, Spec

ROWS = (1, 2, 4, 8, 32, 128)
SWEPT = 256 << 20
"""Bytes that one run reads at most: fewer of many inputs, and where kernels are slow."""
FEW = 8
"""Inputs up to which the whole of it is read."""
MATRIX = (2048, 2048)
RUNS = 5
_FORMATS: dict[Precision, Format] = {Precision.INT8: "int8", Precision.INT4: "int4"}


class KernelRate(Spec):
    """What all threads together reach."""

    precision: Precision
    """Of the weights."""
    rows: Annotated[int, Field(gt=0)]
    """Inputs that each weight is multiplied with."""
    weights_per_second: Annotated[float, Field(gt=0)]


def kernel_rates(threads: int, memory: int, seconds: float) -> tuple[KernelRate, ...]:
    """Of both quantised formats, in about `seconds`; nothing where the kernels are not there or switched off."""
    native = native_module()
    try:
        isa = chosen_kernels()
    except KernelsError:
        return ()
    if native is None or isa == "torch":
        return ()
    kernels = native.Kernels(isa, threads, True)
    each = seconds / (len(ROWS) * len(_FORMATS))
    return tuple(
        KernelRate(precision=precision, rows=rows, weights_per_second=rate)
        for precision, form in _FORMATS.items()
        for rows, rate in zip(ROWS, _rates(native, kernels, form, min(SWEPT, memory // 8), each), strict=True)
    )


def _rates(native: Any, kernels: Any, form: Format, swept: int, seconds: float) -> list[float]:
    """Weights a second for each of ROWS."""
    out, columns = MATRIX
    size = packed_bytes(form, out, columns)
    # Read as half-precision scales, too, these bytes are ordinary numbers.
    data = np.full(max(2, swept // size) * size, 0x11, np.uint8)
    views = [native.Matrix(data[at : at + size], FORMATS.index(form), out, columns) for at in range(0, data.size, size)]
    found = []
    for rows in ROWS:
        x, y = np.full((rows, columns), 0.5, np.float32), np.empty((rows, out), np.float32)
        once = _typical(partial(_multiply, kernels, x, views[:2], y), 0.0) / 2
        fitting = int(seconds / (RUNS * once))
        some = views[: max(2, fitting if rows <= FEW else min(fitting, len(views) // rows))]
        found.append(len(some) * out * columns / _typical(partial(_multiply, kernels, x, some, y), seconds))
    return found


def _multiply(kernels: Any, x: NDArray[np.float32], matrices: list[Any], y: NDArray[np.float32]) -> None:
    for matrix in matrices:
        kernels.multiply(x, [matrix], [y])


def _typical(run: Callable[[], None], seconds: float) -> float:
    """The median of RUNS runs at least: a step in the engine meets the machine's other work, too."""
    until, times = time.perf_counter() + seconds, []
    while len(times) < RUNS or time.perf_counter() < until:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
