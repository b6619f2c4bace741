"""Small tokenizers of other families: byte-level with their marks, and SentencePiece's kind in both of its files."""

from __future__ import annotations

import io
import json
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers

from lindos.text import ByteLevelTokenizer, train_tokenizer
from tests.text.conftest import sentences


def byte_level(*marks: str, special: bool = True) -> ByteLevelTokenizer:
    """A byte-level tokenizer with these added tokens, and none of Lindos's own."""
    table = json.loads(train_tokenizer(sentences(200), 350).source)
    kept = [{**item, "content": f"<unused{item['id']}>"} for item in table["added_tokens"]]
    for item, content in zip(kept, marks, strict=False):
        item |= {"content": content, "special": special}
    table["added_tokens"] = kept
    names = {item["id"]: item["content"] for item in kept}
    table["model"]["vocab"] = {names.get(token, piece): token for piece, token in table["model"]["vocab"].items()}
    return ByteLevelTokenizer(json.dumps(table))


def sentencepiece_model(**changes: Any) -> bytes:
    """A tokenizer.model as Llama's and Mixtral's: BPE with byte fallback, <s> and </s>, text left as it is."""
    settings: dict[str, Any] = {
        "model_type": "bpe", "vocab_size": 400, "byte_fallback": True, "split_digits": True, "unk_id": 0, "bos_id": 1,
        "eos_id": 2, "pad_id": -1, "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
        "add_dummy_prefix": True, "minloglevel": 2,
    }  # fmt: skip
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(  # type: ignore[attr-defined]
        sentence_iterator=iter(sentences(400)), model_writer=writer, **(settings | changes)
    )
    return writer.getvalue()


def as_table(model: bytes) -> str:
    """The tokenizer.json of a tokenizer.model, as transformers converts it: merges in the order of scores."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(token) for token in range(processor.get_piece_size())]
    vocabulary = {piece: token for token, piece in enumerate(pieces)}
    merges = []
    for token, piece in enumerate(pieces):
        if processor.is_control(token) or processor.is_byte(token) or processor.is_unknown(token):
            continue
        splits = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        merges += [(-processor.get_score(token), pair) for pair in splits if all(part in vocabulary for part in pair)]
    merges.sort(key=lambda item: item[0])
    backend = Tokenizer(
        models.BPE(vocabulary, [pair for _, pair in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])  # type: ignore[assignment]
    backend.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(
        ["<unk>", *(pieces[token] for token in range(len(pieces)) if processor.is_control(token))]
    )
    return backend.to_str()
