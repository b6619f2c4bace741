"""What callers of the engine and the engine agree on: sampling, chunks, counts, and the errors.

Torch-free, and kept when the engine behind it is replaced by a faster one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lindos.specs import LindosError, nearest

Finish = Literal["stop", "length", "cancelled"]
Truncate = Literal["never", "oldest"]


class EngineError(LindosError):
    """The engine could not start, or could not finish a request; the text says why."""


class QueueFull(EngineError):  # noqa: N818 - callers read it as a state to answer with "try again", not as a fault
    """The engine holds as many requests as it accepts; try again later."""


class RequestError(EngineError):
    """A request that cannot be served as asked: prompt too long, a parameter out of range, no chat template."""

    def __init__(self, message: str, *, param: str | None = None, too_long: bool = False) -> None:
        super().__init__(message)
        self.param = param
        """The parameter that is at fault, where one is."""
        self.too_long = too_long
        """Whether it would do with a shorter prompt."""


class EngineDied(EngineError):  # noqa: N818 - it reports what happened to the process
    """The engine's process ended while requests were pending, or before it was asked."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when to end. Raises RequestError when a value is out of range."""

    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_p: float = 1.0
    """Keep the likeliest tokens whose probabilities sum to at least this; 1 keeps all, 0 the likeliest alone."""
    top_k: int = 0
    """Keep this many of the likeliest tokens; 0 keeps all."""
    seed: int | None = None
    """The same seed gives the same text; None draws one."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these strings; none of them is ever part of the output."""
    stop_tokens: tuple[int, ...] = ()
    """Token ids that end the text, beside those of the model."""
    max_tokens: int | None = None
    """Longest output in tokens; None generates until the context is full."""
    ignore_end: bool = False
    """Go on past the model's own end tokens and stop strings (benchmarks want fixed lengths)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else _several("stop", self.stop))
        object.__setattr__(self, "stop_tokens", _several("stop_tokens", self.stop_tokens))
        _number("temperature", self.temperature, 0, 100)
        _number("top_p", self.top_p, 0, 1)
        _integer("top_k", self.top_k, 0)
        if self.seed is not None:
            _integer("seed", self.seed, None)
        if self.max_tokens is not None:
            _integer("max_tokens", self.max_tokens, 1)
        if not all(isinstance(text, str) and text for text in self.stop):
            raise RequestError("stop must be non-empty strings", param="stop")
        for token in self.stop_tokens:
            _integer("stop_tokens", token, 0)
        if not isinstance(self.ignore_end, bool):
            raise RequestError(f"ignore_end must be true or false (got {self.ignore_end!r})", param="ignore_end")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Sampling:
        """Sampling from foreign names and values; an unknown name is answered with the nearest known one."""
        known = {f.name for f in fields(cls)}
        for name in values:
            if name not in known:
                close = nearest(name, known)
                hint = f"; did you mean '{close}'?" if close else ""
                raise RequestError(f"unknown sampling parameter '{name}'{hint}", param=name)
        return cls(**values)


def _several(name: str, values: object) -> tuple[Any, ...]:
    if not isinstance(values, (tuple, list, set, frozenset)):
        raise RequestError(f"{name} must be a list (got {values!r})", param=name)
    return tuple(values)


def _number(name: str, value: object, low: float, high: float) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high:  # type: ignore[operator]
        raise RequestError(f"{name} must be a number from {low:g} to {high:g} (got {value!r})", param=name)


def _integer(name: str, value: object, low: int | None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or (low is not None and value < low):
        bound = "" if low is None else f" of at least {low}"
        raise RequestError(f"{name} must be a whole number{bound} (got {value!r})", param=name)


@dataclass(frozen=True)
class Usage:
    """Tokens of one request, counted by the engine.

    Every sampled token counts, end tokens and cut text included. A request that ended before it ever ran used none.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timing:
    """Seconds since the request was accepted, on the engine's clock."""

    queued: float = 0.0
    """Until it first ran; for a request that never ran, until it ended."""
    first_token: float | None = None
    """Until its first token was sampled."""
    total: float = 0.0
    """Until it ended."""


