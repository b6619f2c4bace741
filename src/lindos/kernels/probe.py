"""What this machine's memory, matrix units and disk do, measured in seconds and without PyTorch.

Rates are the best of several short runs, as other work on the machine can only make a run slower; those of the engine's
kernels are medians. Bandwidths are decimal bytes per second; a byte counts once, when it is read.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from lindos.kernels.disk import measure_disk
from lindos.kernels.limits import available_memory, usable_cores
from lindos.kernels.rates import KernelRate, kernel_rates
from lindos.specs import Machine, Precision, Spec, SpecError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

SWEPT = 512 << 20
"""Bytes read by one run, over all threads: many times what caches hold."""
SIDE = 1536
"""Rows and columns of the multiplied matrices: 9 MB each in fp32, 0.02 s at 350 GFLOP/s."""
CALLS = 2000
_UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "avx_vnni", "asimd", "i8mm", "bf16")


class Probe(Spec):
    """One machine as it was measured."""

    processor: str
    cores: Annotated[int, Field(gt=0)]
    """Cores this process may keep busy."""
    instructions: tuple[str, ...]
    """Vector and matrix units that matter for products, as the kernel names them; empty where it does not tell."""
    memory_available: Positive
    """Bytes this process can still take, within the limits of its control group."""
    memory_bandwidth: Positive
    """Bytes per second that all cores together read from memory."""
    matrix_flops: Positive
    """Operations per second of an fp32 matrix product (a multiply-add is two), by NumPy's BLAS."""
    call_seconds: Positive
    """One call of a NumPy function on 64 numbers: how fast one core gets through what is not arithmetic."""
    kernel_rates: tuple[KernelRate, ...] = ()
    """What the native kernels reach; empty where there are none."""
    disk_bandwidth: NotNegative = 0.0
    """Bytes per second of large parallel reads; 0 where it was not measured."""
    disk_free: NotNegative = 0.0
    """Bytes free in the folder that was measured."""
    disk_note: str = ""
    """How the disk was read, or why it was not."""
    seconds: NotNegative = 0.0
    """How long measuring took."""

    @property
    def multiplies_bf16(self) -> bool:
        """Whether the processor has bf16 products of its own; others emulate them slowly."""
        return any(unit in self.instructions for unit in ("avx512_bf16", "amx_bf16", "bf16"))


def probe(disk: Path | None = None, seconds: float = 3.0) -> Probe:
    """Measure this machine in about `seconds`, of which the disk takes half.

    `disk` is the folder whose disk is measured with a temporary file; without one the disk is left out.
    """
    if not 0.1 <= seconds <= 15:
        raise SpecError(f"a probe takes 0.1 to 15 seconds, not {seconds:g}")
    started = time.perf_counter()
    cores, memory = usable_cores(), available_memory()
    bandwidth = _memory_bandwidth(cores, min(SWEPT, memory // 8), seconds / 6)
    rates = kernel_rates(cores, memory, seconds / 5)
    call = _call_seconds()
    flops = _matrix_flops(seconds / 8)  # after the others: the threads of a BLAS stay awake for a while
    reading = measure_disk(disk, seconds / 2)
    return Probe(
        processor=_processor(),
        cores=cores,
        instructions=_instructions(),
        memory_available=memory,
        memory_bandwidth=bandwidth,
        matrix_flops=flops,
        call_seconds=call,
        kernel_rates=rates,
        disk_bandwidth=reading.bandwidth,
        disk_free=reading.free,
        disk_note=reading.note,
        seconds=time.perf_counter() - started,
    )


def this_machine(measured: Probe) -> Machine:
    """The measured machine as the planner's noun: memory is what is free now, rates are what was reached."""
    return Machine(
        name="this-machine",
        title=f"{measured.processor}, {measured.cores} cores",
        kind="this machine",
        source="measured by lindos.kernels.probe",
        cores=measured.cores,
        host_memory_bytes=measured.memory_available,
        host_bandwidth=measured.memory_bandwidth,
        host_flops={Precision.FP32: measured.matrix_flops},
        disk_bytes=measured.disk_free,
        disk_bandwidth=measured.disk_bandwidth,
    )


def _memory_bandwidth(threads: int, size: int, seconds: float) -> float:
    """All threads read their own stretch of memory at once; NumPy lets them run together while it reduces.

    An `or` over 64-bit words was the fastest of NumPy's reductions on the processors tried: nothing but loads.
    """
    stretches = [np.ones(max(1 << 16, size // threads // 8), np.uint64) for _ in range(threads)]
    swept = sum(stretch.nbytes for stretch in stretches)
    with ThreadPoolExecutor(threads) as pool:
        return swept / _best(lambda: list(pool.map(np.bitwise_or.reduce, stretches)), seconds)


def _matrix_flops(seconds: float) -> float:
    """fp32 products of square matrices, with as many threads as NumPy's BLAS takes."""
    a = np.full((SIDE, SIDE), 0.5, np.float32)
    out = np.empty_like(a)
    return 2 * SIDE**3 / _best(lambda: np.matmul(a, a, out=out), seconds)


def _call_seconds() -> float:
    numbers = np.zeros(64, np.float32)

    def calls() -> None:
        for _ in range(CALLS):
            np.add(numbers, numbers)

    return _best(calls, 0.05) / CALLS


def _best(run: Callable[[], object], seconds: float) -> float:
    """The fastest of at least three runs, and of as many as fit."""
    until = time.perf_counter() + seconds
    best, done = float("inf"), 0
    while done < 3 or time.perf_counter() < until:
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
        done += 1
    return best


def _processor(info: Path = Path("/proc/cpuinfo")) -> str:
    for line in _lines(info):
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "processor"


def _instructions(info: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    for line in _lines(info):
        if line.startswith(("flags", "Features")):
            known = set(line.partition(":")[2].split())
            return tuple(unit for unit in _UNITS if unit in known)
    return ()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
