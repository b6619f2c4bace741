"""What the page and the terminal tell a model, and how they have it answer."""

from __future__ import annotations

from collections.abc import Iterable

from lindos.assistant.model import ModelInfo, Sampling
from lindos.assistant.persona import DEFAULT_LANGUAGE, Persona
from lindos.specs import Message

TEMPERATURE = 0.7
TOP_P = 0.95
ANSWER_TOKENS = 1024


def told(persona: Persona, messages: Iterable[Message], language: str = DEFAULT_LANGUAGE) -> list[Message]:
    """The persona's words, then the conversation; answers that failed before their first word say nothing.

    `language` chooses among the persona's words. A small model knows the English ones only.
    """
    words = persona.system_in(language)
    system = [Message(role="system", content=words)] if words else []
    return [*system, *(message for message in messages if message.content)]


def chat_sampling(
    info: ModelInfo, *, temperature: float = TEMPERATURE, top_p: float = TOP_P, answer_tokens: int = ANSWER_TOKENS
) -> Sampling:
    """How answers to people are drawn: at most `answer_tokens` long, and never more than half the model's context."""
    longest = max(1, min(answer_tokens, info.context // 2))
    return Sampling(temperature=temperature, top_p=top_p, max_tokens=longest)
