"""What an upstream's objects say: text, counts, endings, log probabilities, errors; every field may be missing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lindos.assistant.model import Finish, TokenLogprob, Usage
from lindos.assistant.upstream.wire import WireError

UNKNOWN_TOKEN = -1
"""The id of a token of which only the text, or the mere existence, is told."""

_BROKEN_ENDINGS = {
    "content_filter": "the upstream's content filter broke the answer off",
    "abort": "the upstream aborted the answer",
    "error": "the upstream could not finish the answer",
}


@dataclass(frozen=True)
class Delta:
    """One object of a stream, or a whole answer."""

    text: str = ""
    tokens: int = 0
    """How many it seems to stand for: those whose log probabilities it lists, else one where it says anything."""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    broken: str = ""
    """Why the upstream broke the answer off, in words for people."""
    usage: Usage | None = None
    """Tokens so far."""
    done: bool = False
    """Whether nothing of the answer can follow."""


def delta_of(data: dict[str, Any]) -> Delta:
    """Read an object that is no error. Raises WireError when its fields are of the wrong types."""
    usage = _usage(data)
    choices = data.get("choices")
    if not choices:
        return Delta(usage=usage)
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise WireError("choices that are no list of objects")
    choice = choices[0]
    message = choice.get("delta") or choice.get("message") or {}
    if not isinstance(message, dict):
        raise WireError("a delta that is no object")
    text = _text(message, "content") + _text(message, "refusal") + _text(choice, "text")
    thought = _text(message, "reasoning_content") or _text(message, "reasoning")
    logprobs = _logprobs(choice.get("logprobs"))
    reason = choice.get("finish_reason")
    finish: Finish | None = None if reason is None else "length" if reason == "length" else "stop"
    broken = _BROKEN_ENDINGS.get(reason, "") if isinstance(reason, str) else ""
    return Delta(text, len(logprobs) or int(bool(text or thought)), logprobs, finish, broken, usage)


def error_of(data: dict[str, Any]) -> dict[str, Any] | None:
    """The error an object tells: its `error`, or itself where it says that it is one; None when it is none."""
    error = data.get("error")
    if error:
        return error if isinstance(error, dict) else {"message": str(error)}
    if data.get("object") == "error" or ("choices" not in data and isinstance(data.get("message"), str)):
        return data
    if "choices" not in data and isinstance(data.get("detail"), (str, list)):
        return {"message": str(data["detail"])}
    return None


def _text(holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if isinstance(value, list):  # parts, as some gateways have them
        return "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    if not isinstance(value, str):
        raise WireError(f"{name} that is no text")
    # A half surrogate pair, which JSON can carry, could not be stored or sent on.
    return value.encode("utf-8", "replace").decode() if not value.isascii() else value


def _usage(data: dict[str, Any]) -> Usage | None:
    usage = data.get("usage")
    if isinstance(usage, dict):
        details = usage.get("prompt_tokens_details")
        cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
        return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), cached)
    timings = data.get("timings")
    if isinstance(timings, dict) and "predicted_n" in timings:
        cached = _count(timings.get("cache_n"))
        return Usage(_count(timings.get("prompt_n")) + cached, _count(timings.get("predicted_n")), cached)
    return None


def _count(value: object) -> int:
    number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if number else 0  # type: ignore[return-value]


def _logprobs(listed: object) -> tuple[TokenLogprob, ...]:
    """Of a chat's message, or in the older shape of raw texts."""
    if not isinstance(listed, dict):
        return ()
    content = listed.get("content")
    if isinstance(content, list):
        return tuple(_token(one, top=True) for one in content if isinstance(one, dict))
    tokens, values, tops = (listed.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list) or not isinstance(values, list) or not isinstance(tops, list):
        raise WireError("log probabilities that are no lists")
    tops = [*tops, *[None] * (len(tokens) - len(tops))]
    found = []
    for text, value, top in zip(tokens, values, tops, strict=False):
        others = sorted((top or {}).items(), key=lambda item: -_logprob(item[1])) if isinstance(top, dict) else []
        alike = tuple(TokenLogprob(UNKNOWN_TOKEN, _logprob(p), str(t).encode("utf-8", "replace")) for t, p in others)
        found.append(TokenLogprob(UNKNOWN_TOKEN, _logprob(value), str(text).encode("utf-8", "replace"), alike))
    return tuple(found)


def _token(one: dict[str, Any], *, top: bool) -> TokenLogprob:
    data, text = one.get("bytes"), one.get("token")
    whole = isinstance(data, list) and all(isinstance(b, int) and 0 <= b < 256 for b in data)
    spelled = bytes(data) if whole else str(text or "").encode("utf-8", "replace")  # type: ignore[arg-type]
    listed = one.get("top_logprobs") if top else None
    alike = listed if isinstance(listed, list) else []
    others = tuple(_token(each, top=False) for each in alike if isinstance(each, dict))
    number = one.get("id")  # llama.cpp's server tells it
    known = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    return TokenLogprob(number if known else UNKNOWN_TOKEN, _logprob(one.get("logprob")), spelled, others)  # type: ignore[arg-type]


def _logprob(value: object) -> float:
    """Minus infinity for what is none."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    return min(float(value), 0.0) if good else -math.inf  # type: ignore[arg-type]
