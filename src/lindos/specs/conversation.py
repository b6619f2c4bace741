"""Conversation: the messages people and models exchange."""

from __future__ import annotations

from typing import Literal

from lindos.specs.base import Spec

Role = Literal["system", "user", "assistant"]


class Message(Spec):
    """One turn: who speaks, and what."""

    role: Role
    content: str
    result: bool = False
    """Whether it is what calls of functions came to: it stands in a turn of the user's, and is nobody's words."""


class Conversation(Spec):
    """An ordered exchange; `title` is what a list of conversations shows."""

    messages: tuple[Message, ...] = ()
    title: str = ""

    def then(self, role: Role, content: str) -> Conversation:
        """The conversation with one more message."""
        return self.model_copy(update={"messages": (*self.messages, Message(role=role, content=content))})
