"""The engine: continuous batching over a KV cache, in a process of its own.

`EngineClient` starts that process and speaks to it without importing torch; everything else in this room runs inside
the process. It knows tokens, text and chat turns; users, money, policy and HTTP belong to the rooms above.
"""

from lindos.engine.client import EngineClient
from lindos.engine.generation import Generation
from lindos.engine.interface import (
    Chunk,
    Completion,
    EngineDied,
    EngineError,
    EngineOptions,
    Grammar,
    Loading,
    ModelInfo,
    QueueFull,
    RequestError,
    Sampling,
    Stats,
    Timing,
    TokenLogprob,
    Usage,
)

__all__ = [
    "Chunk",
    "Completion",
    "EngineClient",
    "EngineDied",
    "EngineError",
    "EngineOptions",
    "Generation",
    "Grammar",
    "Loading",
    "ModelInfo",
    "QueueFull",
    "RequestError",
    "Sampling",
    "Stats",
    "Timing",
    "TokenLogprob",
    "Usage",
]
