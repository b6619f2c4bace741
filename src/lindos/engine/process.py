"""The engine's process as its parent sees it: started, listened to, ended. Torch-free."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from pathlib import Path

import lindos
from lindos.engine import protocol
from lindos.engine.interface import EngineError

TAIL_LINES = 40
"""How much of the process's stderr is kept for error reports."""


class EngineProcess:
    """`python -m lindos.engine.worker`, spoken to in frames over a socket pair.

    The process ends when its end of the pair is closed, so it never outlives its parent, however that dies.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._forced = False
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._listening = asyncio.create_task(self._keep_tail())

    @classmethod
    async def spawn(cls) -> EngineProcess:
        """Start the process. Raises EngineError when the system refuses."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise EngineError(f"the engine's process cannot be started: {error}") from None
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # -P: a queue.py in the folder one happens to be in (a model's, say) must not be taken for Python's own.
                *("-P", "-m", "lindos.engine.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                # Ctrl-C in a terminal reaches the whole group; the parent decides when the engine ends.
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise EngineError(f"the engine's process cannot be started: {error}") from None
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, frame: protocol.Frame) -> None:
        """Queue a frame. Raises protocol.ProtocolError when it is too long; a dead process shows in `receive`."""
        if not self._writer.is_closing():
            self._writer.write(protocol.pack(frame))

    async def drain(self) -> None:
        """Wait until the process has taken most of what was sent."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def receive(self) -> protocol.Frame | None:
        """The next frame; None when the process is gone. Raises protocol.ProtocolError."""
        try:
            header = await self._reader.readexactly(protocol.HEADER)
            return protocol.parse(await self._reader.readexactly(protocol.body_length(header)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def hang_up(self) -> None:
        """Close the stream, which tells the process to end."""
        # Not `close`, which first waits for a process that may have stopped reading to take all that was sent.
        self._writer.transport.abort()

    async def end(self, patience: float) -> None:
        """Hang up and wait until the process has gone; kill it when it takes longer than `patience` seconds."""
        self.hang_up()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            self._forced = True
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._listening

    def last_words(self) -> str:
        """How the process ended and the end of its stderr, for an error's text; call it after `end`."""
        code = self._process.returncode
        if code is None:
            how = "it stopped answering"
        elif self._forced:
            how = "it hung up and did not end, so it was ended by force"
        elif code < 0:
            how = f"it was ended by signal {-code} ({_signal_name(-code)})"
            if -code == signal.SIGKILL:
                how += "; where nobody killed it, the system ran out of memory"
        else:
            how = f"it ended with code {code}"
        tail = "\n".join(self._tail).strip()
        return how + (f"; the last it wrote:\n{tail}" if tail else "")

    async def _keep_tail(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        rest = b""
        while data := await stderr.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            self._tail.extend(line.decode("utf-8", "replace")[:500] for line in lines[-TAIL_LINES:])
            rest = rest[-500:]
        if rest:
            self._tail.append(rest.decode("utf-8", "replace"))


def _environment() -> dict[str, str]:
    """Ours, with Lindos where this process found it (a clone that is not installed, say).

    And OpenMP's threads sleep while they wait for each other, unless the user has said otherwise.

    By default they spin, and on a machine whose cores are busy one spins away the time slice that the other needs:
    a tenth of the speed was measured with two threads on two cores beside another program.
    """
    found = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    home = Path(lindos.__file__).resolve().parents[1]
    if home.name not in ("site-packages", "dist-packages"):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(home), os.environ.get("PYTHONPATH"))))
    return found


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
