"""From what callers hand in to requests, and what they are told when it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.engine import RequestError, Sampling
from lindos.engine.prompts import PromptBuilder
from lindos.specs import Message
from lindos.text import ChatTemplate, Tokenizer, chat_template, load_tokenizer

CONTEXT = 64


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


@pytest.fixture(scope="module")
def template(tokenizer: Tokenizer) -> ChatTemplate:
    return chat_template(tokenizer, "chat")


@pytest.fixture(scope="module")
def builder(tokenizer: Tokenizer, template: ChatTemplate) -> PromptBuilder:
    return PromptBuilder(vocabulary=512, context=CONTEXT, tokenizer=tokenizer, template=template)


def turns(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    """User and assistant in turn, after the system's words."""
    start = [] if system is None else [{"role": "system", "content": system}]
    return start + [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]


def test_each_kind_of_prompt(builder: PromptBuilder, tokenizer: Tokenizer, template: ChatTemplate) -> None:
    raw = builder.build(1, {"text": "the sun"}, {})
    assert raw.tokens == [tokenizer.bos, *tokenizer.encode("the sun")]
    assert builder.build(2, {"tokens": [5, 511]}, {}).tokens == [5, 511]
    chat = builder.build(3, {"messages": turns("hello")}, {})
    assert chat.tokens == template.prompt([Message(role="user", content="hello")])
    assert chat.stop_tokens == template.stop_tokens


def test_limits(builder: PromptBuilder) -> None:
    assert builder.build(1, {"tokens": [5] * 60}, {}).limit == 4
    assert builder.build(1, {"tokens": [5] * 60}, {"max_tokens": 3}).limit == 3
    assert builder.build(1, {"tokens": [5] * 63}, {"max_tokens": 3}).limit == 1


def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(builder: PromptBuilder) -> None:
    with pytest.raises(RequestError, match=r"has 70 tokens.*holds 64.*at least 7$") as caught:
        builder.build(1, {"tokens": [5] * 70}, {})
    assert caught.value.param == "prompt"
    with pytest.raises(RequestError, match="shorten it") as caught:
        builder.build(1, {"messages": turns("the sun rises in the east and sets in the west " * 20)}, {})
    assert caught.value.param == "messages"


def test_the_oldest_turns_are_dropped_when_asked(builder: PromptBuilder, template: ChatTemplate) -> None:
    talk = turns(*[f"message number {n} about the sea" for n in range(9)], system="Be brief.")
    with pytest.raises(RequestError):
        builder.build(1, {"messages": talk}, {})
    request = builder.build(1, {"messages": talk, "truncate": "oldest"}, {"max_tokens": 10})
    assert 0 < request.dropped < 9
    kept = [Message.parse(turn) for turn in [talk[0], *talk[1 + request.dropped :]]]
    assert request.tokens == template.prompt(kept)
    assert kept[1].role == "user"
    assert kept[-1].content == talk[-1]["content"]
    assert len(request.tokens) + 10 <= CONTEXT
    # No fewer would have done.
    more = [Message.parse(turn) for turn in [talk[0], *talk[1 + request.dropped - 2 :]]]
    assert len(template.prompt(more)) + 10 > CONTEXT


def test_a_last_turn_that_is_too_long_is_refused_even_so(builder: PromptBuilder) -> None:
    talk = turns("short", "short", "the sun rises in the east and sets in the west " * 20)
    with pytest.raises(RequestError, match="shorten it"):
        builder.build(1, {"messages": talk, "truncate": "oldest"}, {})


def test_a_conversation_that_fits_is_left_alone(builder: PromptBuilder) -> None:
    assert builder.build(1, {"messages": turns("hi", "yes?", "why"), "truncate": "oldest"}, {}).dropped == 0


def test_base_models_get_labelled_turns(tokenizer: Tokenizer) -> None:
    template = chat_template(tokenizer, "base")
    builder = PromptBuilder(vocabulary=512, context=256, tokenizer=tokenizer, template=template)
    request = builder.build(1, {"messages": turns("hello")}, {"stop": ["x"]})
    assert "".join(map(request.output.push, tokenizer.encode(" Well.\nUser: no"))) == "Well."
    assert request.output.stopped


def test_a_model_without_tokenizer_takes_ids_only() -> None:
    builder = PromptBuilder(vocabulary=512, context=CONTEXT, tokenizer=None, template=None)
    assert builder.build(1, {"tokens": [1, 2]}, {}).tokens == [1, 2]
    for prompt in ({"text": "x"}, {"messages": turns("x")}):
        with pytest.raises(RequestError, match="no tokenizer"):
            builder.build(1, prompt, {})
    with pytest.raises(RequestError, match="no tokenizer"):
        builder.build(1, {"tokens": [1]}, {"stop": ["x"]})
    with pytest.raises(RequestError, match="no tokenizer"):
        builder.build(1, {"tokens": [1]}, {"grammar": {"kind": "regex", "text": "a"}})


