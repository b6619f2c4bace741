"""From the start of a process to an engine that is ready, nothing cached, beside the rate of the disk."""

from __future__ import annotations

import statistics
import time

from benchmarks.engine.bench import Bench, progress
from benchmarks.engine.limits import forget_files
from benchmarks.engine.models import model_bytes
from benchmarks.engine.results import Figure, Verdict
from benchmarks.engine.shapes import SHAPES
from lindos.kernels.disk import measure_disk

WANTED = 0.5
ROUNDS = 3


def loading(bench: Bench) -> None:
    """The model's bytes over those seconds, as a share of what the disk gives."""
    size = bench.main
    model = bench.packed(size)
    total = model_bytes(SHAPES[size], "int4")[0]
    shares, seconds, peak, inside, disks = [], [], 0, [], []
    for _ in range(min(ROUNDS, bench.rounds)):
        progress(f"loading {size}")
        disks.append(disk := measure_disk(bench.folder, 4.0 if SHAPES[size].parameters > 1e9 else 0.5))
        forget_files(model)
        started = time.perf_counter()
        with bench.lindos() as side:
            loaded = side.ask("load", model=str(model), sequences=1, context=256)
            seconds.append(time.perf_counter() - started)
            inside.append(loaded["seconds"])
            peak = max(peak, side.ask("usage")["peak"])
        if disk.bandwidth:
            shares.append(total / seconds[-1] / disk.bandwidth)
    more = {
        "seconds": statistics.median(seconds),
        "of these in load_engine": statistics.median(inside),
        "bytes": total,
        "bytes a second": total / statistics.median(seconds),
        "peak of memory": peak,
        "disk": f"{statistics.median(one.bandwidth for one in disks) / 1e9:.2f} GB/s, {disks[0].note}",
    }
    bench.record.figure(Figure("loading", f"{size}, int4", [], None, None, more))
    share = statistics.median(shares) if shares else 0.0
    found = f"{share:.2f} ({min(shares):.2f} to {max(shares):.2f})" if shares else disks[0].note
    met = share >= WANTED if shares else None
    bench.record.verdicts.append(Verdict("loading", f"{size}, int4", "half of the disk's measured rate", found, met))
