"""A model taken out of a checkpoint: its weights alone, whole, in the format of products."""

from __future__ import annotations

from pathlib import Path

import torch

from lindos.model import Transformer
from lindos.specs import ModelSpec
from lindos.train.checkpoint import Checkpoint, CheckpointError, whole_parts


def model_of(path: Path, spec: ModelSpec, dtype: torch.dtype) -> Transformer:
    """The network that the checkpoint at `path` is of. Raises CheckpointError where there is none."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: no checkpoint of this step to take the weights from; nothing is exported")
    checkpoint = Checkpoint(path, {})
    model = Transformer(spec, dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            whole = torch.empty(parameter.shape)
            checkpoint.restore(whole_parts([(f"master.{name}", whole)]))
            parameter.copy_(whole)
    return model
