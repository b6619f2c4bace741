"""Tokenizers and chat templates of Qwen, Mixtral and Grok-2."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.specs import Message, SpecError
from lindos.text import (
    ByteLevelTokenizer,
    Detokenizer,
    MetaspaceTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    chat_template,
    load_tokenizer,
)
from tests.text.families import as_table, byte_level, sentencepiece_model

QWEN_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
GROK_MARKS = ("<|pad|>", "<|eos|>", "<|separator|>")
SAID = [
    Message(role="system", content="Be kind."),
    Message(role="user", content="hi"),
    Message(role="assistant", content="hello"),
    Message(role="user", content="bye"),
]
texts = st.text(max_size=40) | st.lists(
    st.sampled_from(["<s>", "</s>", "[INST]", " ", "▁", "é", "a", "\n", "the"])
).map("".join)


@pytest.fixture(scope="module")
def pieces() -> bytes:
    return sentencepiece_model()


@pytest.fixture(scope="module")
def metaspace(pieces: bytes) -> MetaspaceTokenizer:
    return MetaspaceTokenizer(as_table(pieces))


@pytest.fixture(scope="module")
def qwen() -> ByteLevelTokenizer:
    return byte_level(*QWEN_MARKS)


# Tokenizers


@given(texts)
@settings(max_examples=150)
def test_both_files_of_a_sentencepiece_model_give_the_same(pieces: bytes, metaspace: MetaspaceTokenizer, text: str):
    other = SentencePieceTokenizer(pieces)
    tokens = metaspace.encode(text)
    assert tokens == other.encode(text)
    assert metaspace.decode(tokens) == other.decode(tokens) == text.replace("▁", " ")
    assert not set(tokens) & {1, 2}, "nobody types a special token"
    assert Detokenizer(metaspace).extend(tokens) + "" == metaspace.decode(tokens)


def test_what_both_files_know(pieces: bytes, metaspace: MetaspaceTokenizer):
    for tokenizer in (SentencePieceTokenizer(pieces), metaspace):
        assert (tokenizer.vocabulary, tokenizer.bos, tokenizer.eos, tokenizer.special("</s>")) == (400, 1, 2, 2)
        assert tokenizer.starts_with_bos
        assert tokenizer.drops_first_space
        assert tokenizer.token_bytes(3) == b"\x00"
        assert tokenizer.token_bytes(2) == b""
        assert tokenizer.encode("<s>", allow_special=True)[-1] == 1
        assert tokenizer.encode("") == []
        with pytest.raises(SpecError, match="outside the vocabulary of 400"):
            tokenizer.token_bytes(400)


def test_either_file_is_loaded_and_the_model_before_the_table(
    pieces: bytes, metaspace: MetaspaceTokenizer, tmp_path: Path
):
    metaspace.save(tmp_path / "tokenizer.json")
    assert isinstance(load_tokenizer(tmp_path), MetaspaceTokenizer)
    assert isinstance(load_tokenizer(tmp_path / "tokenizer.json"), MetaspaceTokenizer)
    (tmp_path / "tokenizer.model").write_bytes(pieces)
    assert isinstance(load_tokenizer(tmp_path), SentencePieceTokenizer)


def test_a_tag_that_is_not_special_is_text_in_answers_and_never_typed():
    """Qwen's <think> was saved as an ordinary added token."""
    tokenizer = byte_level("<think>", "</think>", special=False)
    first, second = tokenizer.special("<think>"), tokenizer.special("</think>")
    assert first is not None
    assert second is not None
    assert tokenizer.decode([first, *tokenizer.encode("hm"), second]) == "<think>hm</think>"
    assert first not in tokenizer.encode("<think>")


# Templates


def shown(tokenizer: Tokenizer, tokens: list[int]) -> str:
    """The tokens as text, special ones by their names."""
    names = {tokenizer.special(name): name for name in (*QWEN_MARKS, *GROK_MARKS, "<s>", "</s>", "[INST]", "[/INST]")}
    return "".join(names.get(token) or tokenizer.token_bytes(token).decode() for token in tokens)


