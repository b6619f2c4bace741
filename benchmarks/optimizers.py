"""AdamW beside Muon on the same data: what each has learnt after the same number of tokens.

Short runs of one model from the same start, over the same batches, each through its whole schedule of warm-up, plateau
and decay, at several peak rates; the best rate of each kind is compared. Losses are a pure function of the run, so one
round is enough; the seconds a step takes are medians.

    python -m benchmarks.optimizers work/pebble/pretrain [--model pebble] [--steps 80] [--batch 8] [--sequence 512]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lindos.train import RunFile, Trainer

ADAMW_RATES = (1e-3, 3e-3, 6e-3)
MUON_RATES = (0.01, 0.02)
MUON_REST = 3e-3
"""What AdamW, which keeps the vectors and the embedding, runs at beside Muon."""


@dataclass(frozen=True)
class Outcome:
    """One run: its held-out loss in nats a token, and the median seconds of its steps."""

    name: str
    loss: float
    seconds: float


def run_once(options: argparse.Namespace, name: str, optimizer: dict[str, Any]) -> Outcome:
    """Train from the start under `optimizer`, with everything else the same."""
    run = RunFile.parse(
        {
            "name": "optimizers",
            "model": options.model,
            "data": {
                "path": options.data,
                "sequence": options.sequence,
                "batch": options.batch,
                "micro_batch": options.batch,
            },
            "optimizer": optimizer,
            "schedule": {"steps": options.steps, "warmup": options.steps // 8, "decay": 0.3, "floor": 0.02},
            "evaluate": {"every": options.steps, "sequences": 64},
            "machine": {"compile": True},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        Trainer(run, Path(folder) / "run", console=Console(quiet=True)).train()
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    loss = [line["loss"] for line in lines if line["kind"] == "evaluation"][-1]
    seconds = statistics.median(line["seconds"] for line in lines if line["kind"] == "step")
    outcome = Outcome(name, loss, seconds)
    print(f"{name:24} held-out {loss:.4f} nats a token, {seconds:.2f} s a step", flush=True)
    return outcome


def main() -> None:
    """Parse, run every contender, and compare the best of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a directory made by `lindos data prepare`")
    parser.add_argument("--model", default="pebble", help="catalogue name")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sequence", type=int, default=512)
    options = parser.parse_args()
    adamw = [run_once(options, f"adamw, rate {rate:g}", {"kind": "adamw", "lr": rate}) for rate in ADAMW_RATES]
    muon = [
        run_once(options, f"muon, rate {rate:g}", {"kind": "muon", "lr": MUON_REST, "matrix_lr": rate})
        for rate in MUON_RATES
    ]
    best, other = (min(kind, key=lambda outcome: outcome.loss) for kind in (muon, adamw))
    tokens = options.steps * options.batch * options.sequence
    print(
        f"after {tokens:,} tokens: {best.name} is {other.loss - best.loss:+.3f} nats ahead of {other.name}, "
        f"at {best.seconds / other.seconds:.2f} times its seconds a step"
    )


if __name__ == "__main__":
    main()
