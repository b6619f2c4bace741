"""Byte-level and sentencepiece tokenizers: what goes in comes out, and nobody types a special token."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.specs import SpecError
from lindos.text import (
    SPECIAL_TOKENS,
    ByteLevelTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)
from tests.text.conftest import sentences

SENTENCE = "The answer to life the universe and everything is of course"
SENTENCE_TOKENS = [422, 3033, 356, 1180, 333, 9072, 360, 2175, 391, 359, 1805]
anything = st.text(max_size=80) | st.lists(st.sampled_from([*SPECIAL_TOKENS, " ", "é", "a", "\n", "<|"])).map("".join)


@pytest.fixture(scope="module")
def grok(shared: Path) -> Tokenizer:
    return load_tokenizer(shared / "golden" / "grok1-tokenizer.model")


def test_special_tokens_have_the_ids_weights_depend_on(tokenizer: ByteLevelTokenizer):
    assert [tokenizer.special(name) for name in SPECIAL_TOKENS] == list(range(16))
    assert SPECIAL_TOKENS[:8] == (
        "<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|source|>"
    )  # fmt: skip
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos) == (0, 1, 2)
    assert tokenizer.special("<|nobody|>") is None


@given(anything)
@settings(max_examples=150, deadline=None)
def test_byte_level_round_trip_without_specials(tokenizer: ByteLevelTokenizer, text: str):
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert all(token >= len(SPECIAL_TOKENS) for token in tokens)
    assert b"".join(map(tokenizer.token_bytes, tokens)) == text.encode()
    assert tokenizer.encode_batch([text, text]) == [tokens, tokens]


def test_specials_only_when_asked(tokenizer: ByteLevelTokenizer):
    assert 4 not in tokenizer.encode("hi <|user|> there")
    assert tokenizer.encode("<|user|>hi<|end|>", allow_special=True) == [4, *tokenizer.encode("hi"), 6]
    assert tokenizer.decode([1, *tokenizer.encode("hi"), 2]) == "hi"


def test_digits_stand_alone(tokenizer: ByteLevelTokenizer):
    assert len(tokenizer.encode("1987")) == 4


def test_lone_surrogates_do_not_crash(tokenizer: ByteLevelTokenizer):
    assert "?" in tokenizer.decode(tokenizer.encode("a\ud800b"))


def test_tokens_outside_are_refused(tokenizer: ByteLevelTokenizer):
    for token in (-1, tokenizer.vocabulary):
        with pytest.raises(SpecError, match="outside the vocabulary of 400"):
            tokenizer.token_bytes(token)


def test_training_is_repeatable_and_exact(tokenizer: ByteLevelTokenizer):
    again = train_tokenizer(sentences(400), 400)
    assert again.source == tokenizer.source
    assert again.vocabulary == 400


@pytest.mark.parametrize(("size", "said"), [(100, "too small"), (200_000, "give more text")])
def test_impossible_vocabularies(size: int, said: str):
    with pytest.raises(SpecError, match=said):
        train_tokenizer(["some text"], size)


def test_saved_and_loaded(tokenizer: ByteLevelTokenizer, tmp_path: Path):
    tokenizer.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path)
    assert again.encode(SENTENCE) == tokenizer.encode(SENTENCE)


def test_missing_tokenizer(tmp_path: Path):
    with pytest.raises(SpecError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_tokenizer_files_are_clear_errors(tokenizer: ByteLevelTokenizer, data: st.DataObject):
    source = tokenizer.source
    cut = data.draw(st.integers(0, len(source) - 1))
    put = data.draw(st.text(max_size=6))
    with contextlib.suppress(SpecError):
        ByteLevelTokenizer(source[:cut] + put + source[cut + len(put) + 1 :])


def test_text_that_the_library_takes_for_a_tokenizer_and_json_does_not_is_refused(tokenizer: ByteLevelTokenizer):
    source = tokenizer.source
    with pytest.raises(SpecError, match="cannot be used as a tokenizer"):
        ByteLevelTokenizer(source[:9] + "00" + source[12:])


@pytest.mark.parametrize("text", ["[]", "null", "[" * 9000, '{"model": {"type": "WordPiece"}}', '{"model": 3}', "{"])
def test_other_kinds_of_tokenizer_are_refused(text: str):
    with pytest.raises(SpecError):
        ByteLevelTokenizer(text)


def test_added_tokens_that_are_not_marked_special_stay_text(tokenizer: ByteLevelTokenizer):
    table = json.loads(tokenizer.source)
    for item in table["added_tokens"]:
        item["special"] = False
    foreign = ByteLevelTokenizer(json.dumps(table))
    assert 4 not in foreign.encode("<|user|>")


def test_grok_tokenizer_check_sentence(grok: Tokenizer):
    assert grok.encode(SENTENCE) == SENTENCE_TOKENS
    assert grok.decode(SENTENCE_TOKENS) == SENTENCE
    assert (grok.pad, grok.bos, grok.eos, grok.vocabulary) == (0, 1, 2, 131072)
    assert grok.special("<|separator|>") == 47
    assert not grok.starts_with_bos


@given(
    text=st.text(max_size=60)
    | st.lists(st.sampled_from(["<|separator|>", "<|mask|>", "[BOS]", " ", "a", "\n"])).map("".join)
)
@settings(max_examples=150, deadline=None)
def test_sentencepiece_round_trip_without_specials(grok: Tokenizer, text: str):
    tokens = grok.encode(text)
    assert grok.decode(tokens) == text
    assert not set(tokens) & {0, 1, 2, *range(47, 69)}


def test_sentencepiece_specials_when_asked(grok: Tokenizer):
    tokens = grok.encode("a<|separator|>b", allow_special=True)
    assert 47 in tokens
    assert grok.decode(tokens) == "ab"


def test_damaged_sentencepiece(tmp_path: Path):
    (tmp_path / "tokenizer.model").write_bytes(b"\x00\x01 no model")
    with pytest.raises(SpecError, match=r"tokenizer\.model"):
        load_tokenizer(tmp_path)


def test_of_two_forms_of_a_sentencepiece_model_the_one_that_can_be_read_is_taken(shared: Path, tmp_path: Path):
    foreign = '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}'
    (tmp_path / "tokenizer.json").write_text(foreign)
    with pytest.raises(SpecError, match="BPE, but not byte-level"):
        load_tokenizer(tmp_path)
    shutil.copy(shared / "golden" / "grok1-tokenizer.model", tmp_path / "tokenizer.model")
    assert load_tokenizer(tmp_path).encode(SENTENCE) == SENTENCE_TOKENS
    (tmp_path / "tokenizer.json").write_text("damaged")
    with pytest.raises(SpecError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_the_room_is_torch_free():
    code = "import sys, lindos.text; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_settings_for_training_batches_neither_cut_nor_fill_a_prompt(tokenizer):
    table = json.loads(tokenizer.source)
    table["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    table["padding"] = {
        "strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<|pad|>",
    }  # fmt: skip
    loaded = ByteLevelTokenizer(json.dumps(table))
    text = "The quick brown fox jumps over the lazy dog again and again."
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(loaded.encode(text)) == text


def test_added_words_are_text_and_marks_are_not_however_they_were_saved(tokenizer):
    table = json.loads(tokenizer.source)
    next_id = tokenizer.vocabulary
    for offset, content in enumerate(("        ", "<|extra|>")):
        table["added_tokens"].append(
            {"id": next_id + offset, "content": content, "special": False, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False}
        )  # fmt: skip
    loaded = ByteLevelTokenizer(json.dumps(table))
    assert next_id in loaded.encode("a" + " " * 8 + "b")
    assert loaded.token_bytes(next_id) == b" " * 8
    assert next_id + 1 not in loaded.encode("say <|extra|> now")
    assert loaded.encode("<|extra|>", allow_special=True) == [next_id + 1]
    assert loaded.token_bytes(next_id + 1) == b""


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a model"])
def test_sentencepiece_files_that_are_none(content):
    with pytest.raises(SpecError, match="cannot be used as a sentencepiece model"):
        SentencePieceTokenizer(content)
