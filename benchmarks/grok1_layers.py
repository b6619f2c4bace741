"""How fast the release's checkpoint is converted: two layers of Grok-1's real sizes, in its own pickles.

    python -m benchmarks.grok1_layers --folder work/grok1 --quantise int4 --rounds 3

makes a checkpoint of random int8 weights and bf16 scales (13 GB; its names, order and files are the release's), and in
each round measures the disk and then runs `lindos convert` on the checkpoint as a process, with neither in the system's
cache. Printed are bytes of the checkpoint per second over the disk's bytes per second, and the process's peak memory.
The folder is removed at the end unless `--keep` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lindos.kernels.disk import measure_disk
from lindos.model.formats.names import expected_shapes, release_order, stays_fp32
from lindos.specs import ModelSpec, load_model_spec

LAYERS = 2


class QuantizedWeight8bit:
    """Pickled under the name that the release's class has."""

    def __init__(self, weight: np.ndarray, scales: np.ndarray) -> None:
        self.weight, self.scales = weight, scales


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("work/grok1"))
    parser.add_argument("--quantise", nargs="+", default=["int4"], choices=["int4", "int4-search", "int8", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-verify", action="store_true", help="leave out the comparison at the end")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoint where it is")
    options = parser.parse_args()
    source = options.folder / "official"
    if not source.is_dir():
        make(source)
    files = sorted((source / "ckpt-0").iterdir())
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} files, {size / 1e9:.2f} GB")
    try:
        for form in options.quantise:
            rounds = [one_round(source, files, form, not options.no_verify) for _ in range(options.rounds)]
            shares = sorted(size / seconds / disk for disk, seconds, _ in rounds)
            print(
                f"{form}: {statistics.median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f}) of the disk's rate, "
                f"peak {max(peak for *_, peak in rounds) / 1e9:.2f} GB"
            )
    finally:
        if not options.keep:
            shutil.rmtree(options.folder)


def one_round(source: Path, files: list[Path], form: str, verify: bool) -> tuple[float, float, int]:
    """The disk's bytes per second, the conversion's seconds and its peak bytes."""
    result = source.with_name("result")
    shutil.rmtree(result, ignore_errors=True)
    for file in files:
        forget(file)
    disk = measure_disk(source, 6.0).bandwidth
    weights, _, rounding = form.partition("-")
    command = [sys.executable, "-m", "lindos", "convert", str(source), str(result), "--quantise", weights]
    command += ["--rounding", rounding] if rounding else []
    command += [] if verify else ["--no-verify"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = 0
    before = os.times()
    while process.poll() is None:
        peak = max(peak, peak_bytes(process.pid))
        time.sleep(0.2)
    seconds, after = time.perf_counter() - began, os.times()
    computed = after.children_user + after.children_system - before.children_user - before.children_system
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    size = sum(file.stat().st_size for file in files)
    print(
        f"  {form}: disk {disk / 1e6:.0f} MB/s, conversion {size / seconds / 1e6:.0f} MB/s of the checkpoint "
        f"in {seconds:.1f} s ({computed:.1f} s of the processor), peak {peak / 1e9:.2f} GB",
        flush=True,
    )
    shutil.rmtree(result)
    return disk, seconds, peak


def peak_bytes(process: int) -> int:
    """VmHWM; 0 where it cannot be read any more."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def forget(file: Path) -> None:
    """Out of the system's cache."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def make(folder: Path) -> None:
    """The checkpoint: see `docs/formats.md`, `official`."""
    spec = ModelSpec(**(load_model_spec("grok-1").model_dump() | {"name": "grok-1-layers", "layers": LAYERS}))
    shapes = dict(expected_shapes(spec))
    inner = folder / "ckpt-0"
    inner.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(json.loads(spec.model_dump_json())))
    rng = np.random.default_rng(0)
    sys.modules["__main__"].QuantizedWeight8bit = QuantizedWeight8bit  # type: ignore[attr-defined]
    QuantizedWeight8bit.__module__ = "__main__"
    for number, name in enumerate(release_order(LAYERS)):
        with (inner / f"tensor{number:05d}_000").open("wb") as file:
            pickle.dump(tensor(name, shapes[name], rng), file, protocol=4)
            os.fsync(file.fileno())


def tensor(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if name == "embedding" or stays_fp32(name):
        return (rng.standard_normal(shape, np.float32) * np.float32(0.02)).astype(np.float32)
    groups = 8 if name.endswith(("attention.output", "experts.down")) else 1
    weights = np.frombuffer(rng.bytes(int(np.prod(shape))), np.int8).reshape(shape)
    scales = rng.uniform(2e-4, 2e-3, (*shape[:-2], groups, shape[-1])).astype(ml_dtypes.bfloat16)
    return QuantizedWeight8bit(weights, scales)


if __name__ == "__main__":
    main()
