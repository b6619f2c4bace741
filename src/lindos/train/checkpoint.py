"""Checkpoints: written whole or not at all, verified before they are trusted, the newest good one restored.

A checkpoint is a folder `step-00001200`. Each rank writes what it alone holds (or was chosen to write, of what several
hold) into a file of its own, `rank-00003.safetensors`: fp32 masters and optimiser state under the names they have in
the whole model. `index.json` says which part of which tensor lies where, so that any other layout finds what it needs;
`meta.json` has the step, the run, the data's fingerprint, the environment and a checksum of every file. All is written
under another name, flushed and renamed; a run killed at any moment leaves the last complete one.

Why not PyTorch's distributed checkpoint: its own format is read with pickle, has no checksums, and asks the first rank
to plan for all; every rank here knows what it holds without asking.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lindos.specs import LindosError
from lindos.train.ranks import ElsewhereError, Ranks

FORMAT = "lindos-checkpoint-2"


class CheckpointError(LindosError):
    """A checkpoint that cannot be written, or not be used for this run."""


class Part(NamedTuple):
    """A rank's part of a tensor: its values, where they lie in the whole, and whether this rank is to write them."""

    values: Tensor
    shape: tuple[int, ...]
    """Of the whole tensor."""
    offsets: tuple[int, ...]
    writes: bool = True


Parts = Mapping[str, Part]


def whole_parts(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Part]:
    """Tensors that one process holds alone."""
    return {name: Part(each, tuple(each.shape), (0,) * each.ndim) for name, each in tensors}


class Stored(NamedTuple):
    """Where a part of a tensor lies."""

    file: str
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """One complete, verified checkpoint."""

    path: Path
    meta: dict[str, Any]
    where: ClassVar[str] = "disk"

    @property
    def step(self) -> int:
        """Steps done, which is the number of the next step."""
        return int(self.meta["step"])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of it."""
        return {name: tuple(entry["shape"]) for name, entry in self._index().items()}

    def restore(self, parts: Parts) -> None:
        """Copy what was saved into `parts`. Raises CheckpointError where a tensor is missing or has another shape."""
        index = self._index()
        wanted: dict[str, list[tuple[str, Part, Stored]]] = {}
        for name, part in parts.items():
            if name not in index:
                raise CheckpointError(f"{self.path}: tensor {name} is missing from it: {_OTHER}")
            shape = tuple(index[name]["shape"])
            if shape != part.shape:
                raise CheckpointError(
                    f"{self.path}: {name} has shape {list(shape)}, the model wants {list(part.shape)}: {_OTHER}"
                )
            for entry in index[name]["parts"]:
                stored = Stored(entry["file"], tuple(entry["offsets"]), tuple(entry["sizes"]))
                if _overlap(part, stored) is not None:
                    wanted.setdefault(stored.file, []).append((name, part, stored))
        for file, reads in wanted.items():
            with safe_open(self.path / file, "pt") as saved:
                for name, part, stored in reads:
                    _copy(saved, name, part, stored)

    def check_names(self, names: Iterable[str]) -> None:
        """Raise CheckpointError unless it holds exactly these tensors."""
        odd = sorted(set(self._index()) ^ set(names))
        if odd:
            where = "only in the checkpoint" if odd[0] in self._index() else "missing from it"
            raise CheckpointError(f"{self.path}: tensor {odd[0]} is {where}: {_OTHER}")

    def _index(self) -> dict[str, Any]:
        return json.loads((self.path / "index.json").read_text(encoding="utf-8"))


_OTHER = "this checkpoint is of another model or optimiser"


def _overlap(part: Part, stored: Stored) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Where both meet: in the part, and in what is stored. None where they do not."""
    ours, theirs = [], []
    for size, offset, their_size, their_offset in zip(
        part.values.shape, part.offsets, stored.sizes, stored.offsets, strict=True
    ):
        first, last = max(offset, their_offset), min(offset + size, their_offset + their_size)
        if first >= last:
            return None
        ours.append(slice(first - offset, last - offset))
        theirs.append(slice(first - their_offset, last - their_offset))
    return tuple(ours), tuple(theirs)


def _copy(saved: Any, name: str, part: Part, stored: Stored) -> None:
    met = _overlap(part, stored)
    assert met is not None
    ours, theirs = met
    values = saved.get_slice(name)[theirs] if theirs else saved.get_tensor(name)
    part.values[ours].copy_(values) if ours else part.values.copy_(values)


