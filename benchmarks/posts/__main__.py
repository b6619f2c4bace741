"""Inserts a second, and how long questions take: p50, p95 and the longest.

    python -m benchmarks.posts [--posts 200000] [--batch 1000] [--rounds 3] [--database URL] [--json FILE]

The posts are those of timeline.py, the questions those of questions.txt: a hundred with common words, as many without.
Each is asked as it stands, and once more of the last day only. What a first question costs, which measures how common
words are, is told by itself. With --database the posts go into that (empty) database instead of a fresh SQLite file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.posts.timeline import questions, timeline
from lindos.knowledge import PostQuery, Posts
from lindos.storage import Database


async def fill(posts: Posts, options: argparse.Namespace) -> dict[str, Any]:
    """Apply the timeline; making the posts is not counted, anything that applying them takes is."""
    seconds: list[float] = []
    last = None
    for batch in timeline(options.posts, seed=options.seed, batch=options.batch):
        started = time.perf_counter()
        await posts.apply(batch, cursors={"benchmark": batch[-1].cursor or ""})
        seconds.append(time.perf_counter() - started)
        last = batch[-1].seen_at
    return {
        "posts": options.posts,
        "batch": options.batch,
        "inserts a second": options.posts / sum(seconds),
        "slowest batch (ms)": max(seconds) * 1e3,
        "last": last,
    }


async def ask(posts: Posts, name: str, asked: Sequence[PostQuery], rounds: int) -> dict[str, Any]:
    """All questions in turn, `rounds` times; every one of them counts."""
    seconds: list[float] = []
    found = 0
    for _ in range(rounds):
        for query in asked:
            started = time.perf_counter()
            hits = await posts.search(query)
            seconds.append(time.perf_counter() - started)
            found += bool(hits)
    p50, p95 = np.percentile(np.array(seconds) * 1e3, [50, 95])
    return {
        "questions": name,
        "count": len(asked),
        "p50 (ms)": float(p50),
        "p95 (ms)": float(p95),
        "max (ms)": max(seconds) * 1e3,
        "answered": found / len(seconds),
    }


async def measure(location: Path | str, options: argparse.Namespace) -> dict[str, Any]:
    async with await Database.open(location) as database:
        posts = Posts(database)
        if await posts.count():
            raise SystemExit("the database holds posts already; give an empty one")
        filled = await fill(posts, options)
        last = filled.pop("last")
        started = time.perf_counter()
        await posts.search(PostQuery("lighthouse"))
        filled["first question (ms)"] = (time.perf_counter() - started) * 1e3
        asked: dict[str, list[PostQuery]] = {}
        for part, lines in questions().items():
            asked[part] = [PostQuery(line) for line in lines]
            asked[f"{part}, of the last day"] = [PostQuery(line, since=last - timedelta(days=1)) for line in lines]
        rows = [await ask(posts, name, queries, options.rounds) for name, queries in asked.items()]
        rows.append(await ask(posts, "all", [query for queries in asked.values() for query in queries], options.rounds))
        machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {database.dialect}"
    return {"machine": machine, "inserting": filled, "asking": rows}


def show(report: dict[str, Any]) -> None:
    console = Console()
    console.print(report["machine"])
    table = Table("inserting", "", title=None)
    for name, value in report["inserting"].items():
        table.add_row(name, f"{value:,.0f}")
    console.print(table)
    table = Table(*report["asking"][0])
    for row in report["asking"]:
        table.add_row(*(value if isinstance(value, str) else f"{value:,.4g}" for value in row.values()))
    console.print(table)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.posts", description=(__doc__ or "").splitlines()[0])
    for name, default in {"posts": 200_000, "batch": 1000, "rounds": 3, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--database", help="a URL; default: a fresh SQLite file")
    parser.add_argument("--folder", type=Path, help="where that file is made; default: the folder for temporary files")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if min(options.posts, options.batch, options.rounds) < 1:
        parser.error("--posts, --batch and --rounds are at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = asyncio.run(measure(options.database or Path(folder) / "posts.db", options))
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
