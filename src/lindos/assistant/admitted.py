"""Admitted: what of a conversation a model is told. What the policy refuses it never sees, whoever said it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from lindos.assistant.functions import defused
from lindos.assistant.plainwords import MAX_TEXT, WINDOW
from lindos.assistant.policy import DEFAULT_LANGUAGE, Policy, Verdict
from lindos.specs import Message

WITHHELD = "(withheld)"
"""Stands in instructions and results where a passage was."""
AT_ONCE = 2 * MAX_TEXT
"""Characters that are measured without letting others go on meanwhile: some 50 ms."""
MOST_KNOWN = 4096
"""Texts whose measure is remembered: a conversation comes again with each of its questions."""
_PASSAGE_ENDS = re.compile(r"(?<=[.!?…;])(?=\s)|(?<=\n)")


class Admission:
    """Holds every text of a conversation to the policy, not the last question alone."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known: dict[bytes, bool] = {}
        """By a text's digest, whether it is refused."""

    def verdict(self, question: str, language: str = DEFAULT_LANGUAGE) -> Verdict | None:
        """What to say instead of answering; None where all of the question passes."""
        verdicts = (self._policy.check(stretch, language) for stretch in _stretches(question))
        return next((verdict for verdict in verdicts if verdict is not None), None)

    async def admitted(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """What of a conversation may be told. Its last question is left as it is: whoever asks for `verdict` of it
        knows what to say.

        An earlier question that is refused goes with all that was said to it; so does one whose answer is, and one
        that the next question makes such. Of instructions, of results and of what stands behind the last question,
        the passages go that are refused.
        """
        if sum(len(message.content) for message in messages) <= AT_ONCE:
            return self._admit(messages)
        return await asyncio.to_thread(self._admit, messages)

    def _admit(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        safe = [
            message.model_copy(update={"content": defused(message.content)}) if _asks(message) else message
            for message in messages
        ]
        told: list[Message] = []
        following: Message | None = None
        for exchange in reversed(list(_exchanges(safe))):
            gone = following is not None and self._left_out(exchange, following)
            kept = [part for message in exchange for part in self._told(message, gone=gone, last=following is None)]
            told = kept + told
            if not gone and exchange:
                following = exchange[0]
        return tuple(told)

    def _left_out(self, exchange: Sequence[Message], following: Message) -> bool:
        """Whether what was said then is refused, or is so together with the next question, which may go on from it."""
        if any(_spoken(message) and self._refused(message.content) for message in exchange):
            return True
        if not exchange or not _asks(exchange[0]):
            return False
        half = WINDOW // 2
        return self._refused(f"{exchange[0].content[-half:]} {following.content[:half]}")

    def _told(self, message: Message, *, gone: bool, last: bool) -> list[Message]:
        """What is told of a message of an exchange that is left out, or of the last one, or of another one."""
        if message.role == "system":
            return self._cleared(message)
        if gone:
            return []
        return self._cleared(message) if message.result or (last and not _asks(message)) else [message]

    def _cleared(self, message: Message) -> list[Message]:
        """A message without the passages that are refused; none, where it is instructions and nothing else."""
        if not self._refused(message.content):
            return [message]
        passages = _PASSAGE_ENDS.split(message.content)
        refused = [self._refused(passage) for passage in passages]
        for at, (one, two) in enumerate(pairwise(passages)):
            if not (refused[at] or refused[at + 1]) and self._refused(one + two):
                refused[at] = refused[at + 1] = True
        kept = "".join(_hole(one) if gone else one for one, gone in zip(passages, refused, strict=True))
        if self._refused(kept):
            kept = WITHHELD
        if message.role == "system" and not kept.replace(WITHHELD, "").strip():
            return []
        return [message.model_copy(update={"content": kept})]

    def _refused(self, text: str) -> bool:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is None:
            known = self.verdict(text) is not None
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[digest] = known
        return known


def _asks(message: Message) -> bool:
    """Whether it is a person's words."""
    return message.role == "user" and not message.result


def _spoken(message: Message) -> bool:
    return message.role == "assistant" or _asks(message)


def _exchanges(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Each question with all that follows it before the next one; what stands before the first one by itself."""
    exchange: list[Message] = []
    for message in messages:
        if _asks(message):
            yield exchange
            exchange = []
        exchange.append(message)
    yield exchange


def _stretches(text: str) -> Iterator[str]:
    """A text in stretches that the policy looks at all of."""
    for at in range(0, max(len(text) - WINDOW, 1), MAX_TEXT - WINDOW):
        yield text[at : at + MAX_TEXT]


def _hole(passage: str) -> str:
    """What stands for a passage, with the white space around it."""
    lead = passage[: len(passage) - len(passage.lstrip())]
    return f"{lead}{WITHHELD}{passage[len(passage.rstrip()) :]}"
