"""A tokenizer inside a GGUF file: from a tokenizer.model or tokenizer.json to its keys.

`tokenizer.ggml.model` is `llama` for SentencePiece's BPE, `t5` for its unigrams, `gpt2` for byte-level BPE. A
tokenizer.json also goes in whole, as `tokenizer.huggingface.json`, which the GGUF specification has for it: the keys
alone name the way text is cut only for families that llama.cpp knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lindos.model.formats.companions import find_tokenizer
from lindos.model.formats.fields import read_table
from lindos.model.formats.gguf.description import TEMPLATE_KEY
from lindos.model.formats.source import FormatError
from lindos.specs import ModelSpec, SpecError
from lindos.text import SentencePieceTokenizer, Tokenizer, load_tokenizer
from lindos.text.backend import TableTokenizer
from lindos.text.bytelevel import ByteLevelTokenizer
from lindos.text.piecemodel import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, PieceModel

GGML = "tokenizer.ggml."
WHOLE_KEY = "tokenizer.huggingface.json"
USER_DEFINED_KEY = "tokenizer.lindos.user_defined"
"""Which pieces a SentencePiece model takes before all merging; others pass it over."""
DEFAULT_PRE = "qwen2"
"""How text is cut before merging, as llama.cpp knows it, where a tokenizer's own way is none that it knows: words with
the space before them, digits one by one, as in Lindos's own."""
_MARKER = re.compile(r"<\|[^|<>]+\|>")
_MODERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {"qwen2": _MODERN % r"\p{N}", "llama-bpe": _MODERN % r"\p{N}{1,3}"}
"""Regular expressions of tokenizer.json and llama.cpp's names for them; `gpt-2` is built into the library."""
ROLES = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""The template of Lindos's own chat models, `lindos.text.RoleTokens`, behind the BOS that readers put first."""


def tokenizer_keys(place: Path | None, spec: ModelSpec) -> dict[str, Any]:
    """The keys for the tokenizer in a directory, or in a file; `no_vocab` where there is none. Raises FormatError."""
    try:
        file, _ = find_tokenizer(place) if place is not None else (None, "")
    except FormatError:
        if place is not None and not place.is_dir():
            raise
        file = None
    if file is None:
        return {f"{GGML}model": "no_vocab"}
    try:
        tokenizer = load_tokenizer(place if place is not None and place.is_dir() else file)
    except SpecError as error:
        raise FormatError(str(error)) from None
    if tokenizer.vocabulary > spec.vocabulary:
        raise FormatError(f"{file}: has {tokenizer.vocabulary:,} tokens, the model only {spec.vocabulary:,}")
    if isinstance(tokenizer, SentencePieceTokenizer):
        keys = _pieces(tokenizer, spec.vocabulary)
    elif isinstance(tokenizer, ByteLevelTokenizer):
        keys = _merges(tokenizer, spec.vocabulary)
    elif isinstance(tokenizer, TableTokenizer):
        keys = _metaspace(tokenizer, spec.vocabulary)
    else:
        raise FormatError(f"{file}: a tokenizer of this kind cannot be put into GGUF")
    template = chat_template_text(file.parent) or _own_template(tokenizer, spec)
    return {**keys, **_marks(tokenizer), **({TEMPLATE_KEY: template} if template else {})}


def chat_template_text(directory: Path) -> str:
    """The Jinja text beside a model's tensors; empty where there is none."""
    plain = directory / "chat_template.jinja"
    if plain.is_file():
        return plain.read_text(encoding="utf-8", errors="replace")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (directory / name).is_file():
            found = read_table(directory / name).get("chat_template")
            if isinstance(found, str):
                return found
    return ""


def _own_template(tokenizer: Tokenizer, spec: ModelSpec) -> str:
    return ROLES if spec.kind == "chat" and tokenizer.special("<|assistant|>") is not None else ""


def _marks(tokenizer: Tokenizer) -> dict[str, Any]:
    ids = {"bos": tokenizer.bos, "eos": tokenizer.eos, "padding": tokenizer.pad}
    found: dict[str, Any] = {f"{GGML}{name}_token_id": token for name, token in ids.items() if token is not None}
    found[f"{GGML}add_bos_token"] = tokenizer.starts_with_bos and tokenizer.bos is not None
    found[f"{GGML}add_eos_token"] = False
    return found


def _listed(model: str, pre: str, tokens: list[str], kinds: list[int], vocabulary: int) -> dict[str, Any]:
    """Readers want a token for every row of the embedding."""
    fill = range(len(tokens), vocabulary)
    return {
        f"{GGML}model": model,
        f"{GGML}pre": pre,
        f"{GGML}tokens": [*tokens, *(f"[PAD{token}]" for token in fill)],
        f"{GGML}token_type": [*kinds, *(UNUSED for _ in fill)],
    }


