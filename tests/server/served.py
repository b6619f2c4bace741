"""A real server on a real socket, in a thread of the test's process; its engine is a process of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from lindos.assistant import Stats
from lindos.server import Settings, listen, serve
from lindos.server.run import address
from lindos.server.service import Service, StartModel

T = TypeVar("T")
PATIENCE = 120


@dataclass
class Served:
    """What a test may want of a running server."""

    url: str
    service: Service
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def stats(self) -> Stats:
        return self.run(self.service.model.stats())


@contextmanager
def served(settings: Settings, start_model: StartModel) -> Iterator[Served]:
    """Serve for the length of the block; what `serve` raises is raised here."""
    listening = listen(settings)
    url = address(settings, listening)
    found: list[Served] = []
    trouble: list[BaseException] = []
    ready = threading.Event()
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append((loop, stop))

        def on_ready(service: Service) -> None:
            found.append(Served(url, service, loop))
            ready.set()

        await serve(settings, start_model, listening, on_ready=on_ready, stop=stop)

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            trouble.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="server")
    thread.start()
    try:
        assert ready.wait(PATIENCE), "the server did not get ready"
        if not found:
            raise trouble[0] if trouble else AssertionError("the server ended before it was ready")
        yield found[0]
    finally:
        loop, stop = ends[0]
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
    if trouble:
        raise trouble[0]


def idle(server: Served) -> bool:
    """Whether its engine holds no request."""
    stats = server.stats()
    return stats.running == 0 and stats.waiting == 0


def wait_until(what: Callable[[], bool], message: str) -> None:
    """Wait until `what` holds; fails with `message` when it does not."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, message
        time.sleep(0.05)
