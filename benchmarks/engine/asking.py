"""A contender in a process of its own, asked over a pipe in lines of JSON, so that its peak of memory is its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
Answer = dict[str, Any]
SPINS = "20000"
"""How often a thread of OpenMP's looks before it sleeps, unless the user has said: a fraction of a millisecond. Left to
itself it spins for long, and where anything else wants a core, llama.cpp then falls to a hundredth of its speed."""


class ContenderError(RuntimeError):
    """The process ended, or answered with an error; the text says how."""


class Contender:
    """`python -m module`, started at once; use as a context manager."""

    def __init__(
        self,
        name: str,
        module: str,
        *,
        python: Path | str = sys.executable,
        group: Path | None = None,
        log: Path | None = None,
    ) -> None:
        """With `group` it runs in that control group. `log` takes what it and its libraries say, else nobody does."""
        self.name = name
        self.started = time.perf_counter()
        command = [str(python), "-m", module]
        if group is not None:
            enter = 'echo $$ > "$0" && exec "$@"'
            command = ["/bin/sh", "-c", enter, str(group / "cgroup.procs"), *command]
        with open(log or os.devnull, "ab") as words:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={"GOMP_SPINCOUNT": SPINS, **os.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
            )

    def ask(self, what: str, **arguments: Any) -> Answer:
        """Raises ContenderError when there is no answer, or it is an error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise ContenderError(f"{self.name} was {how} when asked to {what}")
        answer = json.loads(line)
        if "error" in answer:
            raise ContenderError(f"{self.name} could not {what}: {answer['error']}")
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(60)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(tasks: Mapping[str, Callable[..., Answer]]) -> None:
    """The contender's side: answer each line until the input ends, processor seconds added.

    What libraries print goes to the log.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    everything = {**tasks, "usage": usage}
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.process_time()
        try:
            answer = everything[asked.pop("do")](**asked)
            answer["processor"] = time.process_time() - began
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked must hear it
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def usage() -> Answer:
    """This process's peak of memory, and what it caused to be read from disks, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    counters = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    read = next(int(line.split()[1]) for line in counters if line.startswith("read_bytes"))
    return {"peak": peak, "read": read}


def tokens(count: int, vocabulary: int, seed: int) -> list[int]:
    """A stream of tokens that both sides are fed, PAD left out; a linear congruence is random enough for routers."""
    state, found = seed * 7919 + 12345, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        found.append(1 + (state >> 33) % (vocabulary - 1))
    return found
