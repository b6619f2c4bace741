"""Commands and ranks that begin at once: forked from a process that has torch and Lindos loaded already.

They run the real code, as `python -m lindos` or ranks under torchrun would; only loading is left out, which takes
longer than all that most tests do. What starting itself is about goes by the real commands instead.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["lindos.cli.train", "lindos.train", "lindos.train.dryrun"])
GRACE = 2.0
"""Seconds that others have to end by themselves when one fails."""


def _be(order: list[str], environment: dict[str, str], log: str, limit: int | None) -> None:
    """Become a command: `["lindos", ...]`, or a Python file and its arguments."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(f"{log}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(handle, number)
        os.close(handle)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = order
    if order[0] == "lindos":
        from lindos.cli import main

        main()
    else:
        runpy.run_path(order[0], run_name="__main__")


class Command:
    """A command that runs. What it says goes to `log`.out and `log`.err."""

    def __init__(self, order: Sequence[str], log: Path, *, limit: int | None = None, **environment: str) -> None:
        """`limit`: no file of it grows beyond so many bytes."""
        self.log = log
        what = (list(order), {**os.environ, **environment}, str(log), limit)
        self.process = CONTEXT.Process(target=_be, args=what, daemon=True)
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code, less than 0 where a signal ended it. Raises TimeoutExpired."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked command", seconds or 0.0)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


def said(log: Path, *names: str) -> str:
    """What a command with this log said on "out" and "err", or one of them."""
    paths = [Path(f"{log}.{name}") for name in names or ("out", "err")]
    return "".join(path.read_text() for path in paths if path.exists())


@dataclass(frozen=True)
class Ended:
    """What commands did that ran to their ends."""

    codes: list[int]
    stdout: str
    stderr: str

    @property
    def returncode(self) -> int:
        """The first that is not 0."""
        return next((code for code in self.codes if code), 0)


def forked(*orders: Sequence[str], seconds: float = 150.0, limit: int | None = None, **environment: str) -> Ended:
    """Run commands to their ends, as the ranks of one run or one alone; when one fails the others are ended, as by
    torchrun. Raises TimeoutExpired."""
    with tempfile.TemporaryDirectory() as folder:
        ways = ranks(len(orders)) if len(orders) > 1 else [{}]
        ran = [
            Command(order, Path(folder) / str(rank), limit=limit, **(ways[rank] | environment))
            for rank, order in enumerate(orders)
        ]
        try:
            codes = _wait(ran, time.monotonic() + seconds)
        finally:
            for each in ran:
                each.kill()
        out, err = ("".join(said(each.log, name) for each in ran) for name in ("out", "err"))
    return Ended(codes, out, err)


def ranks(size: int) -> list[dict[str, str]]:
    """What torchrun would tell ranks of one machine in their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    alike = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**alike, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def _wait(ran: list[Command], until: float) -> list[int]:
    while any(each.poll() is None for each in ran):
        if any(each.poll() for each in ran):
            until = min(until, time.monotonic() + GRACE)
        left = until - time.monotonic()
        if left <= 0 and not any(each.poll() for each in ran):
            raise subprocess.TimeoutExpired("forked ranks", 0.0)
        if left <= 0:
            with contextlib.suppress(ProcessLookupError):
                for each in ran:
                    each.kill()
        wait([each.process.sentinel for each in ran if each.poll() is None], timeout=min(max(left, 0.05), 0.5))
    return [each.wait(0) for each in ran]
