"""The tokenizer inside a GGUF file: what goes in comes out, with all else a file of others may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from lindos.model.formats import FormatError, convert, open_source, save_model
from lindos.text import MetaspaceTokenizer, SentencePieceTokenizer, Tokenizer, load_tokenizer
from lindos.text.piecemodel import PieceModel
from tests.model.checkpoints import random_model
from tests.model.gguffiles import SPECS, VOCABULARY, rewritten, saved, tokenizer_in, without_whole
from tests.text.conftest import sentences
from tests.text.families import as_table, sentencepiece_model

GGML = "tokenizer.ggml."
TEXTS = [*sentences(30, seed=9), "", " ", "a  b\n\n c\t1234", "<|user|> <s> [INST]", "naïve 東京 \x00 🙂"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {kind: saved(folder, kind) for kind in SPECS}


def value(path: Path, key: str) -> Any:
    field = GGUFReader(path).fields.get(key)
    return None if field is None else field.contents()


def same_tokenizer(one: Tokenizer, other: Tokenizer) -> None:
    assert (one.bos, one.eos, one.pad) == (other.bos, other.eos, other.pad)
    assert one.vocabulary == other.vocabulary
    for text in TEXTS:
        for allowed in (False, True):
            assert one.encode(text, allow_special=allowed) == other.encode(text, allow_special=allowed), text
    assert all(one.token_bytes(token) == other.token_bytes(token) for token in range(one.vocabulary))


@pytest.mark.parametrize("kind", SPECS)
def test_it_comes_back(sources: dict[str, Path], tmp_path: Path, kind: str):
    convert(sources[kind], tmp_path / "it.gguf", to="gguf", dtype="f16", verify=False)
    convert(tmp_path / "it.gguf", tmp_path / "back", verify=False)
    same_tokenizer(load_tokenizer(sources[kind]), load_tokenizer(tmp_path / "back"))
    if (sources[kind] / "tokenizer.json").is_file():
        assert (tmp_path / "back/tokenizer.json").read_bytes() == (sources[kind] / "tokenizer.json").read_bytes()


def test_sentencepiece_keys(sources: dict[str, Path], tmp_path: Path):
    convert(sources["llama"], path := tmp_path / "it.gguf", to="gguf", dtype="f16", verify=False)
    model = PieceModel.parse((sources["llama"] / "tokenizer.model").read_bytes())
    assert value(path, f"{GGML}model") == "llama"
    tokens, kinds = value(path, f"{GGML}tokens"), value(path, f"{GGML}token_type")
    assert tokens[:400] == [piece.text for piece in model.pieces]
    assert (tokens[400:], kinds[400:]) == ([f"[PAD{token}]" for token in range(400, VOCABULARY)], [5] * 8)
    assert kinds[:5] == [2, 3, 3, 6, 6]  # <unk>, <s>, </s>, then bytes
    assert value(path, f"{GGML}scores")[399] == pytest.approx(model.pieces[399].score)
    assert (value(path, f"{GGML}bos_token_id"), value(path, f"{GGML}eos_token_id")) == (1, 2)
    assert value(path, f"{GGML}add_bos_token") is True
    assert value(path, "tokenizer.chat_template") is None


def test_byte_level_keys(sources: dict[str, Path], tmp_path: Path):
    convert(sources["qwen3moe"], path := tmp_path / "it.gguf", to="gguf", dtype="f16", verify=False)
    table = json.loads((sources["qwen3moe"] / "tokenizer.json").read_text())
    assert (value(path, f"{GGML}model"), value(path, f"{GGML}pre")) == ("gpt2", "qwen2")
    assert value(path, f"{GGML}merges") == [" ".join(pair) for pair in table["model"]["merges"]]
    assert value(path, f"{GGML}token_type")[:17] == [3] * 16 + [1]
    assert value(path, f"{GGML}padding_token_id") == 0
    assert "<|assistant|>" in value(path, "tokenizer.chat_template")  # a chat model's with Lindos's own marks
    convert(sources["grok-2"], other := tmp_path / "other.gguf", to="gguf", dtype="f16", verify=False)
    assert value(other, f"{GGML}pre") == "qwen2"  # the nearest to a way that has no name there


@pytest.mark.parametrize("kind", ["llama", "qwen3moe"])
def test_it_is_rebuilt_from_keys_alone(sources: dict[str, Path], tmp_path: Path, kind: str):
    convert(sources[kind], tmp_path / "it.gguf", to="gguf", dtype="f16", verify=False)
    without_whole(tmp_path / "it.gguf", tmp_path / "bare.gguf")
    convert(tmp_path / "bare.gguf", tmp_path / "back", verify=False)
    built, original = load_tokenizer(tmp_path / "back"), load_tokenizer(sources[kind])
    if kind == "qwen3moe":  # Qwen's normalises to NFC, which changes nothing of these texts
        assert '"NFC"' in (tmp_path / "back/tokenizer.json").read_text()
    same_tokenizer(built, original)
    assert open_source(tmp_path / "bare.gguf").spec.kind == ("chat" if kind == "qwen3moe" else "base")


def test_a_unigram_model_with_a_normaliser(tmp_path: Path):
    model = sentencepiece_model(
        vocab_size=330, model_type="unigram", normalization_rule_name="nmt_nfkc", remove_extra_whitespaces=True,
        user_defined_symbols=["<|mark|>", "foo"],
    )  # fmt: skip
    (tmp_path / "tokenizer.model").write_bytes(model)
    save_model(random_model(SPECS["llama"]), tmp_path / "src", tokenizer=tmp_path)
    convert(tmp_path / "src", tmp_path / "it.gguf", to="gguf", dtype="f16", verify=False)
    assert value(tmp_path / "it.gguf", f"{GGML}model") == "t5"
    convert(tmp_path / "it.gguf", tmp_path / "back", verify=False)
    same_tokenizer(SentencePieceTokenizer(model), load_tokenizer(tmp_path / "back"))
    assert PieceModel.parse((tmp_path / "back/tokenizer.model").read_bytes()) == PieceModel.parse(model)


def test_sentencepieces_kind_in_a_json_has_its_merges_as_scores(tmp_path: Path):
    model = sentencepiece_model()
    (tmp_path / "tokenizer.json").write_text(as_table(model))
    save_model(random_model(SPECS["llama"]), tmp_path / "src", tokenizer=tmp_path / "tokenizer.json")
    convert(tmp_path / "src", tmp_path / "it.gguf", to="gguf", dtype="f16", verify=False)
    convert(tmp_path / "it.gguf", tmp_path / "back", verify=False)
    assert isinstance(load_tokenizer(tmp_path / "back"), MetaspaceTokenizer)
    convert(without_whole(tmp_path / "it.gguf", tmp_path / "bare.gguf"), tmp_path / "built", verify=False)
    built, original = load_tokenizer(tmp_path / "built"), SentencePieceTokenizer(model)
    assert isinstance(built, SentencePieceTokenizer)
    same_tokenizer(built, original)


def test_a_chat_template_goes_along_both_ways(tmp_path: Path, sources: dict[str, Path]):
    convert(sources["llama"], tmp_path / "theirs", to="mixtral", verify=False)
    (tmp_path / "theirs/tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    convert(tmp_path / "theirs", tmp_path / "it.gguf", to="gguf", dtype="f16", verify=False)
    assert value(tmp_path / "it.gguf", "tokenizer.chat_template") == "{{ messages }}"
    convert(tmp_path / "it.gguf", tmp_path / "again.gguf", to="gguf", verify=False)
    assert value(tmp_path / "again.gguf", "tokenizer.chat_template") == "{{ messages }}"
    assert value(tmp_path / "again.gguf", f"{GGML}scores") == value(tmp_path / "it.gguf", f"{GGML}scores")
    convert(tmp_path / "again.gguf", tmp_path / "back", to="mixtral", verify=False)
    assert (tmp_path / "back/chat_template.jinja").read_text() == "{{ messages }}"


def test_a_tokenizer_by_option_and_none_at_all(sources: dict[str, Path], tmp_path: Path):
    save_model(random_model(SPECS["llama"]), tmp_path / "bare")
    convert(tmp_path / "bare", tmp_path / "none.gguf", to="gguf", dtype="f16", verify=False)
    assert value(tmp_path / "none.gguf", f"{GGML}model") == "no_vocab"
    convert(tmp_path / "none.gguf", tmp_path / "back", verify=False)
    assert not list((tmp_path / "back").glob("tokenizer*"))
    given = tokenizer_in(tmp_path / "given", "llama")
    for source, name in ((tmp_path / "bare", "one"), (tmp_path / "none.gguf", "two")):
        convert(source, tmp_path / f"{name}.gguf", to="gguf", dtype="f16", tokenizer=given, verify=False)
        assert value(tmp_path / f"{name}.gguf", f"{GGML}model") == "llama"
        convert(source, tmp_path / name, tokenizer=given / "tokenizer.model", verify=False)
        assert (tmp_path / name / "tokenizer.model").read_bytes() == (given / "tokenizer.model").read_bytes()


@pytest.mark.parametrize(
    ("keys", "drop", "said"),
    [
        ({f"{GGML}model": "bert"}, (), "'bert' is no kind"),
        ({f"{GGML}pre": "falcon"}, (), "'falcon' is not one that can be rebuilt"),
        ({}, (f"{GGML}merges",), "ggml.merges is not the list"),
        ({f"{GGML}token_type": [1, 2]}, (), "ggml.token_type is not the list"),
        ({f"{GGML}tokens": ["x"] * 9000}, (f"{GGML}token_type",), "9,000 tokens, the model only"),
        ({f"{GGML}merges": ["a b", "c"]}, (), "cannot be used as a tokenizer"),
        ({"tokenizer.huggingface.json": "{"}, (), "cannot be used as a tokenizer"),
    ],
)
def test_tokenizers_that_cannot_be_rebuilt_are_refused(
    sources: dict[str, Path], tmp_path: Path, keys: dict[str, Any], drop: tuple[str, ...], said: str
):
    convert(sources["qwen3moe"], tmp_path / "it.gguf", to="gguf", dtype="f16", verify=False)
    bad = rewritten(tmp_path / "it.gguf", tmp_path / "bad.gguf", keys, ("tokenizer.huggingface.json", *drop))
    with pytest.raises(FormatError, match=said) as error:
        convert(bad, tmp_path / "out")
    assert str(error.value).startswith(f"{bad}: ")
    assert "--tokenizer" in str(error.value) or "the model only" in said
    assert not (tmp_path / "out").exists()
    given = tokenizer_in(tmp_path / "given", "llama")
    convert(bad, tmp_path / "out", tokenizer=given, verify=False)
    assert load_tokenizer(tmp_path / "out").vocabulary == 400
