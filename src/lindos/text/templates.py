"""Chat templates of other families: what Qwen's, Mixtral's and Grok-2's chat models were trained to see.

Written out by hand rather than run from the Jinja of their makers: the text of a message never makes a mark here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lindos.specs import Message, SpecError
from lindos.text.tokenizer import Tokenizer

SOURCE = "<|source|>"


class ForeignTemplate:
    """What these have in common: a conversation is turns one after the other, behind what begins every text."""

    name: str
    note = ""
    stop_strings: tuple[str, ...] = ()
    marks: tuple[str, ...]
    """Special tokens without which a tokenizer is not of this family."""

    def __init__(self, tokenizer: Tokenizer):
        """Raises SpecError when the tokenizer lacks one of the marks."""
        missing = [mark for mark in self.marks if tokenizer.special(mark) is None]
        if missing:
            raise SpecError(f"this tokenizer has no {missing[0]} token, which the {self.name} template needs")
        self._tokenizer = tokenizer
        self._ids = [tokenizer.special(mark) or 0 for mark in self.marks]
        self.stop_tokens = frozenset({self._ids[-1]} | ({tokenizer.eos} if tokenizer.eos is not None else set()))

    @classmethod
    def fits(cls, tokenizer: Tokenizer) -> bool:
        """Whether the tokenizer has this family's marks."""
        return all(tokenizer.special(mark) is not None for mark in cls.marks)

    def prompt(self, messages: Sequence[Message], *, sources: bool = False) -> list[int]:
        return self.training(messages, sources=sources)[0] + self._opening(bool(messages))

    def training(self, messages: Sequence[Message], *, sources: bool = False) -> tuple[list[int], list[bool]]:
        tokens = self._start()
        counted = [False] * len(tokens)
        for place, message in enumerate(self._arranged(messages)):
            text = message.content.replace(SOURCE, "Source: ") if sources else message.content
            before, words, after = self._turn(message.role, text, first=place == 0)
            said = message.role == "assistant"
            tokens += before + words + after
            counted += [False] * len(before) + [said] * len(words) + [False] * len(after)
        return tokens, counted

    def _start(self) -> list[int]:
        return []

    def _opening(self, later: bool) -> list[int]:
        """What comes before the answer; `later` when other turns do."""
        return []

    def _arranged(self, messages: Sequence[Message]) -> Sequence[Message]:
        return messages

    def _turn(self, role: str, text: str, *, first: bool) -> tuple[list[int], list[int], list[int]]:
        """(what opens the turn, what the loss counts of an assistant's, what closes it)."""
        raise NotImplementedError


class ChatML(ForeignTemplate):
    """`<|im_start|>` role, line end, text, `<|im_end|>`, line end: Qwen's, after OpenAI's.

    Source: tokenizer_config.json of https://huggingface.co/Qwen/Qwen3-30B-A3B. Its models think first, between
    <think> and </think>, which is part of the answer here.
    """

    name = "chatml"
    marks = ("<|im_start|>", "<|im_end|>")

    def _opening(self, later: bool) -> list[int]:
        return [self._ids[0], *self._tokenizer.encode("assistant\n")]

    def _turn(self, role: str, text: str, *, first: bool) -> tuple[list[int], list[int], list[int]]:
        start, end = self._ids
        before = [start, *self._tokenizer.encode(f"{role}\n")]
        return before, [*self._tokenizer.encode(text), end], self._tokenizer.encode("\n")


class Separated(ForeignTemplate):
    """`Human: text<|separator|>`, an empty line, `Assistant:`; Grok-2's.

    Source: the example on https://huggingface.co/xai-org/grok-2, and vLLM's tokenizers/grok2.py for other roles.
    """

    name = "separated"
    stop_strings = ("\n\nHuman:",)
    marks = ("<|eos|>", "<|separator|>")
    _labels = {"user": "Human:", "assistant": "Assistant:", "system": "System:"}  # noqa: RUF012

    def _opening(self, later: bool) -> list[int]:
        return self._tokenizer.encode(("\n\n" if later else "") + "Assistant:")

    def _turn(self, role: str, text: str, *, first: bool) -> tuple[list[int], list[int], list[int]]:
        label = self._tokenizer.encode(("" if first else "\n\n") + self._labels[role])
        return label, [*self._tokenizer.encode(f" {text.strip()}"), self._ids[-1]], []


class Instructions(ForeignTemplate):
    """`<s>[INST] question [/INST] answer</s>`: Mixtral's. The system's words stand before the first question.

    Source: mistral-common (https://github.com/mistralai/mistral-common), tokens/tokenizers/instruct.py. The brackets
    are tokens where the tokenizer has them (Mixtral 8x22B), else plain text (8x7B), and then set off where people
    write them.
    """

    name = "instructions"
    stop_strings = ("[INST]",)
    marks = ("<s>", "</s>")
    _brackets = re.compile(r"\[(/?INST)\]")

    def _start(self) -> list[int]:
        return self._ids[:1]

    def _arranged(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Without the system's turns, which join the first question or are it."""
        rest = [message for message in messages if message.role != "system"]
        system = "\n\n".join(message.content for message in messages if message.role == "system")
        if not system:
            return rest
        first = next((at for at, message in enumerate(rest) if message.role == "user"), None)
        if first is None:
            return [Message(role="user", content=system), *rest]
        asked = Message(role="user", content=f"{system}\n\n{rest[first].content}")
        return [*rest[:first], asked, *rest[first + 1 :]]

    def _turn(self, role: str, text: str, *, first: bool) -> tuple[list[int], list[int], list[int]]:
        if role == "assistant":
            return [], [*self._tokenizer.encode(text), self._ids[-1]], []
        opened, closed = self._tokenizer.special("[INST]"), self._tokenizer.special("[/INST]")
        if opened is not None and closed is not None:
            return [opened], self._tokenizer.encode(text), [closed]
        harmless = self._brackets.sub(r"[ \1 ]", text)
        return [], self._tokenizer.encode(f"[INST] {harmless} [/INST]"), []


FOREIGN: tuple[type[ForeignTemplate], ...] = (ChatML, Separated, Instructions)
