"""Refusals and breakdowns of upstreams, in our errors: which of them are worth another try, and when."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any

from lindos.assistant.model import EngineError, QueueFull, RequestError

_SHOWN = 300
_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum model length|prompt is too long|too many tokens|max_model_len"
    r"|exceeds? the (?:model's )?context|reduce (?:the length|your message size)",
    re.IGNORECASE,
)
_TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_NEVER = {"insufficient_quota", "billing_hard_limit_reached", "account_deactivated"}


class Fault(Exception):  # noqa: N818 - it carries an error together with what to do about it
    """Why an attempt came to nothing."""

    def __init__(
        self,
        error: EngineError,
        again: bool = False,
        after: float | None = None,
        numbers: Mapping[str, int] | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.again = again
        """Whether the same request may go better in a while, or elsewhere."""
        self.after = after
        """Seconds that the upstream wants to be left alone for, where it says so."""
        self.numbers = numbers or {}
        """Of a conversation that is too long: `limit` and `prompt` in tokens, as far as they are told."""
        self.unreachable = unreachable
        """Whether there was nobody to ask."""


def refusal(status: int, headers: Mapping[str, str], error: Mapping[str, Any], model: str) -> Fault:
    """What an answer other than 200 means; `error` is the error object of its body, or empty."""
    message = said(error)
    told = f": {message}" if message else ""
    code = str(error.get("code") or error.get("type") or "")
    param = error.get("param") if isinstance(error.get("param"), str) else None
    after = retry_after(headers.get("retry-after"))
    if status in (401, 403):
        # Without the upstream's own words: some quote the key.
        words = f"the upstream refuses the key (HTTP {status}): set the right one where the server was started"
        return Fault(EngineError(words))
    if status == 404:
        return Fault(EngineError(f"the upstream has no model '{model}', or no such route (HTTP 404){told}"))
    too_long = bool({code, str(error.get("type"))} & _TOO_LONG_CODES) or bool(_TOO_LONG.search(message))
    if too_long and status in (400, 413, 422, 429, 500):
        fault = RequestError(message or "the conversation is too long for the model", param="messages", too_long=True)
        return Fault(fault, numbers=token_numbers(message, error))
    if status == 413:
        return Fault(RequestError(f"the request is too large for the upstream{told}", too_long=True))
    if status == 429 and code in _NEVER:
        return Fault(EngineError(f"the upstream's account is used up{told}"))
    if status in (429, 503, 529):
        return Fault(QueueFull(f"the upstream is busy (HTTP {status}){told}; try again later"), True, after)
    if status in (400, 409, 422):
        return Fault(RequestError(message or f"the upstream refuses the request (HTTP {status})", param=param))
    if 300 <= status < 400:
        words = f"the upstream answers with a redirect (HTTP {status}); its address has to be given as it is"
        return Fault(EngineError(words))
    return Fault(EngineError(f"the upstream failed (HTTP {status}){told}"), status >= 500 or status == 408, after)


def error_in_stream(error: Mapping[str, Any], model: str) -> Fault:
    """An error object that came instead of an answer's next piece."""
    code = error.get("code", error.get("status"))
    status = int(code) if str(code).isdigit() and 400 <= int(str(code)) < 600 else 500
    if status == 500 and str(error.get("code")) in _TOO_LONG_CODES | _NEVER:
        status = 400
    return refusal(status, {}, error, model)


def said(error: Mapping[str, Any]) -> str:
    """The upstream's own words, one line of bounded length."""
    message = error.get("message")
    text = " ".join(str(message).split()) if message else ""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value)) if float(value) < 1e9 else None
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError):
        return None


_LIMIT = re.compile(
    r"(?:context (?:length|size|window)|limit|maximum)\D{0,40}?(\d[\d,]*)|>\s*(\d[\d,]*)(?:\s*maximum)?", re.IGNORECASE
)
_PROMPT = (
    re.compile(r"(\d[\d,]*)(?: tokens)? (?:in|from) the (?:input )?messages", re.IGNORECASE),
    re.compile(r"(\d[\d,]*) input tokens", re.IGNORECASE),
    re.compile(r"(?:messages resulted in|prompt (?:contains|has|is too long:)|input \(|request \()\s*(\d[\d,]*)", re.I),
)


def token_numbers(message: str, error: Mapping[str, Any]) -> dict[str, int]:
    """What a refusal tells of lengths. The wordings are those of OpenAI, vLLM, SGLang, llama.cpp and our own server."""
    found: dict[str, int] = {}
    for name, field in (("prompt", "n_prompt_tokens"), ("limit", "n_ctx")):
        if isinstance(error.get(field), int):
            found[name] = error[field]
    if "limit" not in found and (match := _LIMIT.search(message)):
        found["limit"] = _number(match)
    for pattern in _PROMPT:
        if "prompt" not in found and (match := pattern.search(message)):
            found["prompt"] = _number(match)
    if "limit" not in found and (match := re.search(r"context holds (\d[\d,]*)", message)):
        found["limit"] = _number(match)
    return {name: number for name, number in found.items() if number > 0}


def _number(match: re.Match[str]) -> int:
    digits = next(group for group in match.groups() if group)
    return int(digits.replace(",", "")[:12])
