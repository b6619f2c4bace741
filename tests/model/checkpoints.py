"""Small checkpoints for the tests of formats: random models, and a writer of the release's pickles."""

from __future__ import annotations

import json
import pickle
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch

from lindos.model import Transformer, initialise
from lindos.model.formats.names import release_order
from lindos.specs import ModelSpec
from tests.model.golden import HERE, own_name

GROUPS = 8


class QuantizedWeight8bit:
    """Stands in for the release's class of that name; pickled as `__main__.QuantizedWeight8bit`."""

    def __init__(self, weight: np.ndarray, scales: np.ndarray) -> None:
        self.weight, self.scales = weight, scales


QuantizedWeight8bit.__module__ = "__main__"


@contextmanager
def _importable_from_main():
    sys.modules["__main__"].QuantizedWeight8bit = QuantizedWeight8bit  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del sys.modules["__main__"].QuantizedWeight8bit  # type: ignore[attr-defined]


def pickled(value: Any, protocol: int = 4) -> bytes:
    with _importable_from_main():
        return pickle.dumps(value, protocol=protocol)


def quantised(array: np.ndarray, groups: int) -> QuantizedWeight8bit:
    """As the release stores it: int8, and bf16 scales for `groups` blocks of input rows."""
    *stack, rows, columns = array.shape
    blocks = array.reshape(*stack, groups, rows // groups, columns)
    scales = (np.abs(blocks).max(axis=-2) / 127).astype(ml_dtypes.bfloat16)
    weight = np.round(blocks / np.maximum(scales.astype(np.float32), 1e-9)[..., :, None, :]).clip(-127, 127)
    return QuantizedWeight8bit(weight.astype(np.int8).reshape(array.shape), scales)


def widened(value: Any) -> np.ndarray:
    """What a stored value stands for, by the formula of the release's description."""
    if not isinstance(value, QuantizedWeight8bit):
        return np.asarray(value, dtype=np.float32)
    *stack, rows, columns = value.weight.shape
    groups = value.scales.shape[-2]
    wide = value.weight.astype(np.float32).reshape(*stack, groups, rows // groups, columns)
    return (wide * value.scales.astype(np.float32)[..., :, None, :]).reshape(value.weight.shape)


def as_release(name: str, array: np.ndarray) -> Any:
    """Quantised where the release quantises: every matrix but embedding and router."""
    if name == "embedding" or name.endswith("router") or array.ndim == 1:
        return array
    grouped = name.endswith(("attention.output", "experts.down")) and array.shape[-2] % GROUPS == 0
    return quantised(array, GROUPS if grouped else 1)


def write_official(folder: Path, arrays: dict[str, Any], config: dict | None = None, protocol: int = 4) -> Path:
    """`folder/ckpt-0/tensorNNNNN_000` of arrays under Lindos's names, and `folder/config.json`."""
    layers = len({name.split(".")[1] for name in arrays if name.startswith("layers.")})
    inner = folder / "ckpt-0"
    inner.mkdir(parents=True)
    for number, name in enumerate(release_order(layers)):
        (inner / f"tensor{number:05d}_000").write_bytes(pickled(arrays[name], protocol))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def mini() -> tuple[dict[str, np.ndarray], dict, np.ndarray, np.ndarray]:
    """(arrays under Lindos's names, config in the release's names, tokens, logits) of the smallest golden file."""
    stored = dict(np.load(HERE / "mini.npz"))
    arrays = {own_name(key[6:]): value for key, value in stored.items() if key.startswith("param:")}
    return arrays, json.loads((HERE / "mini.json").read_text()), stored["tokens"], stored["logits"]


def tiny_spec(**changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": "tiny", "layers": 2, "width": 8, "vocabulary": 11, "sequence": 16, "heads": 2, "kv_heads": 1,
        "head_size": 4, "experts": 3, "experts_per_token": 2, "expert_width": 16, "embedding_multiplier": 3.0,
        "logit_multiplier": 0.6, "attention_multiplier": 0.5, "attention_softcap": 30.0, "pad_token": 0,
    }  # fmt: skip
    return ModelSpec(**(fields | changes))


def random_model(spec: ModelSpec, seed: int = 0, dtype: torch.dtype = torch.float32) -> Transformer:
    model = Transformer(spec, dtype=dtype)
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms that are all one would hide an exchange
                parameter.copy_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def arrays_of(model: Transformer) -> dict[str, np.ndarray]:
    return {name: value.float().numpy() for name, value in model.state_dict().items()}


def same_weights(one: Transformer, other: Transformer) -> None:
    """Bit for bit, and of the same precision."""
    assert one.spec == other.spec
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.dtype == right[name].dtype, name
        assert torch.equal(value, right[name]), name