def _pieces(tokenizer: SentencePieceTokenizer, vocabulary: int) -> dict[str, Any]:
    model = PieceModel.parse(tokenizer.source)
    texts, scores, kinds = (list(column) for column in zip(*model.pieces, strict=True))
    own = [token for token, kind in enumerate(kinds) if kind == USER_DEFINED]
    for token in own:  # as llama.cpp's converters: its reader would put a space behind each of them
        kinds[token] = CONTROL if _MARKER.fullmatch(texts[token]) else NORMAL
    keys = _listed("llama" if model.model == "bpe" else "t5", "default", texts, kinds, vocabulary)
    keys[f"{GGML}scores"] = [*scores, *([-10000.0] * (vocabulary - len(scores)))]
    keys[f"{GGML}add_space_prefix"] = model.dummy_prefix
    keys[f"{GGML}remove_extra_whitespaces"] = model.remove_extra_whitespaces
    if own:
        keys[USER_DEFINED_KEY] = own
    if model.unk >= 0:
        keys[f"{GGML}unknown_token_id"] = model.unk
    if model.charsmap:
        keys[f"{GGML}precompiled_charsmap"] = model.charsmap
    return keys


def _merges(tokenizer: ByteLevelTokenizer, vocabulary: int) -> dict[str, Any]:
    table = json.loads(tokenizer.source)
    tokens, kinds = _columns(table, tokenizer.vocabulary)
    keys = _listed("gpt2", _pre(table), tokens, kinds, vocabulary)
    keys[f"{GGML}merges"] = [" ".join(pair) for pair in _pairs(table)]
    return {**keys, WHOLE_KEY: tokenizer.source}


def _metaspace(tokenizer: TableTokenizer, vocabulary: int) -> dict[str, Any]:
    """SentencePiece's BPE in a tokenizer.json has no scores: the order of the merges is theirs."""
    table = json.loads(tokenizer.source)
    tokens, kinds = _columns(table, tokenizer.vocabulary)
    unknown = table["model"].get("unk_token")
    scores = dict.fromkeys(tokens, 0.0)
    for rank, pair in enumerate(_pairs(table)):
        scores["".join(pair)] = scores.get("".join(pair)) or -1.0 - rank
    for token, text in enumerate(tokens):
        if text == unknown:
            kinds[token] = UNKNOWN
        elif kinds[token] == NORMAL and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            kinds[token] = BYTE
    keys = _listed("llama", "default", tokens, kinds, vocabulary)
    keys[f"{GGML}scores"] = [*(scores[text] for text in tokens), *([-10000.0] * (vocabulary - len(tokens)))]
    keys[f"{GGML}add_space_prefix"] = tokenizer.drops_first_space
    if unknown in tokens:
        keys[f"{GGML}unknown_token_id"] = tokens.index(unknown)
    return {**keys, WHOLE_KEY: tokenizer.source}


def _columns(table: Mapping[str, Any], vocabulary: int) -> tuple[list[str], list[int]]:
    """The texts and kinds of a tokenizer.json's tokens; ids without one are unused."""
    tokens = [f"[PAD{token}]" for token in range(vocabulary)]
    kinds = [UNUSED] * vocabulary
    for text, token in table["model"]["vocab"].items():
        tokens[token], kinds[token] = text, NORMAL
    for item in table.get("added_tokens", []):
        tokens[item["id"]], kinds[item["id"]] = item["content"], CONTROL if item.get("special") else USER_DEFINED
    return tokens, kinds


def _pairs(table: Mapping[str, Any]) -> list[list[str]]:
    """Merges stand as pairs, or with a space between in older files."""
    return [
        merge.split(" ", 1) if isinstance(merge, str) else list(merge) for merge in table["model"].get("merges", [])
    ]


def _pre(table: Mapping[str, Any]) -> str:
    """llama.cpp's name for the way a byte-level tokenizer.json cuts text."""
    step = table.get("pre_tokenizer") or {}
    steps = step.get("pretokenizers", [step]) if isinstance(step, dict) else []
    patterns = [one.get("pattern", {}).get("Regex") for one in steps if one.get("type") == "Split"]
    for name, pattern in PATTERNS.items():
        if patterns == [pattern]:
            return name
    built_in = [one for one in steps if one.get("type") == "ByteLevel" and one.get("use_regex", True)]
    return "gpt-2" if built_in and not patterns else DEFAULT_PRE
