"""What a run leaves when a leg ends: its weights as a model directory."""

from __future__ import annotations

from pathlib import Path

import torch

from lindos.model import Transformer
from lindos.model.formats import save_model
from lindos.specs import LindosError, ModelSpec
from lindos.train.checkpoint import Checkpoint, whole_parts


class TrainingError(LindosError):
    """Training cannot go on."""


def export_model(model: Transformer | None, folder: Path, *, checkpoint: Path, spec: ModelSpec,
                 dtype: torch.dtype, tokenizer: Path) -> None:  # fmt: skip
    """Write a model directory with the data's tokenizer; the one of an earlier leg is replaced.

    Where no process has the whole `model`, its weights are those of `checkpoint`. Raises TrainingError without one."""
    model = model or _saved_model(checkpoint, spec, dtype)
    save_model(model, folder, tokenizer=tokenizer, replace=True)


def _saved_model(path: Path, spec: ModelSpec, dtype: torch.dtype) -> Transformer:
    if not path.is_dir():
        raise TrainingError(f"{path}: no checkpoint of this step to take the weights from; nothing is exported")
    checkpoint = Checkpoint(path, {})
    model = Transformer(spec, dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            whole = torch.empty(parameter.shape)
            checkpoint.restore(whole_parts([(f"master.{name}", whole)]))
            parameter.copy_(whole)
    return model
