"""From a request of ours to the body an upstream understands; what its dialect cannot do is refused by name."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lindos.assistant.model import RequestError, Sampling
from lindos.assistant.upstream.dialect import Dialect
from lindos.specs import Message

LEAST_TOP_P = 1e-6
"""Keeps the likeliest token alone, for servers that refuse 0."""
SEEDS = 2**31
"""Seeds that every server takes; larger ones are taken modulo this."""

_NEUTRAL = Sampling()
_SALT = secrets.token_bytes(16)


@dataclass(frozen=True)
class Asked:
    """One request as `submit` got it; shortened, where it has to be, by `replace`."""

    messages: tuple[Message, ...] | None
    prompt: str | None
    sampling: Sampling
    priority: int = 0
    client: str = ""

    @property
    def path(self) -> str:
        """Under the base address."""
        return "/completions" if self.messages is None else "/chat/completions"

    def limited(self, tokens: int) -> Asked:
        """With room for an answer of so many tokens."""
        return replace(self, sampling=replace(self.sampling, max_tokens=tokens))


def asked_for(
    messages: Sequence[Message] | None, prompt: str | None, sampling: Sampling | None, priority: int, client: str
) -> Asked:
    """One request. Raises RequestError when there is nothing to answer, or both a conversation and a text."""
    if (messages is None) == (prompt is None):
        raise RequestError("give exactly one of messages and prompt", param="prompt")
    if messages is not None and not messages:
        raise RequestError("messages must be a list of at least one message", param="messages")
    if prompt == "":
        raise RequestError("the prompt is empty", param="prompt")
    for text in (prompt or "", *(message.content for message in messages or ())):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            words = f"the text holds a lone surrogate (U+{ord(text[error.start]):04X}), which is not valid Unicode"
            raise RequestError(words, param="prompt" if messages is None else "messages") from None
    turns = None if messages is None else tuple(messages)
    return Asked(turns, prompt, sampling or Sampling(), priority, client)


def body_of(asked: Asked, model: str, dialect: Dialect, limit_field: str) -> dict[str, Any]:
    """The request's JSON. Raises RequestError that names the parameter which the dialect lacks."""
    body: dict[str, Any] = {"model": model, **dialect.always, "stream": True}
    body["stream_options"] = {"include_usage": True}
    if dialect.counts == "always":
        body["stream_options"]["continuous_usage_stats"] = True
    elif dialect.counts == "timings":
        body["timings_per_token"] = True
    if asked.messages is None:
        body["prompt"] = asked.prompt
    else:
        body["messages"] = [{"role": message.role, "content": message.content} for message in asked.messages]
    return body | _sampled(asked.sampling, dialect) | _limit(asked, dialect, limit_field) | _rest(asked, dialect)


def _sampled(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    """Fields for how tokens are chosen and what ends the text."""
    values: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": max(sampling.top_p, LEAST_TOP_P),
        "top_k": sampling.top_k or dialect.everything_off.get("top_k", 0),
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias},
        "seed": None if sampling.seed is None else sampling.seed % SEEDS,
        # What goes past its own ends goes past stop strings, too.
        "stop": [] if sampling.ignore_end else list(sampling.stop),
        "stop_tokens": [] if sampling.ignore_end else list(sampling.stop_tokens),
        "ignore_end": sampling.ignore_end,
    }
    body: dict[str, Any] = {}
    for name, value in values.items():
        field = dialect.fields.get(name)
        # Servers disagree about the temperature where none is given, so it always is.
        neutral = name != "temperature" and getattr(sampling, name) == getattr(_NEUTRAL, name)
        if field is None and not neutral:
            words = f"{name} cannot be asked of {dialect.title}: leave it out, or name the server's kind"
            raise RequestError(words, param=name)
        if field is not None and (
            not neutral or (dialect.defaults and value is not False and value not in ({}, [], None))
        ):
            body[field] = value
    return body


def _limit(asked: Asked, dialect: Dialect, limit_field: str) -> dict[str, Any]:
    tokens = asked.sampling.max_tokens
    if asked.messages is not None:
        return {} if tokens is None else {limit_field: tokens}
    if tokens is None and dialect.bounded_texts:
        words = f"{dialect.title} completes a text only up to a given length: set max_tokens"
        raise RequestError(words, param="max_tokens")
    return {"max_tokens": tokens} if tokens is not None else {}


def _rest(asked: Asked, dialect: Dialect) -> dict[str, Any]:
    body: dict[str, Any] = {}
    sampling = asked.sampling
    if sampling.grammar is not None:
        formats = dialect.text_formats if asked.messages is None else dialect.chat_formats
        pattern = formats.get(sampling.grammar.kind)
        if pattern is None:
            words = f"{dialect.title} cannot hold an answer to a {sampling.grammar.kind} grammar here"
            raise RequestError(words, param="response_format")
        body |= _filled(pattern, sampling.grammar.text)
    if sampling.logprobs is not None:
        chat = {"logprobs": True, "top_logprobs": sampling.logprobs}
        body |= {"logprobs": sampling.logprobs} if asked.messages is None else chat
    if asked.priority and dialect.priority is None:
        raise RequestError(f"{dialect.title} knows no priorities: leave priority out", param="priority")
    if asked.priority and dialect.priority is not None:
        body[dialect.priority.field] = asked.priority * dialect.priority.sign
    if asked.client and dialect.user:
        # Enough to tell people apart, nothing to tell who they are.
        body[dialect.user] = hashlib.sha256(_SALT + asked.client.encode("utf-8", "replace")).hexdigest()[:16]
    return body


def _filled(pattern: Any, text: str) -> Any:
    if isinstance(pattern, dict):
        return {name: _filled(value, text) for name, value in pattern.items()}
    if pattern == "$text":
        return text
    if pattern == "$schema":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"the JSON schema cannot be read: {error}", param="response_format") from None
    return pattern
