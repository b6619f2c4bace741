"""The engine beside llama.cpp and transformers on this machine, in turn, held to its targets.

    python -m benchmarks.engine --json FILE [--only decode,prefill,...] [--sizes 408m,10b] [--quick]

Builds the peers and makes the models where they are missing. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.engine.asking import ROOT
from benchmarks.engine.bench import Bench
from benchmarks.engine.decode import decode
from benchmarks.engine.loading import loading
from benchmarks.engine.memory import memory
from benchmarks.engine.picture import draw
from benchmarks.engine.prediction import prediction
from benchmarks.engine.prefill import prefill
from benchmarks.engine.shapes import SHAPES, described
from benchmarks.engine.sweep import sweep
from lindos.kernels import probe, usable_cores

PARTS = {
    "decode": decode,
    "prefill": prefill,
    "memory": memory,
    "sweep": sweep,
    "loading": loading,
    "prediction": prediction,
}


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--plot", type=Path, help="draw the ratios (.svg, .png)")
    parser.add_argument("--only", type=_listed(PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--sizes", type=_listed(SHAPES), default=["408m", "10b"], help=f"some of {','.join(SHAPES)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of each contender; peers may take fewer")
    parser.add_argument("--folder", type=Path, default=ROOT / "work" / "engine", help="of models and peers, 20 GB")
    parser.add_argument("--no-peers", action="store_true", help="Lindos alone")
    parser.add_argument("--quick", action="store_true", help="a tiny model and no peers: does the benchmark still run?")
    options = parser.parse_args(arguments)
    for name in ("rounds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1 (got {getattr(options, name)})")
    if options.quick:
        options.sizes, options.no_peers, options.rounds = ["tiny"], True, 1
    return options


def _listed(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def split(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(known)}")
        return names

    return split


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the targets and how they were met, and write what was asked for."""
    options = parsed(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    machine = probe(options.folder, seconds=0.5 if options.quick else 6.0)
    bench = Bench(options.folder, options.sizes, options.rounds, not options.no_peers, options.threads, machine)
    title = f"{machine.processor}, {machine.cores} cores, {options.threads} threads, {time.strftime('%Y-%m-%d')}"
    bench.record.note(
        f"{title}; memory is read at {machine.memory_bandwidth / 1e9:.1f} GB/s, the disk at "
        f"{machine.disk_bandwidth / 1e9:.2f} GB/s ({machine.disk_note}); Python {platform.python_version()}"
    )
    for size in options.sizes:
        bench.record.note(described(SHAPES[size]))
    for name in options.only:
        PARTS[name](bench)
    print("\n" + bench.record.table(), flush=True)
    if options.json:
        found = {"machine": machine.model_dump(mode="json"), "date": title.rsplit(", ", 1)[1], **bench.record.plain()}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        draw(bench.record, options.plot, title)


if __name__ == "__main__":
    main()
