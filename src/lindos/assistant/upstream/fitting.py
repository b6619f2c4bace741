"""A conversation that an upstream finds too long, made to fit as our own engine would: oldest turns first.

Upstreams count their tokens themselves, and most tell the counts when they refuse. What they do not tell is estimated
from characters, so more may go than would have had to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lindos.assistant.model import Message, Truncate
from lindos.assistant.upstream.request import Asked

TRIES = 12
"""Refusals after which a conversation is given up."""


def shortened(
    asked: Asked, numbers: Mapping[str, int], truncate: Truncate, context: int | None
) -> tuple[Asked, int] | None:
    """What to ask instead, and how many messages that leaves out; None where nothing can be left out.

    `numbers` are the `limit` and the `prompt` tokens of the refusal, as far as it told them.
    """
    limit, prompt = numbers.get("limit", context), numbers.get("prompt")
    wanted = asked.sampling.max_tokens
    least = None if limit is None else min(wanted or limit // 4, limit // 2)
    fits = limit is not None and prompt is not None and prompt < limit
    if truncate == "oldest" and asked.messages and not (fits and least and limit - prompt >= least):  # type: ignore[operator]
        share = 0.75 if not (limit and prompt and least) else min(0.95, (limit - least) / prompt)
        kept = _without_oldest(asked.messages, share)
        if kept is not None:
            return replace(asked, messages=kept), len(asked.messages) - len(kept)
    if fits and (wanted is None or wanted > limit - prompt):  # type: ignore[operator]
        return asked.limited(limit - prompt), 0  # type: ignore[operator]
    return None


def _without_oldest(messages: tuple[Message, ...], share: float) -> tuple[Message, ...] | None:
    """The latest turns of about this share of the characters, beside the system's words; None when no turn may go.

    It begins with a question or is the last turn alone, which always stays.
    """
    turns = [at for at, message in enumerate(messages) if message.role != "system"]
    cuts = [*(at for at in turns[1:-1] if messages[at].role == "user"), *turns[1:][-1:]]
    if not cuts:
        return None
    most = share * sum(len(message.content) for message in messages)
    for cut in cuts:
        kept = tuple(message for at, message in enumerate(messages) if message.role == "system" or at >= cut)
        if sum(len(message.content) for message in kept) <= most or cut == cuts[-1]:
            return kept
    return None
