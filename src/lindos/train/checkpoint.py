"""Checkpoints: written whole or not at all, verified before they are trusted, the newest good one restored.

A checkpoint is a folder `step-00001200` with `state.safetensors` (fp32 masters and optimiser state) and `meta.json`
(step, run, data fingerprint, checksum, environment). It is written under another name, flushed and renamed; a run
killed at any moment leaves the last complete one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lindos.specs import LindosError

FORMAT = "lindos-checkpoint-1"


class CheckpointError(LindosError):
    """A checkpoint that cannot be written, or not be used for this run."""


@dataclass(frozen=True)
class Checkpoint:
    """One complete, verified checkpoint."""

    path: Path
    meta: dict[str, Any]

    @property
    def step(self) -> int:
        """Steps done, which is the number of the next step."""
        return int(self.meta["step"])

    def restore(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Copy the saved tensors into `tensors`. Raises CheckpointError when names or shapes differ."""
        wanted = dict(tensors)
        with safe_open(self.path / "state.safetensors", "pt") as saved:
            _same_names(self.path, set(saved.keys()), set(wanted))
            for name, tensor in wanted.items():
                value = saved.get_tensor(name)
                if value.shape != tensor.shape:
                    raise CheckpointError(
                        f"{self.path}: {name} has shape {list(value.shape)}, the model wants {list(tensor.shape)}: "
                        "this checkpoint is of another model"
                    )
                tensor.copy_(value)


def _same_names(path: Path, saved: set[str], wanted: set[str]) -> None:
    if saved != wanted:
        odd = sorted(saved ^ wanted)[0]
        where = "only in the checkpoint" if odd in saved else "missing from it"
        raise CheckpointError(f"{path}: tensor {odd} is {where}: this checkpoint is of another model or optimiser")


def save_checkpoint(folder: Path, step: int, tensors: Iterable[tuple[str, Tensor]], meta: dict[str, Any]) -> Path:
    """Write the checkpoint of `step` into `folder`. Raises CheckpointError (disk full, say); older ones stay."""
    final = folder / f"step-{step:08d}"
    draft = folder / f".writing-{step:08d}"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save_file({n: t.detach().contiguous() for n, t in tensors}, draft / "state.safetensors")
        checksum = sha256_of(draft / "state.safetensors")
        document = {"format": FORMAT, "step": step, "sha256": checksum, **meta}
        (draft / "meta.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        for part in (draft / "state.safetensors", draft / "meta.json", draft):
            _flush(part)
        if final.exists():
            shutil.rmtree(final)
        os.replace(draft, final)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise CheckpointError(
            f"{final}: the checkpoint could not be written: {error}; older ones are untouched"
        ) from None
    return final


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what a killed writer left."""
    for draft in folder.glob(".writing-*"):
        shutil.rmtree(draft, ignore_errors=True)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose checksum holds, and why newer ones were passed over."""
    passed = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            return Checkpoint(path, _verified_meta(path)), passed
        except (OSError, ValueError, KeyError, CheckpointError) as error:
            passed.append(f"{path.name} is damaged and was passed over: {error}")
    return None, passed


def _verified_meta(path: Path) -> dict[str, Any]:
    meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    if meta.get("format") != FORMAT:
        raise CheckpointError(f"format {meta.get('format')!r} is not {FORMAT}")
    found = sha256_of(path / "state.safetensors")
    if found != meta["sha256"]:
        raise CheckpointError("the checksum of state.safetensors does not hold")
    return meta


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
