"""Answers held to a grammar, by llguidance: which tokens may come next, and when the answer is complete. Torch-free."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property

import llguidance
import numpy as np
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from lindos.engine.errors import RequestError
from lindos.engine.sampling import Grammar
from lindos.text import Tokenizer

KEPT = 16
"""Compiled grammars that are kept, the most recently used."""
WHITE_SPACE = r"[ \t\n\r]{1,16}"
"""Between the parts of JSON. Bounded, as a model that is kept from all else would write white space for ever."""
ANCHOR = "\x01"
"""A byte that nothing merges with; see GrammarTokenizer."""


class Constraint:
    """How far one answer has come in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher, tokens: int) -> None:
        self._matcher = matcher
        self._mask = allocate_token_bitmask(1, tokens)

    def allowed(self, vocabulary: int) -> NDArray[np.bool_]:
        """[vocabulary] the tokens that may come next; end tokens are among them only where the answer may end."""
        fill_next_token_bitmask(self._matcher, self._mask)
        bits = np.unpackbits(self._mask.view(np.uint8)[0], bitorder="little", count=vocabulary)
        return bits.view(np.bool_)

    def accept(self, token: int) -> None:
        """Go on by a token."""
        self._matcher.consume_token(token)

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    @property
    def fault(self) -> str | None:
        """Why it cannot go on, where it cannot: a limit on the work of one step was met, or a token was not allowed."""
        return _in_one_line(self._matcher.get_error()) if self._matcher.is_error() else None

    def fresh(self) -> Constraint:
        """The same grammar at its beginning, to be used beside this one."""
        matcher = self._matcher.deep_copy()
        matcher.reset()
        return Constraint(matcher, self._mask.size * 32)


class GrammarCompiler:
    """Makes constraints for one tokenizer. Any thread may use it; one compiles at a time, without holding up Python."""

    def __init__(self, tokenizer: Tokenizer, ends: Iterable[int]) -> None:
        ends = sorted(ends)
        adapted = GrammarTokenizer(tokenizer, ends)
        # A second for 131,072 tokens, in which no other thread runs: so it is done when the model is loaded.
        self._inner = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(adapted), eos_token=ends or adapted.eos_token_id
        )
        self._kept: OrderedDict[Grammar, Constraint] = OrderedDict()
        self._lock = threading.Lock()

    def compile(self, grammar: Grammar) -> Constraint:
        """A constraint at its beginning. Raises RequestError that says what is wrong with the grammar."""
        with self._lock:
            if grammar not in self._kept:
                self._kept[grammar] = self._compile(grammar)
            self._kept.move_to_end(grammar)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[grammar].fresh()

    def _compile(self, grammar: Grammar) -> Constraint:
        limits = llguidance.LLParserLimits(verbose_errors=False)
        try:
            matcher = llguidance.LLMatcher(self._inner, _source(grammar), log_level=0, limits=limits)
        except (ValueError, RecursionError) as error:
            raise _refusal(grammar, str(error)) from None
        constraint = Constraint(matcher, self._inner.vocab_size)
        # The first mask is the dearest, and shows whether this vocabulary can write what is wanted.
        if constraint.fault is None:
            constraint.allowed(self._inner.vocab_size)
        if constraint.fault is not None:
            stuck = "NoExtension" in constraint.fault
            raise _refusal(grammar, "no token of this model can begin it" if stuck else constraint.fault)
        return constraint


class GrammarTokenizer:
    """A tokenizer as llguidance wants it. It calls back to learn how a text that a grammar forces would be cut.

    SentencePiece puts a space before a text, so text is encoded behind an anchor whose tokens are taken off again: with
    the space, a forced text could not be written, and llguidance would then allow nothing but the end.
    """

    def __init__(self, tokenizer: Tokenizer, ends: Sequence[int]) -> None:
        table = [tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary)]
        self.special_token_ids = [token for token, data in enumerate(table) if not data]
        # Special tokens are not text, but llguidance wants them to have different names.
        self.tokens = [data or f"<|special_{token}|>".encode() for token, data in enumerate(table)]
        if not ends:  # llguidance needs one; no model ever says this one
            self.special_token_ids.append(len(table))
            self.tokens.append(b"<|no_end|>")
        self.eos_token_id = ends[0] if ends else len(table)
        self.bos_token_id = tokenizer.bos
        self._tokenizer = tokenizer
        self._anchor = tokenizer.encode(ANCHOR)

    def __call__(self, data: bytes) -> list[int]:
        tokens = self._tokenizer.encode(ANCHOR + data.decode(errors="replace"))
        head, tokens = tokens[: len(self._anchor)], tokens[len(self._anchor) :]
        faithful = head == self._anchor and b"".join(map(self._tokenizer.token_bytes, tokens)) == data
        # A normalising tokenizer would write something else.
        return tokens if faithful else self._greedy(data)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        table = [self._tokenizer.token_bytes(token) for token in range(self._tokenizer.vocabulary)]
        return {data: token for token, data in reversed(list(enumerate(table))) if data}

    def _greedy(self, data: bytes) -> list[int]:
        """The longest token first, up to where no token fits."""
        tokens: list[int] = []
        longest = max(map(len, self._ids))
        while data:
            lengths = range(min(longest, len(data)), 0, -1)
            length = next((n for n in lengths if data[:n] in self._ids), None)
            if length is None:
                break
            tokens.append(self._ids[data[:length]])
            data = data[length:]
        return tokens


def _source(grammar: Grammar) -> str:
    grammar.text.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    match grammar.kind:
        case "json_schema":
            return llguidance.LLMatcher.grammar_from_json_schema(
                grammar.text, overrides={"whitespace_pattern": WHITE_SPACE, "lenient": False}
            )
        case "regex":
            return llguidance.LLMatcher.grammar_from_regex(grammar.text)
        case "lark":
            return llguidance.LLMatcher.grammar_from_lark(grammar.text)


def _refusal(grammar: Grammar, reason: str) -> RequestError:
    what = {"json_schema": "JSON schema", "regex": "regular expression", "lark": "grammar"}[grammar.kind]
    return RequestError(f"the {what} cannot be used: {_in_one_line(reason)}", param="response_format")


def _in_one_line(text: str) -> str:
    return " ".join(text.split())[:300]
