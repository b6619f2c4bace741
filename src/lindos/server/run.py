"""Listening: a socket, uvicorn on it, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from lindos.assistant import EngineError
from lindos.server.app import create_app
from lindos.server.service import Service, StartModel
from lindos.server.settings import Settings
from lindos.server.sse import finish
from lindos.specs import LindosError
from lindos.storage import StorageError

_END_SECONDS = 3
GARBAGE = (20_000, 10, 10)
"""How many more objects than before there have to be until the youngest of them are looked through (Python: 700), how
often that happens until the middle-aged are, and how often that until all are. Most objects go without being found."""


class ServerError(LindosError):
    """The server cannot start, or had to end; the text says why."""


def listen(settings: Settings, *, others: int = 0) -> socket.socket:
    """A listening socket for `settings`; when its port is taken, the next free one of `others` more.

    Raises ServerError when there is none.
    """
    last = settings.port + (others if settings.port else 0)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    problem = ""
    for port in range(settings.port, min(last, 65535) + 1):
        try:
            return socket.create_server((settings.host.strip("[]"), port), family=family, backlog=128)
        except OSError as error:
            problem = error.strerror or str(error)
    ports = f"port {settings.port}" if last == settings.port else f"ports {settings.port} to {last}"
    raise ServerError(f"cannot listen on {settings.host}, {ports}: {problem}; choose another with --port")


def address(settings: Settings, listening: socket.socket) -> str:
    """What to type into a browser."""
    host = settings.host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


async def serve(
    settings: Settings,
    start_model: StartModel,
    listening: socket.socket,
    *,
    on_ready: Callable[[Service], None] | None = None,
    stop: asyncio.Event | None = None,
    access_log: bool = False,
) -> None:
    """Serve until a signal or `stop` ends it. The server answers at once (`/ready` with 503), and loads meanwhile.

    `on_ready` is called once the model can answer. Raises ServerError when the server cannot start, or its model
    cannot be loaded.
    """
    app = create_app(settings, start_model)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=access_log,
        lifespan="off",  # entered here, so that what goes wrong in it arrives as what it is
        timeout_graceful_shutdown=_END_SECONDS,
        server_header=False,
    )
    try:
        async with app.router.lifespan_context(app):
            service: Service = app.state.service
            server = _Server(config, service)
            tasks = [asyncio.create_task(_watch(server, service, on_ready)), asyncio.create_task(_until(stop, server))]
            try:
                await server.serve(sockets=[listening])
            finally:
                for task in tasks:
                    await finish(task)
            if service.model.fault is not None and not server.asked_to_end:
                raise ServerError(str(service.model.fault))
    except StorageError as error:
        raise ServerError(str(error)) from None
    finally:
        listening.close()


def settle() -> None:
    """Have garbage looked for less often, and not among what is loaded by now: all answers wait meanwhile, and with a
    thousand under way the whole of them takes a third of a second. For processes that do nothing but serve, once they
    are ready."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


async def _watch(server: _Server, service: Service, on_ready: Callable[[Service], None] | None) -> None:
    """Tell when the model is ready; end the server when it never will be."""
    try:
        await service.model.wait_ready()
    except EngineError:
        server.should_exit = True
        return
    if on_ready:
        on_ready(service)
    # An engine that keeps dying is given up at last; then a supervisor should see this process end, too.
    await service.model.wait_fault()
    server.should_exit = True


async def _until(stop: asyncio.Event | None, server: _Server) -> None:
    if stop is not None:
        await stop.wait()
        server.asked_to_end = server.should_exit = True


class _Server(uvicorn.Server):
    """Ends the answers under way before it waits for connections to close, which they would keep open."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self.asked_to_end = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.asked_to_end = True
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals only while the server runs, and does not repeat them after: our own end still follows."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.answers.close()
        await self._service.model.close()
        await super().shutdown(sockets)
