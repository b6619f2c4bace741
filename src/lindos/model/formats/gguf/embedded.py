"""The tokenizer that a GGUF file carries, as the files of a model directory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lindos.model.formats.companions import check_tokenizer
from lindos.model.formats.gguf.description import TEMPLATE_KEY
from lindos.model.formats.gguf.header import Header, ListRef
from lindos.model.formats.gguf.tokenizers import GGML, PATTERNS, USER_DEFINED_KEY, WHOLE_KEY
from lindos.model.formats.source import FormatError
from lindos.text.piecemodel import CONTROL, NORMAL, UNUSED, USER_DEFINED, Piece, PieceModel

TEMPLATE = "chat_template.jinja"
_NONE = ("no_vocab", "none")
_ADVICE = "name one with --tokenizer"


def embedded_files(header: Header, vocabulary: int) -> dict[str, bytes]:
    """`tokenizer.json` or `tokenizer.model`, and `chat_template.jinja`, by name and content, as far as there are any.

    Raises FormatError for a tokenizer that is damaged, of a kind that cannot be rebuilt, or larger than the model.
    """
    found = _tokenizer(header, vocabulary)
    for name, content in found.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(content)
            try:
                check_tokenizer(Path(folder) / name, vocabulary)
            except FormatError as error:
                what = str(error).removeprefix(f"{Path(folder) / name}: ")
                raise FormatError(f"{header.path}: its tokenizer {what}; {_ADVICE}") from None
    template = header.metadata.get(TEMPLATE_KEY)
    if isinstance(template, str) and template:
        found[TEMPLATE] = template.encode()
    return found


def passed_keys(header: Header) -> dict[str, Any]:
    """All keys of the tokenizer, to be written again."""
    return {key: _value(value) for key, value in header.metadata.items() if key.startswith("tokenizer.")}


def _value(value: Any) -> Any:
    if not isinstance(value, ListRef):
        return value
    found = value.values()
    return bytes(number & 0xFF for number in found) if value.type in (0, 1) else found


def _tokenizer(header: Header, vocabulary: int) -> dict[str, bytes]:
    whole = header.metadata.get(WHOLE_KEY)
    if isinstance(whole, str):
        return {"tokenizer.json": whole.encode()}
    kind = header.metadata.get(f"{GGML}model", _NONE[0])
    if kind in _NONE:
        return {}
    if kind in ("llama", "t5"):
        return {"tokenizer.model": _pieces(header, kind, vocabulary)}
    if kind == "gpt2":
        return {"tokenizer.json": _byte_level(header, vocabulary).encode()}
    raise FormatError(
        f"{header.path}: {GGML}model = {kind!r:.60} is no kind of tokenizer that can be rebuilt; {_ADVICE}"
    )


def _list(header: Header, key: str, kind: type, count: int | None = None) -> list[Any]:
    """Raises FormatError unless it is a list of that kind, and as long."""
    key = key if "." in key else GGML + key
    value = header.metadata.get(key)
    found = value.values() if isinstance(value, ListRef) else None
    if found is None or not all(isinstance(one, kind) for one in found) or count not in (None, len(found)):
        raise FormatError(f"{header.path}: {key} is not the list that a tokenizer needs; {_ADVICE}")
    return found


def _tokens(header: Header, vocabulary: int) -> tuple[list[str], list[int]]:
    """Texts and kinds, without what only fills up the vocabulary."""
    texts = _list(header, "tokens", str)
    kinds = [NORMAL] * len(texts)
    if f"{GGML}token_type" in header.metadata:
        kinds = _list(header, "token_type", int, len(texts))
    if len(texts) > vocabulary:
        raise FormatError(f"{header.path}: its tokenizer has {len(texts):,} tokens, the model only {vocabulary:,}")
    while texts and kinds[len(texts) - 1] == UNUSED and texts[-1] == f"[PAD{len(texts) - 1}]":
        texts.pop()
    return texts, kinds[: len(texts)]


def _pieces(header: Header, kind: str, vocabulary: int) -> bytes:
    texts, kinds = _tokens(header, vocabulary)
    if USER_DEFINED_KEY in header.metadata:
        for token in _list(header, USER_DEFINED_KEY, int):
            if not 0 <= token < len(kinds):
                raise FormatError(f"{header.path}: {USER_DEFINED_KEY} names token {token} of {len(kinds):,}; {_ADVICE}")
            kinds[token] = USER_DEFINED
    scores = _list(header, "scores", float)[: len(texts)]
    if len(scores) != len(texts):
        raise FormatError(f"{header.path}: {GGML}scores are fewer than its tokens; {_ADVICE}")
    ids = {name: _id(header.metadata, f"{name}_token_id", default) for name, default in _IDS.items()}
    charsmap = header.metadata.get(f"{GGML}precompiled_charsmap")
    return PieceModel(
        [Piece(*row) for row in zip(texts, scores, kinds, strict=True)],
        "bpe" if kind == "llama" else "unigram",
        unk=ids["unknown"],
        bos=ids["bos"],
        eos=ids["eos"],
        pad=ids["padding"],
        charsmap=bytes(_value(charsmap)) if isinstance(charsmap, ListRef) and charsmap.type in (0, 1) else b"",
        dummy_prefix=header.metadata.get(f"{GGML}add_space_prefix", True) is not False,
        remove_extra_whitespaces=header.metadata.get(f"{GGML}remove_extra_whitespaces", False) is True,
    ).serialised()


_IDS = {"unknown": 0, "bos": 1, "eos": 2, "padding": -1}
"""As llama.cpp takes them where a file says nothing."""


def _id(metadata: Mapping[str, Any], key: str, default: int) -> int:
    value = metadata.get(GGML + key, default)
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else -1


def _byte_level(header: Header, vocabulary: int) -> str:
    """A tokenizer.json of tokens and merges; how text is cut follows from its name alone."""
    pre = str(header.metadata.get(f"{GGML}pre"))
    if pre not in (*PATTERNS, *_ALIKE, "gpt-2"):
        known = ", ".join([*PATTERNS, *_ALIKE, "gpt-2"])
        raise FormatError(f"{header.path}: {GGML}pre = {pre!r:.60} is not one that can be rebuilt ({known}); {_ADVICE}")
    texts, kinds = _tokens(header, vocabulary)
    merges = [merge.split(" ", 1) for merge in _list(header, "merges", str)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": pre == "gpt-2"}
    steps: list[dict[str, Any]] = [byte_level]
    if pre != "gpt-2":
        pattern = {"Regex": PATTERNS[_ALIKE.get(pre, pre)]}
        steps.insert(0, {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})
    added = [
        {"id": token, "content": texts[token], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": kind == CONTROL}
        for token, kind in enumerate(kinds)
        if kind in (CONTROL, USER_DEFINED)
    ]  # fmt: skip
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": pre == "llama-bpe",
        "vocab": {text: token for token, text in enumerate(texts) if kinds[token] != UNUSED},
        "merges": merges,
    }  # fmt: skip
    table = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "NFC"} if "qwen" in pre else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "post_processor": None,
        "decoder": byte_level, "model": model,
    }  # fmt: skip
    return json.dumps(table, ensure_ascii=False)


_ALIKE = {"grok-2": "qwen2", "llama-v3": "llama-bpe", "llama3": "llama-bpe", "deepseek-r1-qwen": "qwen2"}
"""Other names for the same way."""
