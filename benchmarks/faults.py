"""Goodput of a real run whose ranks are killed, beside the planner's closed form at the rates that it met.

A small model trains under torchrun on processes of this machine; one of them, drawn at random, gets SIGKILL after times
drawn from an exponential distribution, and torchrun starts all anew. The run's own journal says where its time went and
how often it was interrupted, how long that took, how far apart its checkpoints were: those rates go into the formula.

    python -m benchmarks.faults [--every 40] [--minutes 8] [--processes 2] [--rounds 1]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

import numpy as np

from lindos.data import DatasetWriter
from lindos.plan.goodput import training_share
from lindos.specs import load_model_spec
from lindos.train.history import read_history

STEPS = 1_000_000
"""More than any time given lets a run do."""


def prepare(folder: Path, options: argparse.Namespace) -> Path:
    """A run file over random tokens, which cost as much to train on as any."""
    spec = load_model_spec("pebble").model_copy(update={"layers": 2, "pad_token": None})
    rng = np.random.default_rng(0)
    with DatasetWriter(folder / "data", name="noise", vocabulary=spec.vocabulary) as writer:
        shard = writer.part("train")
        for _ in range(400):
            shard.add(rng.integers(1, spec.vocabulary, 1000).tolist(), text_bytes=1000)
        writer.keep(shard.close(name="train", group="noise", split="train", epochs=1.0, packing="stream"))
        tokenizer = resources.files("lindos.bundled.pebble") / "tokenizer.json"
        writer.finish(tokenizer.read_text(encoding="utf-8"), {})
    (folder / "spec.json").write_text(spec.model_dump_json())
    run = {
        "name": "faults",
        "model": str(folder / "spec.json"),
        "data": {"path": str(folder / "data"), "sequence": 128, "batch": 4, "micro_batch": 1},
        "optimizer": {"kind": "adamw", "lr": 1e-4},
        "schedule": {"steps": STEPS},
        "evaluate": {"every": STEPS},
        "sample": {"every": STEPS},
        "checkpoint": {"every": options.checkpoint},
        "machine": {"threads": 1, "device": "cpu"},
        "layout": {"shards": options.processes},
    }
    (folder / "run.json").write_text(json.dumps(run))
    return folder / "run.json"


def faulted(run: Path, out: Path, options: argparse.Namespace, chance: random.Random) -> None:
    """Train for the minutes given, with kills."""
    order = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(options.processes),
        "--max-restarts", "100000", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "lindos", "train",
        str(run), "--out", str(out), "--resume",
    ]  # fmt: skip
    over = time.monotonic() + 60 * options.minutes
    with out.with_suffix(".log").open("w") as log:
        whole = subprocess.Popen(order, stdout=log, stderr=subprocess.STDOUT)
        try:
            while time.monotonic() < over and whole.poll() is None:
                time.sleep(min(chance.expovariate(1 / options.every), max(0.0, over - time.monotonic())))
                victims = ranks_of(whole.pid)
                if victims and time.monotonic() < over:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(victims), signal.SIGKILL)
        finally:
            whole.terminate()
            whole.wait(60)


def ranks_of(launcher: int) -> list[int]:
    """The processes that torchrun has started."""
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            if "lindos" in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def main() -> None:
    """Run, and print measured and predicted goodput and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=float, default=40.0, help="mean seconds between kills")
    parser.add_argument("--minutes", type=float, default=8.0, help="of each run")
    parser.add_argument("--checkpoint", type=int, default=40, help="steps between checkpoints")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = prepare(Path(folder), options)
            faulted(run, Path(folder) / "out", options, random.Random(number))
            history = read_history(Path(folder) / "out")
        account, met = history.account, history.rates
        if account is None or met is None:
            raise SystemExit("the run met no fault between two checkpoints; give it more minutes")
        formula = training_share(met.rate, met.restart, met.interval, met.stall)
        ratios.append(account.goodput_running / formula)
        print(
            f"run {number}: {history.faults} faults, one in {1 / met.rate:.0f} s; {met.restart:.1f} s to train again; "
            f"a checkpoint every {met.interval:.1f} s holds up {1e3 * met.stall:.0f} ms; {history.redone} redone\n"
            f"  goodput measured {account.goodput_running:.1%}, by the planner's formula {formula:.1%}",
            flush=True,
        )
    spread = f" ({min(ratios):.3f} to {max(ratios):.3f})" if len(ratios) > 1 else ""
    print(f"measured / formula: {statistics.median(ratios):.3f}{spread}")


if __name__ == "__main__":
    main()
