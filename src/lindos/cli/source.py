"""Where a command's model comes from: a directory that an engine runs, or upstreams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lindos.assistant import ChatModel, EngineOptions, Loading

Upstream = Annotated[
    list[str] | None,
    typer.Option(metavar="URL", help="Answer by an OpenAI-compatible server instead; several are replicas."),
]
UpstreamModel = Annotated[
    str | None, typer.Option(metavar="NAME", help="The model's name there.", show_default="the one it lists")
]
UpstreamKeyEnv = Annotated[
    str | None, typer.Option(metavar="NAME", help="The environment variable that holds the key of the upstreams.")
]


class UpstreamServer(StrEnum):
    """What an upstream is, which says what can be asked of it."""

    OPENAI = "openai"
    LINDOS = "lindos"
    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llama.cpp"


UpstreamKind = Annotated[UpstreamServer, typer.Option(help="What the upstreams are, beyond OpenAI-compatible.")]


@dataclass(frozen=True)
class Source:
    """A model to be started."""

    name: str
    """For people, until it can be asked."""
    start: Callable[[Callable[[Loading], None]], ChatModel]
    """Starts it, in an event loop; tells how far it has come."""


def source_of(
    model: str | None,
    options: EngineOptions,
    urls: list[str] | None,
    name: str | None,
    key_env: str | None,
    kind: UpstreamServer,
) -> Source:
    """The one that a command's options mean. Raises SpecError, and BadParameter where they contradict each other."""
    from lindos.assistant import EngineChatModel, UpstreamOptions, connect, find_model, key_from

    if not urls:
        if name is not None or key_env is not None or kind is not UpstreamServer.OPENAI:
            raise typer.BadParameter("--upstream-model, --upstream-key-env and --upstream-kind want an --upstream")
        directory = find_model(model)
        return Source(directory.name, lambda tell: EngineChatModel.start(directory, options, on_progress=tell))
    if model is not None:
        raise typer.BadParameter(f"give a model directory ({model}) or --upstream ({urls[0]}), not both")
    if options.memory is not None or options.threads is not None or options.dtype != "auto":
        raise typer.BadParameter("--threads, --dtype and --memory are for models that run here, not for upstreams")
    key = key_from(key_env) if key_env else None
    upstreams = [
        UpstreamOptions.parse(
            {
                "url": url,
                "model": name,
                "kind": kind.value,
                "key": key,
                "context": options.context,
                "max_requests": options.max_requests,
            },
            where="--upstream",
        )
        for url in urls
    ]
    return Source(", ".join(one.url for one in upstreams), lambda tell: connect(upstreams, on_progress=tell))