def save_checkpoint(folder: Path, step: int, parts: Parts, meta: dict[str, Any], ranks: Ranks | None = None) -> Path:
    """Write the checkpoint of `step` into `folder`, together with all ranks.

    Raises CheckpointError on all of them (a full disk on one, say); older checkpoints stay.
    """
    ranks = ranks or Ranks()
    final, draft = folder / f"step-{step:08d}", folder / f".writing-{step:08d}"
    try:
        ranks.together(lambda: _make(draft) if ranks.first else None)
        told = ranks.gather(ranks.together(lambda: _write_own(draft, parts, ranks.rank)))
        ranks.together(lambda: _finish(draft, final, step, told, meta) if ranks.first else None)
    except (OSError, SafetensorError, ElsewhereError, CheckpointError) as error:
        if ranks.first:
            shutil.rmtree(draft, ignore_errors=True)
        raise CheckpointError(
            f"{final}: the checkpoint could not be written: {error}; older ones are untouched"
        ) from None
    return final


class Written(NamedTuple):
    """What one rank wrote: its file (empty where it had nothing to write), the file's checksum, and what is in it."""

    file: str
    sha256: str
    entries: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


def _make(draft: Path) -> None:
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)


def _write_own(draft: Path, parts: Parts, rank: int) -> Written:
    own = {name: part for name, part in parts.items() if part.writes and part.values.numel()}
    if not own:
        return Written("", "", {})
    path = draft / f"rank-{rank:05d}.safetensors"
    if not draft.is_dir():
        raise CheckpointError(f"{draft}: rank {rank} does not see the first rank's folder; --out must be a shared one")
    save_file({name: part.values.detach().contiguous() for name, part in own.items()}, path)
    _flush(path)
    entries = {name: (part.shape, part.offsets, tuple(part.values.shape)) for name, part in own.items()}
    return Written(path.name, sha256_of(path), entries)


def _finish(draft: Path, final: Path, step: int, told: list[Written], meta: dict[str, Any]) -> None:
    index: dict[str, Any] = {}
    for written in told:
        for name, (shape, offsets, sizes) in written.entries.items():
            entry = index.setdefault(name, {"shape": list(shape), "parts": []})
            entry["parts"].append({"file": written.file, "offsets": list(offsets), "sizes": list(sizes)})
    (draft / "index.json").write_text(json.dumps(index), encoding="utf-8")
    files = {written.file: written.sha256 for written in told if written.file}
    files["index.json"] = sha256_of(draft / "index.json")
    document = {"format": FORMAT, "step": step, "files": files, **meta}
    (draft / "meta.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    for part in (draft / "index.json", draft / "meta.json", draft):
        _flush(part)
    if final.exists():
        shutil.rmtree(final)
    os.replace(draft, final)
    _flush(final.parent)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what a killed writer left."""
    for draft in folder.glob(".writing-*"):
        shutil.rmtree(draft, ignore_errors=True)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def mark_damaged(folder: Path, names: Iterable[str]) -> None:
    """Rename checkpoints that were passed over, or they would pass for newer ones than those that are good."""
    for path in (folder / name for name in names):
        path.rename(free_name(path.with_name(f"damaged-{path.name}")))


def remove_after(folder: Path, last: Checkpoint) -> None:
    """Remove the checkpoints of a way that is not gone: they would pass for newer ones than those of the new way."""
    for path in sorted(folder.glob("step-*")):
        if path.name > f"step-{last.step:08d}":
            shutil.rmtree(path)


def free_name(folder: Path) -> Path:
    """A name like that of `folder` that nothing has yet."""
    number = 1
    while (found := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return found


def newest_checkpoint(
    folder: Path, ranks: Ranks | None = None, *, until: int | None = None, every: int = 1
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose checksums hold, and why newer ones were passed over; the same on all ranks.

    With `until` none of a later step, with `every` multiples of it only.
    The files of one are verified by all ranks together, each some of them.
    """
    ranks = ranks or Ranks()
    passed: list[str] = []
    for name in ranks.share([path.name for path in sorted(folder.glob("step-*"), reverse=True)]):
        path = folder / name
        if (until is not None and name > f"step-{until:08d}") or (every > 1 and int(name[5:]) % every):
            continue
        meta, damage = ranks.together(lambda path=path: _verified(path, ranks))
        why = ranks.share(next((each for each in ranks.gather(damage) if each), ""))
        if not why:
            return Checkpoint(path, meta), passed
        passed.append(f"{name} is damaged and was passed over: {why}")
    return None, passed


def _verified(path: Path, ranks: Ranks) -> tuple[dict[str, Any], str]:
    """What `meta.json` says, and what is wrong with the files that this rank looks at. Raises OSError where one is
    there and cannot be read: that is no damage."""
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        if meta.get("format") != FORMAT:
            return {}, f"format {meta.get('format')!r} is not {FORMAT}"
        for file in sorted(meta["files"])[ranks.rank :: ranks.size]:
            if sha256_of(path / file) != meta["files"][file]:
                return {}, f"the checksum of {file} does not hold"
        int(meta["step"])
    except FileNotFoundError as error:
        return {}, f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {}, f"meta.json is none of ours ({type(error).__name__}: {error})"
    return meta, ""


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
