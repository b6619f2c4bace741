"""The engine's process: `python -m lindos.engine.worker FD`, started by the client with one end of a socket pair.

Two threads. The reader takes frames, makes requests of them and says at once whether they are accepted, also while a
long step runs; the main thread steps the engine, and sleeps when there is nothing to do. When the other end closes,
for whatever reason, the process ends.
"""

from __future__ import annotations

import gc
import os
import queue
import socket
import sys
import threading
import traceback
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lindos.engine import protocol
from lindos.engine.interface import EngineError, EngineOptions, RequestError
from lindos.specs import LindosError

if TYPE_CHECKING:
    from lindos.engine.core import Event
    from lindos.engine.loading import LoadedEngine
    from lindos.engine.request import Request


class Worker:
    """One engine behind one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._inbox: queue.SimpleQueue[Request | int] = queue.SimpleQueue()  # requests to add, ids to cancel
        self._counting = threading.Lock()
        self._held: dict[int, str] = {}  # the client of each request that was accepted and has not ended
        self._most = 0
        self._engine: LoadedEngine | None = None

    def run(self) -> None:
        """Load and serve until the other end closes; returns only when the model cannot be loaded."""
        start = protocol.receive(self._sock)
        if start is None:
            return
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        try:
            engine = self._load(start)
        except LindosError as error:
            self._send({"op": "failed", "message": str(error)})
            return
        except Exception as error:  # noqa: BLE001 - the client must learn it, whatever it is
            traceback.print_exc()
            self._send({"op": "failed", "message": f"the model cannot be loaded: {type(error).__name__}: {error}"})
            return
        gc.collect()
        gc.freeze()  # what stands now stays: to look through it again and again would hold answers up
        self._engine = engine
        self._send({"op": "ready", "info": asdict(engine.info)})
        self._serve(engine)

    def _load(self, start: protocol.Frame) -> LoadedEngine:
        if start.get("version") != protocol.VERSION:
            raise EngineError(f"the client speaks version {start.get('version')}, this engine {protocol.VERSION}")
        options = EngineOptions(**{f.name: start[f.name] for f in fields(EngineOptions) if f.name in start})
        self._most = options.max_requests
        self._report("loading the libraries", 0.0)
        from lindos.engine.loading import load_engine

        return load_engine(Path(start["model"]), options, self._report)

    def _report(self, message: str, fraction: float) -> None:
        self._send({"op": "loading", "message": message, "fraction": round(fraction, 3)})

    # The main thread.

    def _serve(self, engine: LoadedEngine) -> None:
        core = engine.core
        while True:
            events: list[Event] = []
            for command in self._commands(wait=core.idle):
                if isinstance(command, int):
                    events += core.cancel(command)
                else:
                    core.add(command)
            if not core.idle:
                events += core.step()
            if events:
                self._release(*(event.id for event in events if event.usage is not None))
                self._send({"op": "events", "events": [event.frame() for event in events]})

    def _commands(self, *, wait: bool) -> list[Request | int]:
        found = [self._inbox.get()] if wait else []
        while not self._inbox.empty():
            found.append(self._inbox.get())
        return found

    # The reader's thread.

    def _read(self) -> None:
        try:
            while (frame := protocol.receive(self._sock)) is not None:
                self._handle(frame)
        except Exception:  # noqa: BLE001 - without its reader the engine is deaf: better gone, with a trace
            traceback.print_exc()
            _end(1)
        _end(0)

    def _handle(self, frame: protocol.Frame) -> None:
        match frame["op"]:
            case "submit":
                self._submit(frame)
            case "cancel":
                self._inbox.put(frame["id"])
            case "stats" if self._engine is not None:
                stats = self._engine.core.stats()
                # Those in the inbox wait too: they are accepted, and the step under way may be long.
                waiting = max(0, len(self._held) - stats.running)
                self._send({"op": "stats", "id": frame["id"], "stats": asdict(replace(stats, waiting=waiting))})
            case unknown:
                raise protocol.ProtocolError(f"unknown op {unknown!r}, or too early for it")

    def _submit(self, frame: protocol.Frame) -> None:
        number: int = frame["id"]
        if not self._hold(number, str(frame.get("client", ""))):
            message = f"the engine is busy with {self._most} requests, which is as many as it takes; try again later"
            self._refuse(number, "full", message)
            return
        try:
            request = self._build(frame)
        except RequestError as error:
            self._release(number)
            self._refuse(number, "request", str(error), error.param, error.too_long)
            return
        self._send({"op": "accepted", "id": number, "prompt_tokens": request.prompt_tokens, "dropped": request.dropped})
        self._inbox.put(request)

    def _build(self, frame: protocol.Frame) -> Request:
        if self._engine is None:
            raise RequestError("the engine is not ready yet")
        try:
            ways = {"priority": frame.get("priority", 0), "client": frame.get("client", "")}
            return self._engine.builder.build(frame["id"], frame["prompt"], frame["sampling"], **ways)
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001 - no prompt may take the engine down
            traceback.print_exc()
            raise RequestError(f"the prompt cannot be read: {type(error).__name__}: {error}") from None

    def _refuse(self, number: int, kind: str, message: str, param: str | None = None, too_long: bool = False) -> None:
        self._send(
            {"op": "refused", "id": number, "kind": kind, "message": message, "param": param, "too_long": too_long}
        )

    # Both.

    def _hold(self, number: int, client: str) -> bool:
        """Take a place for a request, if there is one. A client that has none gets one beyond the usual ones."""
        with self._counting:
            full = len(self._held) >= self._most
            if full and (not client or client in self._held.values() or len(self._held) >= 2 * self._most):
                return False
            self._held[number] = client
            return True

    def _release(self, *numbers: int) -> None:
        with self._counting:
            for number in numbers:
                del self._held[number]

    def _send(self, frame: dict[str, Any]) -> None:
        try:
            with self._sending:
                self._sock.sendall(protocol.pack(frame))
        except OSError:
            _end(0)


def _end(code: int) -> None:
    """End the process now, from any thread: nothing here outlives the connection, and torch may be deep in a step."""
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Serve the socket whose number is the one argument."""
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        Worker(sock).run()


if __name__ == "__main__":
    main()
