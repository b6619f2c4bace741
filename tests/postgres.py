"""A PostgreSQL server of our own for as long as tests run: in a temporary folder, on a socket in it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

ACCOUNTS = ("postgres", "nobody")
"""Whom the server runs as where we are root, which it refuses to run as."""
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin")
"""Where Debian and PostgreSQL's own sources put what is not on the PATH."""


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, of the newest version that is here."""
    found = [path for place in PLACES for path in Path("/").glob(f"{place[1:]}/initdb")]
    if found:
        return max(found, key=lambda path: (len(str(path)), str(path))).parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _exists(account: str) -> bool:
    return subprocess.run(["id", account], capture_output=True).returncode == 0


class Postgres:
    """A running server. `fresh` makes an empty database and says where it is."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="lindos-postgres-"))  # a socket's path must be short
        self._become: list[str] = []
        self._numbers = itertools.count()
        if os.geteuid() == 0:
            account = next(name for name in ACCOUNTS if _exists(name))
            self._become = ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", "--"]
            shutil.chown(self._folder, account)
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-U", "lindos", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        with (self._folder / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [*self._become, str(programs / "postgres"), "-D", data, "-k", str(self._folder), "-h", "", "-F"],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self._folder,
            )
        self._wait()

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._numbers)}"
        self.say(f"CREATE DATABASE {name}")
        return f"postgresql://lindos@/{name}?host={quote(str(self._folder))}"

    def say(self, statement: str, *, database: str = "postgres") -> str:
        """What `psql` answers."""
        return self._run("psql", "-h", str(self._folder), "-U", "lindos", "-d", database, "-AtXqc", statement)

    def stop(self) -> None:
        self._server.send_signal(signal.SIGQUIT)  # its immediate shutdown: nothing needs to be in order
        try:
            self._server.wait(30)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.say("SELECT 1")
                return
            except subprocess.CalledProcessError:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    log = (self._folder / "log").read_text(errors="replace")
                    self.stop()
                    raise RuntimeError(f"PostgreSQL does not start: {log}") from None
            time.sleep(0.1)

    def _run(self, program: str, *arguments: str) -> str:
        command: Sequence[str] = [*self._become, str(self._programs / program), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=self._folder).stdout
