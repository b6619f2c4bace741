"""From what a caller hands in to a request: tokens, limits, and clear words where it cannot be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lindos.engine.constraint import Constraint, GrammarCompiler
from lindos.engine.interface import RequestError, Sampling
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.specs import Message, SpecError
from lindos.text import ChatTemplate, Tokenizer


class PromptBuilder:
    """Makes requests for one model. Any thread may use it."""

    def __init__(
        self, *, vocabulary: int, context: int, tokenizer: Tokenizer | None, template: ChatTemplate | None
    ) -> None:
        self._vocabulary = vocabulary
        self._context = context
        self._tokenizer = tokenizer
        self._template = template
        self._grammars = None if tokenizer is None else GrammarCompiler(tokenizer, self._end_tokens(tokenizer))

    def build(
        self,
        number: int,
        prompt: Mapping[str, Any],
        sampling: Mapping[str, Any],
        *,
        priority: object = 0,
        client: object = "",
    ) -> Request:
        """What `prompt` ({"text"}, {"tokens"} or {"messages", "truncate"}) asks for. Raises RequestError.

        A grammar is compiled here, which may take a second: in the reader's thread, beside the steps.
        """
        chosen = Sampling.parse(sampling)
        self._check_tokens(chosen)
        if chosen.stop and self._tokenizer is None:
            raise RequestError("this model has no tokenizer, so stop strings cannot be found", param="stop")
        messages = prompt.get("messages")
        dropped = 0
        if messages is not None:
            tokens, dropped = self._chat(messages, prompt.get("truncate", "never"), chosen.max_tokens)
        elif "tokens" in prompt:
            tokens = self._checked(prompt["tokens"])
        else:
            tokens = self._raw(prompt.get("text"))
        if not tokens:
            raise RequestError("the prompt is empty", param="prompt")
        room = self._context - len(tokens)
        if room < 1:
            param = "prompt" if messages is None else "messages"
            raise RequestError(self._too_long(len(tokens)), param=param, too_long=True)
        stops, stop_tokens, trim = self._ends(chosen, chat=messages is not None)
        return Request(
            id=number,
            tokens=tokens,
            limit=min(room, chosen.max_tokens or room),
            sampling=chosen,
            output=OutputText(self._tokenizer, stops, trim_start=trim),
            stop_tokens=stop_tokens,
            dropped=dropped,
            constraint=self._constraint(chosen),
            priority=_priority(priority),
            client=_client(client),
        )

    def _end_tokens(self, tokenizer: Tokenizer) -> set[int]:
        """What may end an answer that a grammar allows to end."""
        ends = set(self._template.stop_tokens) if self._template else set()
        return ends | ({tokenizer.eos} if tokenizer.eos is not None else set())

    def _check_tokens(self, sampling: Sampling) -> None:
        for token, _ in sampling.logit_bias:
            if token >= self._vocabulary:
                words = f"logit_bias: token ids run from 0 to {self._vocabulary - 1} (got {token})"
                raise RequestError(words, param="logit_bias")

    def _constraint(self, sampling: Sampling) -> Constraint | None:
        if sampling.grammar is None:
            return None
        if self._grammars is None:
            words = "this model has no tokenizer, so its answers cannot be held to a format"
            raise RequestError(words, param="response_format")
        return self._grammars.compile(sampling.grammar)

    def _ends(self, sampling: Sampling, *, chat: bool) -> tuple[tuple[str, ...], frozenset[int], bool]:
        """What ends the answer, and whether its first white space goes: after a label ("Assistant:") it is layout."""
        stops, tokens, trim = sampling.stop, frozenset(sampling.stop_tokens), False
        if not sampling.ignore_end:
            if chat and self._template is not None:
                stops += self._template.stop_strings
                tokens |= self._template.stop_tokens
                trim = bool(self._template.stop_strings)
            elif self._tokenizer is not None and self._tokenizer.eos is not None:
                tokens |= {self._tokenizer.eos}
        return stops, tokens, trim

    def _raw(self, text: object) -> list[int]:
        if not isinstance(text, str):
            raise RequestError(f"the prompt must be a string (got {type(text).__name__})", param="prompt")
        if self._tokenizer is None:
            raise RequestError("this model has no tokenizer; give the prompt as token ids", param="prompt")
        tokens = self._encode(text)
        if self._tokenizer.starts_with_bos and self._tokenizer.bos is not None:
            tokens = [self._tokenizer.bos, *tokens]
        return tokens

    def _encode(self, text: str) -> list[int]:
        assert self._tokenizer is not None
        _check_unicode(text, "prompt")
        return self._tokenizer.encode(text)

    def _checked(self, tokens: object) -> list[int]:
        if not isinstance(tokens, Sequence) or isinstance(tokens, str):
            raise RequestError(f"tokens must be a list of ids (got {type(tokens).__name__})", param="tokens")
        for token in tokens:
            if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < self._vocabulary:
                raise RequestError(f"token ids run from 0 to {self._vocabulary - 1} (got {token!r})", param="tokens")
        return list(tokens)

    def _chat(self, turns: object, truncate: object, max_tokens: int | None) -> tuple[list[int], int]:
        """The prompt's tokens, and how many messages were dropped for it to fit."""
        messages = _messages(turns)
        if self._template is None:
            raise RequestError("this model has no tokenizer, so it takes no messages, only token ids", param="messages")
        if truncate not in ("never", "oldest"):
            raise RequestError(f"truncate is 'never' or 'oldest' (got {truncate!r})", param="truncate")
        tokens = self._template.prompt(messages)
        # Leave room for an answer worth having; without dropping anything a single free token would do.
        most = self._context - min(max_tokens or self._context // 4, self._context // 2)
        if truncate == "never" or len(tokens) <= most:
            return tokens, 0
        return self._dropping(messages, self._template, most)

    def _dropping(self, messages: list[Message], template: ChatTemplate, most: int) -> tuple[list[int], int]:
        """Drop as few of the oldest turns as will do; the system's words and the last turn always stay."""
        cuts = _cuts(messages)
        low, high = 0, len(cuts) - 1
        while low < high:
            middle = (low + high) // 2
            if len(template.prompt(_from(messages, cuts[middle]))) <= most:
                high = middle
            else:
                low = middle + 1
        kept = _from(messages, cuts[low])
        return template.prompt(kept), len(messages) - len(kept)

    def _too_long(self, tokens: int) -> str:
        return (
            f"the prompt has {tokens:,} tokens; this model's context holds {self._context:,}, prompt and answer "
            f"together: shorten it by at least {tokens - self._context + 1:,}"
        )


def _cuts(messages: list[Message]) -> list[int]:
    """Where a shortened conversation may begin: at its first message, at a question, at the last turn."""
    turns = [at for at, message in enumerate(messages) if message.role != "system"]
    return [0, *(at for at in turns[1:-1] if messages[at].role == "user"), *turns[1:][-1:]]


def _from(messages: list[Message], cut: int) -> list[Message]:
    """The system's words, and the turns from `cut` on."""
    return [message for at, message in enumerate(messages) if message.role == "system" or at >= cut]


def _messages(turns: object) -> list[Message]:
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        raise RequestError("messages must be a list of at least one message", param="messages")
    try:
        messages = [Message.parse(turn, where=f"messages[{index}]") for index, turn in enumerate(turns)]
    except SpecError as error:
        raise RequestError(str(error), param="messages") from None
    for message in messages:
        _check_unicode(message.content, "messages")
    return messages


def _priority(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RequestError(f"priority must be a whole number (got {value!r})", param="priority")
    return value


def _client(value: object) -> str:
    if not isinstance(value, str):
        raise RequestError(f"client must be a string (got {value!r})", param="client")
    return value


def _check_unicode(text: str, param: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = f"the text holds a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}"
        raise RequestError(f"{problem}, which is not valid Unicode", param=param) from None
