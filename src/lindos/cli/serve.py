"""`lindos serve`: the server, and what `lindos chat` shares with it."""

from __future__ import annotations

import asyncio
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lindos.cli.sizes import Memory
from lindos.cli.source import Source, Upstream, UpstreamKeyEnv, UpstreamKind, UpstreamModel, UpstreamServer, source_of

if TYPE_CHECKING:
    from rich.console import Console

    from lindos.assistant import ChatModel, Loading, ModelInfo
    from lindos.server import Settings

Model = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="A model directory; without one, the bundled pebble.")
]
Data = Annotated[
    Path | None, typer.Option(help="Folder that keeps the conversations.", show_default="~/.local/share/lindos")
]
Follow = Annotated[
    list[str] | None,
    typer.Option(metavar="SOURCE", help="Follow a stream of posts, as `lindos posts follow` does; may be given again."),
]
MeaningOf = Annotated[
    bool,
    typer.Option(
        "--meaning/--no-meaning", help="Find posts by what they mean, too: slower, and wants 'lindos[embed]'."
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads to compute with.", show_default="as suits the model")]


class Dtype(StrEnum):
    """What an engine computes in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


DtypeOf = Annotated[Dtype, typer.Option(help="What the network computes in; auto: what suits model and machine.")]
Context = Annotated[int | None, typer.Option(min=1, help="Longest conversation in tokens.", show_default="the model's")]


def command(
    model: Model = None,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine only with a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 8420,
    data: Data = None,
    follow: Follow = None,
    meaning: MeaningOf = False,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="LINDOS_API_KEY", help="Key that requests to /v1 and /api must carry.", show_envvar=True),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name this server goes by, behind a proxy.")
    ] = None,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests held at a time; one more is answered 503.")] = 64,
    threads: Threads = None,
    context: Context = None,
    dtype: DtypeOf = Dtype.AUTO,
    memory: Memory = None,
    prefix_reuse: Annotated[
        bool, typer.Option(help="Take beginnings that prompts share from the KV cache, whosever they are.")
    ] = True,
    speculation: Annotated[
        bool, typer.Option(help="Compute along what answers may go on with, where that is faster; none changes by it.")
    ] = True,
    log_requests: Annotated[bool, typer.Option(help="Print a line for every request.")] = False,
    upstream: Upstream = None,
    upstream_model: UpstreamModel = None,
    upstream_key_env: UpstreamKeyEnv = None,
    upstream_kind: UpstreamKind = UpstreamServer.OPENAI,
) -> None:
    """Serve a model: an OpenAI-compatible API under /v1, and the chat page."""
    spare_cores(meaning)
    from lindos.assistant import EngineOptions
    from lindos.server import Settings, listen

    options = EngineOptions(
        max_requests=max_requests,
        threads=threads,
        context=context,
        dtype=dtype.value,
        memory=memory,
        prefix_reuse=prefix_reuse,
        speculation=speculation,
    )
    upstreams = (upstream, upstream_model, upstream_key_env, upstream_kind)
    source = source_of(model, options, *upstreams)
    settings = settings_of(
        Settings,
        host=host,
        port=port,
        data=data,
        follow=tuple(follow or ()),
        meaning=meaning,
        api_key=api_key,
        allowed_hosts=tuple(allow_host or ()),
    )
    run_server(source, settings, listen(settings), log_requests=log_requests)


def spare_cores(meaning: bool) -> None:
    """Have NumPy, which is not loaded yet, compute meanings on one core: on more it is hardly quicker, and the model's
    process wants them."""
    if meaning:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def settings_of(kind: type[Settings], **fields: Any) -> Settings:
    """Settings from options; what was not given keeps its default. Raises SpecError."""
    return kind.parse({name: value for name, value in fields.items() if value is not None})


def run_server(source: Source, settings: Settings, listening: Any, *, log_requests: bool = False) -> None:
    """Serve until Ctrl-C, saying what happens. Raises ServerError."""
    import logging

    from rich.console import Console
    from rich.markup import escape

    from lindos.server import serve
    from lindos.server.following import public
    from lindos.server.run import address, settle

    if log_requests:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        for name in ("alembic", "httpx"):
            logging.getLogger(name).setLevel(logging.WARNING)
    console = Console(stderr=True, highlight=False)
    url = address(settings, listening)
    console.print(f"Lindos listens on [bold]{url}[/bold]  (programs: {url}/v1)")
    if settings.follow:
        console.print(escape(f"It follows {', '.join(map(public, settings.follow))}."), soft_wrap=True)
    progress = Progress(console, source.name)

    def start() -> ChatModel:
        return source.start(progress.show)

    def ready(service: Any) -> None:
        progress.done(service.model.info)
        settle()
        console.print("Ctrl-C ends it.")

    try:
        asyncio.run(serve(settings, start, listening, on_ready=ready, access_log=log_requests))
    finally:
        progress.stop()
    console.print("Lindos has ended; the conversations are kept.")


_TELL_SECONDS = 10


class Progress:
    """How far loading has come: one line that changes in a terminal, a line now and then in a log."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._started = self._told = time.monotonic()
        self._status = console.status(f"Loading {name} ...") if console.is_terminal else None
        if self._status:
            self._status.start()
        else:
            console.print(f"Loading {name} ...")

    def show(self, loading: Loading) -> None:
        """Something of the model was loaded."""
        words = f"Loading {self._name}: {loading.message} ({loading.fraction:.0%})"
        if self._status:
            self._status.update(words)
        elif time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            self._console.print(words, highlight=False)

    def done(self, info: ModelInfo) -> None:
        """The model can answer."""
        self.stop()
        seconds = time.monotonic() - self._started
        size = f"{info.parameters:,} parameters, {info.active_parameters:,} active" if info.parameters else info.device
        rest = f"{info.context:,} tokens of context" + (f", {info.dtype}" if info.dtype else "")
        self._console.print(f"{info.name} is ready after {seconds:.1f} s: {size}, {rest}")
        if info.note:
            self._console.print(info.note)

    def stop(self) -> None:
        """Take the changing line away."""
        if self._status:
            self._status.stop()