@pytest.mark.parametrize(
    ("prompt", "sampling", "words"),
    [
        ({"tokens": []}, {}, "empty"),
        ({"tokens": [512]}, {}, "from 0 to 511"),
        ({"tokens": [True]}, {}, "from 0 to 511"),
        ({"tokens": "12"}, {}, "list of ids"),
        ({"text": 5}, {}, "must be a string"),
        ({"text": "a\ud800"}, {}, "lone surrogate"),
        ({"messages": []}, {}, "at least one"),
        ({"messages": [{"role": "king", "content": "x"}]}, {}, r"messages\[0\]"),
        ({"messages": [{"role": "user", "content": "x", "mood": 1}]}, {}, "unknown field"),
        ({"messages": [{"role": "user", "content": "x\udfff"}]}, {}, "lone surrogate"),
        ({"messages": [{"role": "user", "content": "x"}], "truncate": "some"}, {}, "truncate"),
        ({"tokens": [1]}, {"temprature": 1}, "did you mean 'temperature'"),
        ({"tokens": [1]}, {"temperature": float("nan")}, "temperature"),
        ({"tokens": [1]}, {"temperature": -1}, "temperature"),
        ({"tokens": [1]}, {"top_p": -0.5}, "top_p"),
        ({"tokens": [1]}, {"temperature": 10**400}, "temperature"),
        ({"tokens": [1]}, {"top_k": -1}, "top_k"),
        ({"tokens": [1]}, {"max_tokens": 0}, "max_tokens"),
        ({"tokens": [1]}, {"seed": 1.5}, "seed"),
        ({"tokens": [1]}, {"stop": [""]}, "stop"),
        ({"tokens": [1]}, {"stop_tokens": ["a"]}, "stop_tokens"),
        ({"tokens": [1]}, {"min_p": 1.1}, "min_p"),
        ({"tokens": [1]}, {"presence_penalty": 3}, "presence_penalty"),
        ({"tokens": [1]}, {"frequency_penalty": "1"}, "frequency_penalty"),
        ({"tokens": [1]}, {"repetition_penalty": 0}, "repetition_penalty"),
        ({"tokens": [1]}, {"logprobs": 21}, "logprobs"),
        ({"tokens": [1]}, {"logit_bias": [[1, 101]]}, "logit_bias"),
        ({"tokens": [1]}, {"logit_bias": [[512, 1]]}, "logit_bias: token ids run from 0 to 511"),
        ({"tokens": [1]}, {"logit_bias": [[n, 1] for n in range(1025)]}, "logit_bias"),
        ({"tokens": [1]}, {"grammar": {"kind": "king", "text": "x"}}, "kind is one of json_schema, regex, lark"),
        ({"tokens": [1]}, {"grammar": {"kind": "regex", "text": ""}}, "not empty"),
        ({"tokens": [1]}, {"grammar": {"kind": "regex", "text": "a" * 65537}}, "65,536 characters"),
        ({"tokens": [1]}, {"grammar": {"kind": "regex", "text": "\ud800"}}, "regular expression cannot be used"),
    ],
)
def test_refusals_say_what_is_wrong(
    builder: PromptBuilder, prompt: dict[str, Any], sampling: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        builder.build(1, prompt, sampling)
    for name in sampling:
        assert caught.value.param == ("response_format" if name == "grammar" else name)


def test_how_it_is_scheduled_is_checked(builder: PromptBuilder) -> None:
    request = builder.build(1, {"tokens": [1]}, {}, priority=-3, client="ann")
    assert (request.priority, request.client) == (-3, "ann")
    for ways in ({"priority": 1.5}, {"priority": True}, {"client": None}):
        with pytest.raises(RequestError) as caught:
            builder.build(1, {"tokens": [1]}, {}, **ways)
        assert caught.value.param in ways


ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(-2, 600))
)
TURNS = st.lists(st.dictionaries(st.sampled_from(["role", "content", "x"]), ANYTHING | st.just("user")) | ANYTHING)


@given(
    prompt=st.dictionaries(st.sampled_from(["text", "tokens", "messages", "truncate"]), ANYTHING | TURNS),
    sampling=st.dictionaries(st.sampled_from(sorted(Sampling.__dataclass_fields__)), ANYTHING),
)
def test_any_input_is_a_request_or_a_request_error(
    builder: PromptBuilder, prompt: dict[str, Any], sampling: dict[str, Any]
) -> None:
    try:
        request = builder.build(1, prompt, sampling)
    except RequestError:
        return
    assert 1 <= len(request.tokens) <= CONTEXT - request.limit
