"""What the page says about a model: the honest line below the composer, and what to ask it first."""

from __future__ import annotations

from lindos.assistant import ModelInfo
from lindos.assistant.bundled import BUNDLED

TINY = 200_000_000
"""Parameters below which a model makes up most of what it says."""

_SMALL_TALK = [
    "Who are you?",
    "Tell me a joke about computers.",
    "What can't you do?",
    "What do you think of Mondays?",
]
_GENERAL = [
    "Explain how a mixture-of-experts model works.",
    "Tell me something surprising about the Colossus of Rhodes.",
    "Write a short poem about the sea, without the word 'blue'.",
    "Help me plan a quiet weekend.",
]
_COMPLETIONS = [
    "What is a lighthouse?",
    "Name three Greek islands.",
    "Why is the sky blue?",
    "What does a router in a mixture-of-experts model do?",
]


def caution(info: ModelInfo) -> str:
    """One line on how far to trust this model."""
    title = info.name[:1].upper() + info.name[1:]
    if info.name == BUNDLED:
        return f"{title} is a small model trained on a laptop-class machine: it makes things up."
    if 0 < info.parameters < TINY:
        return f"{title} is a very small model: it makes things up."
    return f"{title} can be wrong. Check what matters."


def suggestions(info: ModelInfo | None) -> list[str]:
    """A few first questions that suit the model."""
    if info is None or (info.kind == "chat" and 0 < info.parameters < TINY):
        return _SMALL_TALK
    return _COMPLETIONS if info.kind == "base" else _GENERAL
