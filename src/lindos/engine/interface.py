"""What callers of the engine and the engine agree on: sampling, chunks, counts, and the errors.

Torch-free, and kept when the engine behind it is replaced by a faster one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from lindos.engine.errors import EngineDied, EngineError, QueueFull, RequestError
from lindos.engine.sampling import Grammar, Sampling

__all__ = [
    "Chunk",
    "Completion",
    "EngineDied",
    "EngineError",
    "EngineOptions",
    "Finish",
    "Grammar",
    "Loading",
    "ModelInfo",
    "QueueFull",
    "RequestError",
    "Sampling",
    "Stats",
    "Timing",
    "TokenLogprob",
    "Truncate",
    "Usage",
]

Finish = Literal["stop", "length", "cancelled"]
Truncate = Literal["never", "oldest"]


@dataclass(frozen=True)
class Usage:
    """Tokens of one request, counted by the engine.

    Every sampled token counts, end tokens and cut text included. A request that ended before it ever ran used none.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Those of the prompt that were not computed, because an earlier request that began alike had left them."""

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
class TokenLogprob:
    """A token, and how likely the unmodified network found it at its place."""

    token: int
    logprob: float
    """Natural logarithm of its probability."""
    data: bytes
    """Its exact bytes, which need not be whole characters; none for special tokens, and without a tokenizer."""
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens of the place, likeliest first, as many as were asked for."""

    def packed(self) -> list[Any]:
        """As it crosses the border between processes."""
        return [self.token, self.logprob, self.data.hex(), [one.packed() for one in self.top]]

    @classmethod
    def unpacked(cls, fields: Sequence[Any]) -> Self:
        """The other way."""
        token, logprob, data, top = fields
        return cls(token, logprob, bytes.fromhex(data), tuple(map(cls.unpacked, top)))


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
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of `ids`, where the request asked for them."""

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
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of `ids`, where the request asked for them."""


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
    """What the weights are kept in: fp32, bf16, or of a quantised model int8 or int4."""
    device: str
    threads: int
    template: str | None
    """Name of the chat template; None where the model directory has no tokenizer (then only token ids are taken)."""
    note: str = ""
    """What a person should know before talking to it, e.g. that a base model is wrapped in labelled turns."""
    kernels: str = "torch"
    """What computes the products: torch, or the instruction set of the native kernels."""
    spec: dict[str, Any] = field(default_factory=dict)
    """The fields of its ModelSpec."""
    load_seconds: float = 0.0
    experts_in_memory: int = 0
    """Of all layers together; what is not among them is read from the disk when it is needed."""
    kv_tokens: int = 0
    """Caches of all requests together, in tokens."""


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
    """Tokens of KV cache set aside for running requests; what several share counts once."""
    kv_kept: int
    """Tokens of KV cache that ended requests left behind, to be found again until the room is needed."""
    kv_budget: int
    """Tokens of KV cache there are."""
    tokens_per_second: float
    """Sampled tokens, over the last ten seconds."""
    prompt_tokens: int
    """Totals since the start, from here on."""
    completion_tokens: int
    cached_tokens: int
    """Tokens of prompts that were found in the KV cache."""
    finished: dict[str, int]
    """Ended requests by how they ended: stop, length, cancelled, error."""
    preemptions: int
    steps: int
    step_seconds: float
    """Time spent in steps."""
    resident_bytes: int
    """Memory of the engine's process."""
    guessed: int = 0
    """Tokens that steps computed along because answers might go on with them."""
    guessed_right: int = 0
    """Of these, tokens that answers did go on with."""
    expert_hits: int = 0
    """Of a quantised model: how often an expert was chosen that was in memory."""
    expert_misses: int = 0
    """And how often one was that had to be read."""
    expert_bytes_read: int = 0
    expert_bytes_needed: int = 0
    """What the misses took; more was read only to be there in time."""


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
    """Requests accepted at a time, running and waiting together; one more is QueueFull. A client with a name that holds
    none is still let in with one, up to twice as many in all, so that nobody keeps the others out."""
    max_running: int = 16
    """Requests computed together in one step."""
    step_tokens: int = 256
    """Longest step in tokens: what prompts are cut into, so that long ones do not hold up those already answering."""
    kv_tokens: int | None = None
    """KV cache of all requests together, in tokens, at least one full context; None: `max_running` full contexts, as
    far as they fit a quarter of the free memory."""
    context: int | None = None
    """Longest sequence; None: the model's own. A longer one than the model's is refused."""
    prefix_reuse: bool = True
    """Whether a prompt's beginning that is still in the KV cache, whoever's it was, is taken from there."""

    speculation: bool = True
    """Whether steps of the native kernels compute along what an answer may go on with, where that is faster; no answer
    changes by it."""
    memory: int | None = None
    """Bytes that this engine and the process that started it take at most, at any time. Experts that do not fit stay on
    the disk. None: what the model needs, or where that is not free, most of what is. For quantised models."""
    cache_share: float = 0.25
    """Where memory is short: most of what the dense weights leave that caches take, and a step's numbers as well."""

    def __post_init__(self) -> None:
        for name in ("max_requests", "max_running", "step_tokens", "threads", "kv_tokens", "context", "memory"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise EngineError(f"{name} must be a whole number of at least 1 (got {value!r})")
        if not 0 < self.cache_share < 1:
            raise EngineError(f"cache_share lies between 0 and 1 (got {self.cache_share!r})")
        for name in ("prefix_reuse", "speculation"):
            if not isinstance(getattr(self, name), bool):
                raise EngineError(f"{name} is true or false (got {getattr(self, name)!r})")
        for name, known in (("dtype", ("auto", "fp32", "bf16")), ("device", ("auto", "cpu", "cuda"))):
            if getattr(self, name) not in known:
                raise EngineError(f"{name} is one of {', '.join(known)} (got {getattr(self, name)!r})")