@dataclass(frozen=True)
class Chunk:
    """A piece of one answer.

    Text is held back while it could be the start of a stop string or an unfinished character, so a chunk may carry
    tokens without all of their text. The ids of all chunks together are exactly the tokens that usage counts.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    seconds: float = 0.0
    """When it was made, in seconds since the request was accepted."""
    finish: Finish | None = None
    """Set on the last chunk only."""
    usage: Usage | None = None
    """Set on the last chunk only."""
    timing: Timing | None = None
    """Set on the last chunk only."""

    @property
    def tokens(self) -> int:
        """How many tokens this chunk stands for."""
        return len(self.ids)


@dataclass(frozen=True)
class Completion:
    """A whole answer."""

    text: str
    ids: tuple[int, ...]
    finish: Finish
    usage: Usage
    timing: Timing


@dataclass(frozen=True)
class ModelInfo:
    """The model an engine runs."""

    name: str
    kind: Literal["base", "chat"]
    context: int
    """Longest prompt and answer together, in tokens."""
    parameters: int
    active_parameters: int
    vocabulary: int
    dtype: str
    """What the weights are computed in: fp32 or bf16."""
    device: str
    threads: int
    template: str | None
    """Name of the chat template; None where the model directory has no tokenizer (then only token ids are taken)."""
    note: str = ""
    """What a person should know before talking to it, e.g. that a base model is wrapped in labelled turns."""
    spec: dict[str, Any] = field(default_factory=dict)
    """The fields of its ModelSpec."""
    load_seconds: float = 0.0


@dataclass(frozen=True)
class Loading:
    """How far the start has come."""

    message: str
    fraction: float
    """From 0 to 1."""


@dataclass(frozen=True)
class Stats:
    """What the engine is doing, and has done since its start."""

    running: int
    waiting: int
    kv_tokens: int
    """Tokens of KV cache set aside for running requests."""
    kv_budget: int
    """Tokens of KV cache there are."""
    tokens_per_second: float
    """Sampled tokens, over the last ten seconds."""
    prompt_tokens: int
    """Totals since the start, from here on."""
    completion_tokens: int
    finished: dict[str, int]
    """Ended requests by how they ended: stop, length, cancelled, error."""
    preemptions: int
    steps: int
    step_seconds: float
    """Time spent in steps."""
    resident_bytes: int
    """Memory of the engine's process."""


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is set up. Everything has a default that suits a small model on a CPU."""

    threads: int | None = None
    """Threads torch computes with. None: OMP_NUM_THREADS where it is set; else one a core, and half of them for a small
    model, which gains little from more while its threads wait for each other whenever another program is busy."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: an accelerator where torch finds one."""
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: on a CPU fp32 for a small model, where a bf16 product costs more in dispatch than it saves, and where the
    CPU has no units for bf16 and the weights fit; else bf16."""
    max_requests: int = 64
    """Requests accepted at a time, running and waiting together; one more is QueueFull."""
    max_running: int = 16
    """Requests computed together in one step."""
    step_tokens: int = 256
    """Longest step in tokens: what prompts are cut into, so that long ones do not hold up those already answering."""
    kv_tokens: int | None = None
    """KV cache of all requests together, in tokens, at least one full context; None: `max_running` full contexts, as
    far as they fit a quarter of the free memory."""
    context: int | None = None
    """Longest sequence; None: the model's own. A longer one than the model's is refused."""

    def __post_init__(self) -> None:
        for name in ("max_requests", "max_running", "step_tokens", "threads", "kv_tokens", "context"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise EngineError(f"{name} must be a whole number of at least 1 (got {value!r})")
        for name, known in (("dtype", ("auto", "fp32", "bf16")), ("device", ("auto", "cpu", "cuda"))):
            if getattr(self, name) not in known:
                raise EngineError(f"{name} is one of {', '.join(known)} (got {getattr(self, name)!r})")
