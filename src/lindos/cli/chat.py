"""`lindos chat`: talk to a model, on the page or in the terminal."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

from lindos.cli.serve import (
    Context,
    Data,
    Dtype,
    DtypeOf,
    Follow,
    MeaningOf,
    Model,
    Threads,
    run_server,
    settings_of,
    spare_cores,
)
from lindos.cli.sizes import Memory
from lindos.cli.source import Upstream, UpstreamKeyEnv, UpstreamKind, UpstreamModel, UpstreamServer, source_of

OTHER_PORTS = 50


def command(
    model: Model = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Talk here instead of in the browser.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the page.", show_default="8420, or the next free one")
    ] = None,
    browser: Annotated[bool | None, typer.Option(help="Open the page in the browser.", show_default="browser")] = None,
    persona: Annotated[
        str | None, typer.Option(help="How the terminal's answers sound.", show_default="direct")
    ] = None,
    data: Data = None,
    follow: Follow = None,
    meaning: MeaningOf = False,
    threads: Threads = None,
    context: Context = None,
    dtype: DtypeOf = Dtype.AUTO,
    memory: Memory = None,
    upstream: Upstream = None,
    upstream_model: UpstreamModel = None,
    upstream_key_env: UpstreamKeyEnv = None,
    upstream_kind: UpstreamKind = UpstreamServer.OPENAI,
) -> None:
    """Talk to a model: opens the page in the browser, or talks in the terminal.

    In the terminal, /help lists what else can be typed, and Ctrl-C stops an answer. Questions may come from a pipe,
    one a line: `echo "Who are you?" | lindos chat --terminal`.
    """
    spare_cores(meaning)
    from lindos.assistant import EngineOptions

    options = EngineOptions(threads=threads, context=context, dtype=dtype.value, memory=memory)
    source = source_of(model, options, upstream, upstream_model, upstream_key_env, upstream_kind)
    if terminal:
        if port is not None or browser is not None:
            raise typer.BadParameter("--port and --browser are about the page; leave them out with --terminal")
        if follow or meaning:
            raise typer.BadParameter("--follow and --meaning are for the page; beside --terminal run lindos serve")
        from lindos.cli.terminal import talk

        raise typer.Exit(talk(source, persona=persona, data=data))
    if persona is not None:
        raise typer.BadParameter("--persona is for --terminal; on the page it is chosen beside the question")
    from lindos.server import Settings, listen
    from lindos.server.run import address

    settings = settings_of(Settings, port=port, data=data, follow=tuple(follow or ()), meaning=meaning)
    listening = listen(settings, others=OTHER_PORTS if port is None else 0)
    if browser is not False:
        _open_soon(address(settings, listening))
    run_server(source, settings, listening)


def _open_soon(url: str) -> None:
    """Open the page without waiting for the browser; where there is no screen, the address printed has to do."""
    import webbrowser

    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"))
    if screen or sys.platform in ("darwin", "win32"):
        # The socket listens already: a browser that is faster than the server waits for it.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
