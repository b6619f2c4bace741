"""What every part of the benchmark shares: where things lie, who takes part, and rounds in turn."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine.asking import Contender
from benchmarks.engine.models import gguf_model, packed_model
from benchmarks.engine.peers import PeerError, check_transformers, llamacpp_python
from benchmarks.engine.results import Record, Side
from benchmarks.engine.shapes import SHAPES
from benchmarks.engine.tuning import Flags
from benchmarks.pairs import Ratio
from lindos.kernels import Probe
from lindos.model.formats.packedfiles import Weights


@dataclass
class Bench:
    """One run."""

    folder: Path
    """Models, the peers' environment and logs lie here."""
    sizes: list[str]
    rounds: int
    peers: bool
    threads: int
    """Of Lindos, and the most that peers get."""
    machine: Probe
    record: Record = field(default_factory=Record)
    flags: dict[str, Flags] = field(default_factory=dict)
    """What llama.cpp was found to be fastest with, by size."""

    @property
    def main(self) -> str:
        """The size that memory, sweep and loading are measured at: the largest."""
        return max(self.sizes, key=lambda size: SHAPES[size].parameters)

    @property
    def log(self) -> Path:
        return self.folder / "contenders.log"

    def packed(self, size: str, weights: Weights = "int4") -> Path:
        return packed_model(self.folder, size, weights)

    def gguf(self, size: str, weights: Weights = "int4") -> Path:
        return gguf_model(self.folder, size, weights)

    def lindos(self, group: Path | None = None) -> Contender:
        return Contender("Lindos", "benchmarks.engine.lindos_side", group=group, log=self.log)

    def llamacpp(self, group: Path | None = None) -> Contender | None:
        """None, and a note, where it takes no part."""
        try:
            python = llamacpp_python(self.folder / "peers") if self.peers else None
        except PeerError as error:
            self.record.note(str(error))
            self.peers = False
            return None
        if python is None:
            return None
        return Contender("llama.cpp", "benchmarks.engine.llamacpp_side", python=python, group=group, log=self.log)

    def transformers(self) -> Contender | None:
        try:
            check_transformers()
        except PeerError as error:
            self.record.note(str(error))
            return None
        return Contender("transformers", "benchmarks.engine.transformers_side", log=self.log) if self.peers else None


@dataclass
class Rounds:
    """What two sides took for the same, in turn."""

    mine: list[float] = field(default_factory=list)
    """Seconds of each round."""
    theirs: list[float] = field(default_factory=list)
    """None without a peer."""
    processor: dict[str, float] = field(default_factory=dict)
    """Median processor seconds, all threads together, mine first: on a busy machine they vary less than seconds do."""

    @property
    def ratio(self) -> Ratio | None:
        """Of their seconds over mine."""
        return Ratio.of(list(zip(self.mine, self.theirs, strict=True))) if self.theirs else None

    def sides(self, tokens: float, peer: str) -> list[Side]:
        """Who took part, and their rates when a round is so many tokens."""
        named = (("Lindos", self.mine), (peer, self.theirs))
        return [Side.of(name, tokens, seconds) for name, seconds in named if seconds]


def in_turn(
    ours: Contender, theirs: Contender | None, rounds: int, what: str, *, warmup: int = 1, **arguments: Any
) -> Rounds:
    """Ask both sides for the same, the order changing every round."""
    found = Rounds()
    processor: dict[str, list[float]] = {}
    sides = [(ours, found.mine)] + ([] if theirs is None else [(theirs, found.theirs)])
    for index in range(warmup + rounds):
        for side, seconds in sides if index % 2 == 0 else reversed(sides):
            answer = side.ask(what, **arguments)
            if index >= warmup:
                seconds.append(answer["seconds"])
                processor.setdefault(side.name, []).append(answer["processor"])
    found.processor = {side.name: statistics.median(processor[side.name]) for side, _ in sides}
    return found


@contextmanager
def closing(*contenders: Contender | None) -> Iterator[None]:
    """End contenders whatever happens."""
    try:
        yield
    finally:
        for contender in contenders:
            if contender is not None:
                contender.close()


def progress(text: str) -> None:
    """A line on what is being done, beside the results."""
    print(f"... {text}", file=sys.stderr, flush=True)
