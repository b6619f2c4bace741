"""What the assistant costs: time to a first word beside the bare model, and a thousand streams through the gate.

    python -m benchmarks.assistant [--part first|streams] [--posts 200000] [--events 50] [--asks 200] [--live 50]
                                   [--streams 1000] [--rate 5] [--seconds 60] [--ramp 20] [--cores 2] [--json FILE]

The server is a process of its own, with a scripted model; it is asked over HTTP by this process, and both share
`--cores` cores. First words come from a model that answers at once; each kind of question is asked `--asks` times of
either, once while nothing else happens and once while `--live` posts a second are applied by a third process. Streams
get words at `--rate` a second, for `--seconds`, begun within `--ramp` seconds of the first. All of it is loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.assistant import first, streams
from benchmarks.assistant.serving import Serving
from benchmarks.assistant.world import QUESTION_KINDS, Scenario, asked, world
from benchmarks.posts.timeline import POSTS_A_SECOND, timeline
from lindos.assistant import Events
from lindos.knowledge import Posts
from lindos.storage import Database, database_location

WIDTH = 180
"""Columns of what is printed into a file."""
FIRST_WORDS = 120
"""Words of an answer whose first one is waited for."""


async def fill(data: Path, options: argparse.Namespace) -> list[Scenario]:
    """A database of posts until now, the events, and what their sources posted."""
    now = datetime.now(UTC)
    made = world(options.events, now, options.seed)
    async with await Database.open(database_location(data)) as database:
        posts = Posts(database)
        first_at = now - timedelta(seconds=1.2 * options.posts / POSTS_A_SECOND)
        for batch in timeline(options.posts, seed=options.seed, first=first_at):
            await posts.apply([post for post in batch if post.seen_at < now])
        await posts.apply(made.posts)
        events = Events(database, posts)
        for scenario in made.scenarios:
            await events.registry.put(scenario.event)
    return made.scenarios


async def first_words(data: Path, scenarios: Sequence[Scenario], options: argparse.Namespace) -> list[dict[str, Any]]:
    """All kinds of questions, in quiet and while posts come in."""
    found = []
    for live in (0, options.live) if options.live else (0,):
        with Serving(data, words=FIRST_WORDS, pause=0.0) as serving, _following(data, live):
            for kind in QUESTION_KINDS:
                questions = asked(kind, scenarios)
                await first.compare(serving.port, questions, min(10, options.asks))
                pairs = await first.compare(serving.port, questions, options.asks)
                found.append({"posts a second": str(live), **first.row(kind, pairs)})
    return found


@contextmanager
def _following(data: Path, rate: int) -> Iterator[None]:
    """Apply so many posts a second meanwhile, in a process of its own."""
    if not rate:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.assistant.following", str(data), str(rate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.terminate()


async def many_streams(data: Path, scenarios: Sequence[Scenario], options: argparse.Namespace) -> dict[str, Any]:
    pause = 1 / options.rate
    words = max(round(options.seconds * options.rate), 2)
    with Serving(data, words=words, pause=pause) as serving:
        outcome = await streams.measure(
            serving, scenarios, options.streams, reply_words=words, pause=pause, ramp=options.ramp
        )
    return {
        "server (cores)": outcome.server_cpu,
        "client (cores)": outcome.client_cpu,
        "faults": outcome.faults,
        "rows": streams.rows(outcome.flows),
    }


async def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    scenarios = await fill(folder, options)
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    report: dict[str, Any] = {"machine": machine, "posts": options.posts, "events": len(scenarios)}
    if options.part in ("first", "all"):
        report["first"] = await first_words(folder, scenarios, options)
    if options.part in ("streams", "all"):
        report["streams"] = await many_streams(folder, scenarios, options)
    return report


def show(report: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(f"{report['machine']}; {report['posts']:,} posts, {report['events']} events")
    if "first" in report:
        _show_rows(console, report["first"])
    if "streams" in report:
        found = report["streams"]
        _show_rows(console, found["rows"])
        faults = found["faults"]
        console.print(
            f"server {found['server (cores)']:.2f} cores, client {found['client (cores)']:.2f}; {len(faults)} faults"
        )
        for fault in sorted(set(faults))[:5]:
            console.print(fault, markup=False)


def _show_rows(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:,.4g}" for value in row.values()))
    console.print(table)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assistant", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("first", "streams", "all"), default="all")
    whole = {"posts": 200_000, "events": 50, "asks": 200, "live": 50, "streams": 1000, "cores": 2, "seed": 0}
    for name, default in whole.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"rate": 5.0, "seconds": 60.0, "ramp": 20.0}.items():
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--folder", type=Path, help="where the database is made; default: that for temporary files")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if min(options.posts, options.events, options.asks, options.streams, options.cores) < 1:
        parser.error("--posts, --events, --asks, --streams and --cores are at least 1")
    if min(options.rate, options.seconds) <= 0 or min(options.ramp, options.live) < 0:
        parser.error("--rate and --seconds are more than 0, --ramp and --live not less")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[: options.cores])  # the processes started from here have the same
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            report = asyncio.run(measure(Path(folder), options))
    finally:
        os.sched_setaffinity(0, allowed)
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
