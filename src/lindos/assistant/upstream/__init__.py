"""Upstreams: servers that speak OpenAI's API (vLLM, SGLang, llama.cpp, Lindos, a hosted one), as ChatModels."""

from lindos.assistant.upstream.answer import UpstreamAnswer
from lindos.assistant.upstream.connect import connect
from lindos.assistant.upstream.dialect import Dialect, Kind, dialects
from lindos.assistant.upstream.model import UpstreamChatModel
from lindos.assistant.upstream.options import UpstreamOptions, key_from

__all__ = [
    "Dialect",
    "Kind",
    "UpstreamAnswer",
    "UpstreamChatModel",
    "UpstreamOptions",
    "connect",
    "dialects",
    "key_from",
]
