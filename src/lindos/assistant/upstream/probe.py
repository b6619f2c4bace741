"""Asking an upstream which model it serves, and how long a context that has."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import httpx

from lindos.assistant.model import EngineError
from lindos.assistant.upstream.attempt import cause
from lindos.assistant.upstream.dialect import dialects
from lindos.assistant.upstream.options import UpstreamOptions
from lindos.assistant.upstream.wire import WireError, read_object
from lindos.specs import nearest

PROBE_SECONDS = 5.0
MAX_LIST = 8 << 20
_CONTEXTS = ("max_model_len", "context_length", "context_window", "max_context_length", "meta.n_ctx")
"""Where servers write the context of a model they list."""


class Served(NamedTuple):
    """A model that an upstream serves."""

    name: str
    context: int | None


class Unfit(EngineError):  # noqa: N818 - it says what the upstream is
    """An upstream that is there but will not serve us as it is set up; the text says what to change."""


async def served_model(client: httpx.AsyncClient, options: UpstreamOptions) -> Served:
    """The model to be asked for. Raises Unfit, or EngineError when nobody answers (yet)."""
    try:
        async with asyncio.timeout(PROBE_SECONDS + options.connect_seconds):
            status, listed = await _get(client, f"{options.url}/models")
            if status == 200:
                chosen = _chosen(listed, options)
                context = options.context or _context(chosen) or await _props_context(client, options)
                return Served(str(chosen["id"]), context)
    except TimeoutError:
        raise EngineError("the upstream does not answer") from None
    except httpx.HTTPError as error:
        raise EngineError(f"the upstream cannot be reached: {cause(error)}") from None
    except WireError as error:
        raise EngineError(f"asked for its models, the upstream sent {error}") from None
    if status in (401, 403):
        raise Unfit(f"the upstream refuses the key (HTTP {status}): name the right one's variable (--upstream-key-env)")
    if status in (404, 405) and options.model:
        return Served(options.model, options.context)  # it lists none, and need not
    if status in (404, 405):
        raise Unfit("the upstream lists no models: check its address (most end in /v1), or name one (--upstream-model)")
    raise EngineError(f"asked for its models, the upstream answered HTTP {status}")


async def _get(client: httpx.AsyncClient, url: str) -> tuple[int, dict[str, Any]]:
    """Status and object of an address. Raises httpx.HTTPError, WireError."""
    async with client.stream("GET", url) as response:
        if response.status_code != 200:
            return response.status_code, {}
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_LIST:
                raise WireError(f"more than {MAX_LIST:,} bytes")
        return 200, read_object(body)


def _chosen(listed: dict[str, Any], options: UpstreamOptions) -> dict[str, Any]:
    data = listed.get("data")
    models = [one for one in data if isinstance(one, dict) and one.get("id")] if isinstance(data, list) else []
    names = [str(one["id"]) for one in models]
    if options.model is not None:
        if options.model in names:
            return models[names.index(options.model)]
        close = nearest(options.model, names)
        hint = f"did you mean '{close}'?" if close else f"it has {', '.join(names[:10]) or 'none'}"
        raise Unfit(f"the upstream has no model '{options.model}'; {hint}")
    # What is derived from another one (vLLM's adapters) is not meant unless it is named.
    whole = [one for one in models if not one.get("parent")] or models
    if not whole:
        raise EngineError("the upstream has no model loaded yet")
    if len(whole) > 1 and not dialects()[options.kind].first_model:
        raise Unfit(f"the upstream has several models: choose one (--upstream-model) of {', '.join(names[:10])}")
    return whole[0]


def _context(card: dict[str, Any]) -> int | None:
    return next((found for path in _CONTEXTS if (found := _number(card, path))), None)


def _number(data: object, path: str) -> int | None:
    for name in path.split("."):
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, int) and not isinstance(data, bool) and data > 0 else None


async def _props_context(client: httpx.AsyncClient, options: UpstreamOptions) -> int | None:
    """The context of one request to llama.cpp's server, which lists only what the model was trained with."""
    if not dialects()[options.kind].props:
        return None
    status, props = await _get(client, f"{options.root}/props")
    return _number(props, "default_generation_settings.n_ctx") if status == 200 else None
