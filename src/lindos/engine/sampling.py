"""How the tokens of one request are chosen: every parameter, its range and where its definition comes from.

Torch-free. What the parameters do to a row of logits is in `logits.py` and `sampler.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from lindos.engine.errors import RequestError
from lindos.specs import nearest

GrammarKind = Literal["json_schema", "regex", "lark"]

MAX_ALTERNATIVES = 20
MAX_BIASES = 1024
MAX_GRAMMAR = 1 << 16
"""Characters of a grammar; what compiling takes grows with them."""


@dataclass(frozen=True)
class Grammar:
    """What an answer has to look like. Raises RequestError when it is none, or too long to compile."""

    kind: GrammarKind
    text: str
    """A JSON schema, a regular expression (Rust's, without look-around), or a grammar in llguidance's kind of Lark."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(GrammarKind):
            known = ", ".join(get_args(GrammarKind))
            raise RequestError(f"a grammar's kind is one of {known} (got {self.kind!r})", param="response_format")
        if not isinstance(self.text, str) or not self.text:
            raise RequestError("a grammar is a text that is not empty", param="response_format")
        if len(self.text) > MAX_GRAMMAR:
            words = f"a schema or grammar may have {MAX_GRAMMAR:,} characters (got {len(self.text):,})"
            raise RequestError(words, param="response_format")


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when to end. Raises RequestError when a value is out of range."""

    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_p: float = 1.0
    """Keep the likeliest tokens whose probabilities sum to at least this; 1 keeps all, 0 the likeliest alone."""
    top_k: int = 0
    """Keep this many of the likeliest tokens; 0 keeps all."""
    min_p: float = 0.0
    """Keep the tokens with at least this part of the likeliest one's probability (arXiv 2407.01082); 0 keeps all."""
    presence_penalty: float = 0.0
    """Taken off the logit of every token that was generated before (OpenAI's definition); -2 to 2."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit each time that it was generated before (OpenAI's definition); -2 to 2."""
    repetition_penalty: float = 1.0
    """Positive logits of tokens of the prompt or the answer are divided by it, negative ones multiplied (CTRL,
    arXiv 1909.05858, as transformers and vLLM have it); 1 changes nothing, 0.01 to 100."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the logits of single tokens, as pairs or a mapping of token id to -100 ... 100."""
    logprobs: int | None = None
    """Report each token's log probability and those of so many likeliest ones (0 to 20), in the distribution of the
    unmodified network: temperature 1, nothing added, penalised or cut. None reports nothing."""
    grammar: Grammar | None = None
    """The answer is held to it and ends when it is complete; an answer cut by a limit or a stop string may not be."""
    seed: int | None = None
    """The same seed gives the same text; None draws one."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these strings; none of them is ever part of the output."""
    stop_tokens: tuple[int, ...] = ()
    """Token ids that end the text, beside those of the model."""
    max_tokens: int | None = None
    """Longest output in tokens; None generates until the context is full."""
    ignore_end: bool = False
    """Go on past the model's own end tokens and stop strings (benchmarks want fixed lengths)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else _several("stop", self.stop))
        object.__setattr__(self, "stop_tokens", _several("stop_tokens", self.stop_tokens))
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))
        object.__setattr__(self, "grammar", _grammar(self.grammar))
        _number("temperature", self.temperature, 0, 100)
        for name in ("top_p", "min_p"):
            _number(name, getattr(self, name), 0, 1)
        for name in ("presence_penalty", "frequency_penalty"):
            _number(name, getattr(self, name), -2, 2)
        _number("repetition_penalty", self.repetition_penalty, 0.01, 100)
        _integer("top_k", self.top_k, 0)
        if self.logprobs is not None:
            _integer("logprobs", self.logprobs, 0, MAX_ALTERNATIVES)
        if self.seed is not None:
            _integer("seed", self.seed)
        if self.max_tokens is not None:
            _integer("max_tokens", self.max_tokens, 1)
        if not all(isinstance(text, str) and text for text in self.stop):
            raise RequestError("stop must be non-empty strings", param="stop")
        for token in self.stop_tokens:
            _integer("stop_tokens", token, 0)
        if not isinstance(self.ignore_end, bool):
            raise RequestError(f"ignore_end must be true or false (got {self.ignore_end!r})", param="ignore_end")

    @property
    def penalises(self) -> bool:
        """Whether what was said before changes what comes next, beyond what the network makes of it."""
        return bool(self.presence_penalty or self.frequency_penalty) or self.repetition_penalty != 1

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Sampling:
        """Sampling from foreign names and values; an unknown name is answered with the nearest known one."""
        known = {f.name for f in fields(cls)}
        for name in values:
            if name not in known:
                close = nearest(name, known)
                hint = f"; did you mean '{close}'?" if close else ""
                raise RequestError(f"unknown sampling parameter '{name}'{hint}", param=name)
        return cls(**values)


def _grammar(value: object) -> Grammar | None:
    if value is None or isinstance(value, Grammar):
        return value
    if not isinstance(value, Mapping) or set(value) != {"kind", "text"}:
        words = f"a grammar is its kind and its text (got {value!r:.100})"
        raise RequestError(words, param="response_format")
    return Grammar(**value)


def _biases(value: object) -> tuple[tuple[int, float], ...]:
    pairs = list(value.items()) if isinstance(value, Mapping) else _several("logit_bias", value)
    if len(pairs) > MAX_BIASES:
        raise RequestError(f"logit_bias may name {MAX_BIASES:,} tokens (got {len(pairs):,})", param="logit_bias")
    found: dict[int, float] = {}
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise RequestError(f"logit_bias must be pairs of token id and bias (got {pair!r})", param="logit_bias")
        token, bias = pair
        _integer("logit_bias", token, 0)
        _number("logit_bias", bias, -100, 100)
        found[token] = bias
    return tuple(found.items())


def _several(name: str, values: object) -> tuple[Any, ...]:
    if not isinstance(values, (tuple, list, set, frozenset)):
        raise RequestError(f"{name} must be a list (got {values!r})", param=name)
    return tuple(values)


def _number(name: str, value: object, low: float, high: float) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high:  # type: ignore[operator]
        raise RequestError(f"{name} must be a number from {low:g} to {high:g} (got {value!r})", param=name)


def _integer(name: str, value: object, low: int | None = None, high: int | None = None) -> None:
    good = isinstance(value, int) and not isinstance(value, bool)
    if not good or (low is not None and value < low) or (high is not None and value > high):  # type: ignore[operator]
        bound = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"
        raise RequestError(f"{name} must be a whole number{bound} (got {value!r})", param=name)
