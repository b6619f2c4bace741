"""What clients may send. The fields are OpenAI's; `top_k`, `min_p`, `repetition_penalty` and `priority` are additions
that most other servers have too, with vLLM's meaning; `persona` and `language` are ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from lindos.assistant import Grammar, Sampling
from lindos.server.strict import INTEGRAL, NEUTRAL, Strict
from lindos.server.v1.formats import ResponseFormat
from lindos.server.v1.messages import ChatMessage, Empty
from lindos.server.v1.tools import MAX_TOOLS, ChatTool, ChatToolChoice
from lindos.server.v1.values import (
    Alternatives,
    Biases,
    Label,
    Language,
    ModelName,
    No,
    Nothing,
    One,
    Penalty,
    PersonaName,
    Share,
    Stop,
    Temperature,
    Tokens,
    without_gone,
)

MAX_CHOICES = 4
MAX_PROMPTS = 16


class StreamOptions(Strict):
    """What a stream carries beside its text."""

    include_usage: bool | None = None
    """Whether a last chunk with `choices: []` tells the tokens used."""
    include_obfuscation: Annotated[No | None, NEUTRAL] = None


class Request(Strict):
    """What chat completions and completions share."""

    model: ModelName
    """`lindos` is the assistant, any other name the bare model."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31), INTEGRAL] | None = None
    """Keep this many of the likeliest tokens; 0 keeps all."""
    min_p: Share | None = None
    """Keep the tokens with at least this part of the likeliest one's probability; 0 keeps all."""
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    """Logits of tokens of prompt and answer are divided by it where positive, else multiplied; 1 changes nothing."""
    logit_bias: Biases | None = None
    """Added to the logits of tokens, by their ids."""
    response_format: ResponseFormat | None = None
    """What the answer has to look like: it is held to it token by token, but may be cut by a limit."""
    priority: Annotated[int, Field(ge=-100, le=100), INTEGRAL] | None = None
    """Lower goes first, and takes the place of higher ones where there is none; 0 where nothing is said."""
    seed: Annotated[int, Field(ge=-9223372036854776000, le=9223372036854776000), INTEGRAL] | None = None
    stop: Stop | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES), INTEGRAL] | None = None
    max_tokens: Tokens | None = None
    user: Label | None = None
    """A label of the caller's own: those with different ones get even shares when the engine is busy."""
    persona: PersonaName | None = None
    """How the assistant speaks."""
    language: Language | None = None
    """What the assistant answers in, by its code, e.g. `fr`; otherwise as it is asked."""

    @model_validator(mode="before")
    @classmethod
    def _gone(cls, data: Any) -> Any:
        return without_gone(data)

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            words = "stream_options is only for streams: set stream to true, or leave it out"
            raise PydanticCustomError("invalid_parameter", words, {"param": "stream_options"})
        return self

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    @property
    def answers(self) -> int:
        """Answers in all: `choices` of them to the first prompt, then to the next."""
        return self.choices

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def urgency(self) -> int:
        """As the engine has it, where higher goes first."""
        return -(self.priority or 0)

    @property
    def label(self) -> str | None:
        """The caller's name for whom it is."""
        return self.user

    @property
    def alternatives(self) -> int | None:
        """How many likeliest tokens are listed beside each token; None: no log probabilities."""
        raise NotImplementedError

    @property
    def bare_only(self) -> list[str]:
        """Parameters in use that the assistant has not: its answers are not the model's tokens one by one."""
        return ["logit_bias"] if self.logit_bias else []

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def format(self) -> Grammar | None:
        """What the answer has to look like."""
        return self.response_format.grammar_of() if self.response_format else None

    def sampling(self, choice: int, temperature: float, max_tokens: int | None, grammar: Grammar | None) -> Sampling:
        """How choice number `choice` is sampled; a seed gives every choice its own."""
        return Sampling(
            temperature=temperature if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            min_p=self.min_p or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            logprobs=self.alternatives,
            grammar=grammar,
            seed=None if self.seed is None else self.seed + choice,
            stop=self.stops,
            max_tokens=max_tokens,
        )


class ChatRequest(Request):
    """A conversation to be continued by the assistant."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Tokens | None = None
    """The newer name of max_tokens; where both are given, the smaller counts."""
    safety_identifier: Label | None = None
    """The newer name of user."""
    logprobs: bool | None = None
    """Whether the log probability of every token is told, in the model's own distribution."""
    top_logprobs: Alternatives | None = None
    """How many likeliest tokens are told beside each token; wants `logprobs`."""
    tools: Annotated[list[ChatTool], Field(max_length=MAX_TOOLS)] | None = None
    """Functions that the model may have called, and the assistant's search for posts."""
    tool_choice: ChatToolChoice | None = None
    """none, auto (where there are tools), required, or the one to be used."""
    parallel_tool_calls: bool | None = None
    """Whether an answer may have several calls; it may unless this is false."""
    prompt_cache_key: Label | None = None
    """A label of the caller's own; it changes nothing."""

    audio: Annotated[None, NEUTRAL] = None
    function_call: Annotated[Literal["none", "auto"] | None, NEUTRAL] = None
    functions: Annotated[Empty | None, NEUTRAL] = None
    metadata: Annotated[Nothing | None, NEUTRAL] = None
    modalities: Annotated[Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None, NEUTRAL] = None
    moderation: Annotated[None, NEUTRAL] = None
    prediction: Annotated[None, NEUTRAL] = None
    prompt_cache_options: Annotated[None, NEUTRAL] = None
    prompt_cache_retention: Annotated[None, NEUTRAL] = None
    reasoning_effort: Annotated[Literal["none"] | None, NEUTRAL] = None
    service_tier: Annotated[Literal["auto", "default"] | None, NEUTRAL] = None
    store: Annotated[No | None, NEUTRAL] = None
    verbosity: Annotated[None, NEUTRAL] = None
    web_search_options: Annotated[None, NEUTRAL] = None

    @model_validator(mode="after")
    def _alternatives_of_logprobs(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            words = "top_logprobs wants logprobs: set logprobs to true, or leave it out"
            raise PydanticCustomError("invalid_parameter", words, {"param": "top_logprobs"})
        return self

    @property
    def bare_only(self) -> list[str]:
        return [*(["logprobs"] if self.logprobs else []), *super().bare_only]

    @property
    def label(self) -> str | None:
        return self.safety_identifier or self.user

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def limit(self) -> int | None:
        """Longest answer in tokens; None: as long as the context."""
        return min((n for n in (self.max_tokens, self.max_completion_tokens) if n is not None), default=None)


class CompletionRequest(Request):
    """A raw text to be continued, or several, each on its own."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
    logprobs: Alternatives | None = None
    """How many likeliest tokens are told beside each token and its log probability, in the model's own distribution."""
    best_of: Annotated[One | None, NEUTRAL] = None
    echo: Annotated[No | None, NEUTRAL] = None
    suffix: Annotated[None, NEUTRAL] = None

    @property
    def bare_only(self) -> list[str]:
        return [*(["logprobs"] if self.logprobs is not None else []), *super().bare_only]

    @property
    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def answers(self) -> int:
        return len(self.prompts) * self.choices

    @property
    def alternatives(self) -> int | None:
        return self.logprobs

    @property
    def limit(self) -> int:
        """Longest text in tokens; OpenAI's default for completions is 16."""
        return self.max_tokens or 16
