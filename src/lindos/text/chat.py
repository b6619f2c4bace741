"""Chat templates: how a list of messages becomes the tokens a model was trained to see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Protocol

from lindos.specs import Message, SpecError
from lindos.text.templates import FOREIGN, SOURCE
from lindos.text.tokenizer import Tokenizer


class ChatTemplate(Protocol):
    """Messages to tokens. `note` is for people: what this kind of prompt means for the answers; "" if nothing.

    What people write never yields special tokens. With `sources`, the caller vouches that each "<|source|>" in a
    system or user turn is its own mark before a quoted post, and it becomes the token of that name.
    """

    name: str
    note: str
    stop_tokens: frozenset[int]
    stop_strings: tuple[str, ...]

    def prompt(self, messages: Sequence[Message], *, sources: bool = False) -> list[int]:
        """The tokens up to where the assistant's next words begin."""
        ...

    def training(self, messages: Sequence[Message], *, sources: bool = False) -> tuple[list[int], list[bool]]:
        """The whole conversation, and for each token whether the loss counts it (the assistant's words and ends)."""
        ...


class RoleTokens:
    """`<|bos|>`, then per message `<|role|>` text `<|end|>`; a prompt ends with `<|assistant|>`."""

    name = "role-tokens"
    note = ""
    stop_strings: tuple[str, ...] = ()

    def __init__(self, tokenizer: Tokenizer):
        """Raises SpecError when the tokenizer lacks one of the role tokens."""
        self._tokenizer = tokenizer
        self._bos = _needed(tokenizer, "<|bos|>")
        self._end, self._source = _needed(tokenizer, "<|end|>"), _needed(tokenizer, SOURCE)
        self._roles = {role: _needed(tokenizer, f"<|{role}|>") for role in ("system", "user", "assistant")}
        self.stop_tokens = frozenset({self._end} | ({tokenizer.eos} if tokenizer.eos is not None else set()))

    def prompt(self, messages: Sequence[Message], *, sources: bool = False) -> list[int]:
        return [*self.training(messages, sources=sources)[0], self._roles["assistant"]]

    def training(self, messages: Sequence[Message], *, sources: bool = False) -> tuple[list[int], list[bool]]:
        tokens, counted = [self._bos], [False]
        for message in messages:
            words = [*self._words(message, sources), self._end]
            tokens += [self._roles[message.role], *words]
            counted += [False, *[message.role == "assistant"] * len(words)]
        return tokens, counted

    def _words(self, message: Message, sources: bool) -> list[int]:
        if not sources or message.role == "assistant":
            return self._tokenizer.encode(message.content)
        first, *quoted = message.content.split(SOURCE)
        words = self._tokenizer.encode(first)
        for post in quoted:
            words += [self._source, *self._tokenizer.encode(post)]
        return words


class LabelledTurns:
    """A base model completes raw text, so a chat is written out as labelled turns and stopped at the next label."""

    name = "labelled-turns"
    note = "This is a base model: it completes text. The chat is wrapped in labelled turns (User:, Assistant:)."
    stop_strings: tuple[str, ...] = ("\nUser:", "\nAssistant:", "\nSystem:")

    _preamble = "A conversation between a user and a helpful assistant."
    _label = re.compile(r"^(?=(?:User|Assistant|System):)", re.MULTILINE)

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self.stop_tokens = frozenset({tokenizer.eos} if tokenizer.eos is not None else set())

    def prompt(self, messages: Sequence[Message], *, sources: bool = False) -> list[int]:
        return self._start() + self._tokenizer.encode(self._written(messages, sources) + "Assistant:")

    def training(self, messages: Sequence[Message], *, sources: bool = False) -> tuple[list[int], list[bool]]:
        """As one text: labels are ordinary words here, and the loss counts everything after the start."""
        start = self._start()
        words = self._tokenizer.encode(self._written(messages, sources))
        return start + words, [False] * len(start) + [True] * len(words)

    def _start(self) -> list[int]:
        bos = self._tokenizer.bos
        return [bos] if self._tokenizer.starts_with_bos and bos is not None else []

    def _written(self, messages: Sequence[Message], sources: bool) -> str:
        said = [(message.role, self._quoted(message.content, sources)) for message in messages]
        system = "\n".join(text for role, text in said if role == "system")
        turns = "".join(f"{role.capitalize()}: {text}\n" for role, text in said if role != "system")
        return f"{system or self._preamble}\n\n{turns}"

    def _quoted(self, content: str, sources: bool) -> str:
        """A label at the start of a line inside a message would open a turn nobody spoke; set it off."""
        content = content.replace(SOURCE, "Source: ") if sources else content
        return self._label.sub("> ", content.strip())


def chat_template(tokenizer: Tokenizer, kind: Literal["base", "chat"]) -> ChatTemplate:
    """The template for a model of this kind: a chat model's is known by the special tokens of its tokenizer.

    Raises SpecError for a chat model whose tokenizer has those of no template.
    """
    if kind == "base":
        return LabelledTurns(tokenizer)
    if tokenizer.special("<|assistant|>") is None:
        for template in FOREIGN:
            if template.fits(tokenizer):
                return template(tokenizer)
    return RoleTokens(tokenizer)


def _needed(tokenizer: Tokenizer, name: str) -> int:
    token = tokenizer.special(name)
    if token is None:
        raise SpecError(f"this tokenizer has no {name} token, which a chat model's template needs; use kind 'base'")
    return token