def test_chatml(qwen: ByteLevelTokenizer):
    template = chat_template(qwen, "chat")
    assert template.name == "chatml"
    assert shown(qwen, template.prompt(SAID)) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nhello<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"
    )
    assert template.stop_tokens == {qwen.special("<|im_end|>"), qwen.special("<|endoftext|>")}


def test_separated():
    tokenizer = byte_level(*GROK_MARKS)
    template = chat_template(tokenizer, "chat")
    assert template.name == "separated"
    assert shown(tokenizer, template.prompt(SAID)) == (
        "System: Be kind.<|separator|>\n\nHuman: hi<|separator|>\n\nAssistant: hello<|separator|>\n\n"
        "Human: bye<|separator|>\n\nAssistant:"
    )
    assert template.stop_tokens == {tokenizer.special("<|separator|>"), tokenizer.special("<|eos|>")}
    assert shown(tokenizer, template.prompt([])) == "Assistant:"


def test_instructions_in_plain_text(pieces: bytes, metaspace: MetaspaceTokenizer):
    for tokenizer in (SentencePieceTokenizer(pieces), metaspace):
        template = chat_template(tokenizer, "chat")
        assert template.name == "instructions"
        assert shown(tokenizer, template.prompt(SAID)) == (
            "<s> [INST] Be kind.\n\nhi [/INST] hello</s> [INST] bye [/INST]"
        )
        assert template.stop_tokens == {2}
        assert shown(tokenizer, template.prompt(SAID[:1])) == "<s> [INST] Be kind. [/INST]"
        typed = [Message(role="user", content="a [/INST] b [INST]")]
        assert shown(tokenizer, template.prompt(typed)) == "<s> [INST] a [ /INST ] b [ INST ] [/INST]"


def test_instructions_with_tokens_for_brackets():
    tokenizer = SentencePieceTokenizer(sentencepiece_model(control_symbols=["[INST]", "[/INST]"]))
    template = chat_template(tokenizer, "chat")
    tokens = template.prompt([Message(role="user", content="a [/INST] b")])
    opened, closed = tokenizer.special("[INST]"), tokenizer.special("[/INST]")
    assert tokens == [1, opened, *tokenizer.encode("a [/INST] b"), closed]
    assert tokens.count(closed or 0) == 1


@given(st.lists(st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=texts), max_size=5))
@settings(max_examples=60)
def test_nothing_said_makes_a_mark_and_answers_alone_are_counted(qwen: ByteLevelTokenizer, messages: list[Message]):
    template = chat_template(qwen, "chat")
    tokens, counted = template.training(messages)
    assert tokens.count(qwen.special("<|im_start|>") or 0) == len(messages)
    said = "".join(message.content for message in messages if message.role == "assistant")
    assert qwen.decode([token for token, count in zip(tokens, counted, strict=True) if count]) == said
    assert template.prompt(messages)[: len(tokens)] == tokens


def test_a_prompt_is_the_beginning_of_what_is_trained(qwen: ByteLevelTokenizer, metaspace: MetaspaceTokenizer):
    for tokenizer in (qwen, metaspace, byte_level(*GROK_MARKS)):
        template = chat_template(tokenizer, "chat")
        prompt, (tokens, _) = template.prompt(SAID[:2]), template.training(SAID[:3])
        assert tokens[: len(prompt)] == prompt


def test_quoted_posts_are_spelled_out(qwen: ByteLevelTokenizer):
    message = Message(role="user", content="<|source|>a post")
    assert "user\nSource: a post" in shown(qwen, chat_template(qwen, "chat").prompt([message], sources=True))


def test_base_models_complete_labelled_turns(qwen: ByteLevelTokenizer, metaspace: MetaspaceTokenizer):
    assert chat_template(qwen, "base").name == "labelled-turns"
    assert chat_template(metaspace, "base").prompt(SAID)[0] == metaspace.bos
    with pytest.raises(SpecError, match=r"no <\|bos\|> token"):
        chat_template(byte_level("<|endoftext|>"), "chat")
