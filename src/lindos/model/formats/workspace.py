"""Where an unfinished conversion lives: `DST.partial`, with finished files, a note of them, and a lock.

A killed conversion is taken up again file by file: a file counts as finished when the note has its digest, its bytes
still have that digest, and the source files it was made from have not changed since. The directory takes its final
name in one step, when everything is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Self

from lindos.model.formats.checksums import CHECKSUMS
from lindos.model.formats.fields import read_table
from lindos.model.formats.shards import Shard, write_json
from lindos.model.formats.source import FormatError
from lindos.model.formats.tensorfiles import digest

STATE, LOCK = "state.json", "lock"


class Workspace:
    """Use as a context manager: entering makes or takes up `DST.partial`. Raises FormatError when it is not ours."""

    def __init__(self, destination: Path, job: dict[str, Any]) -> None:
        """`job`: what is being converted into what; an unfinished conversion of another job is not touched."""
        self.destination = Path(os.path.abspath(destination))  # "." has a name, too
        if os.path.ismount(self.destination):
            raise FormatError(f"{destination}: is a mount point, which cannot be replaced; name a directory in it")
        self.path = self.destination.with_name(self.destination.name + ".partial")
        self.job = json.loads(json.dumps(job))
        self.done: dict[str, dict[str, str]] = {}

    def __enter__(self) -> Self:
        require_free(self.destination)
        self.path.mkdir(parents=True, exist_ok=True)
        held = {path.name for path in self.path.iterdir()}
        if held - {LOCK, f"{STATE}.tmp"} and STATE not in held:
            raise FormatError(
                f"{self.path}: is in the way and no unfinished conversion; move it or choose another name"
            )
        self._lock = (self.path / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise FormatError(f"{self.path}: another conversion is writing to it at this moment") from None
        try:
            self._take_up()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lock.close()
        if kind is not None and issubclass(kind, FormatError) and not self.done:
            shutil.rmtree(self.path, ignore_errors=True)  # nothing in it is worth taking up again

    def _take_up(self) -> None:
        if (self.path / STATE).exists():
            state = read_table(self.path / STATE)
            if state.get("job") != self.job:
                raise FormatError(
                    f"{self.path}: holds an unfinished conversion of another source or with other options; "
                    "run that one to its end, or remove the directory"
                )
            done = state.get("done")
            self.done = done if isinstance(done, dict) else {}
        else:
            self._note()
        for draft in self.path.glob("*.tmp"):
            draft.unlink()

    def _note(self) -> None:
        write_json(self.path / STATE, {"job": self.job, "done": self.done})

    def is_finished(self, shard: Shard) -> bool:
        """Whether the file is there from an earlier run and sound; reads it all."""
        noted, path = self.done.get(shard.file), self.path / shard.file
        if noted is None or not path.is_file():
            return False
        if noted.get("made_from") != made_from(shard) or noted.get("sha256") != digest(path):
            del self.done[shard.file]
            return False
        return True

    def draft(self, shard: Shard) -> Path:
        """Where to write the file before `finish` gives it its name."""
        return self.path / f"{shard.file}.tmp"

    def finish(self, shard: Shard, sha256: str) -> None:
        """Name a written file and note its digest."""
        self.done[shard.file] = {"sha256": sha256, "made_from": made_from(shard)}
        self.draft(shard).replace(self.path / shard.file)
        self._note()

    def publish(self) -> None:
        """Give the directory its final name. Raises FormatError when something has taken it meanwhile."""
        require_free(self.destination)
        for path in [*self.path.iterdir(), self.path]:
            _sync(path)
        # The note goes last: killed before the rename, all is taken up again; killed after it, `require_free` tidies.
        self.path.rename(self.destination)
        _tidy(self.destination)
        _sync(self.destination.parent)


def require_free(destination: Path) -> None:
    """Raise FormatError unless `destination` is new or an empty directory."""
    _tidy(destination)
    if destination.is_dir() and not any(destination.iterdir()):
        return
    if destination.exists() or destination.is_symlink():
        raise FormatError(f"{destination}: exists already and is left as it is; remove it or choose another name")


def _tidy(destination: Path) -> None:
    """Remove the note of a conversion that was killed right after it came into its place."""
    if not (destination / STATE).is_file() or not (destination / CHECKSUMS).is_file():
        return
    try:
        note = read_table(destination / STATE)
    except FormatError:
        return  # somebody else's file
    if note.keys() == {"job", "done"} and isinstance(note["job"], dict) and "plan" in note["job"]:
        for name in (STATE, LOCK):
            (destination / name).unlink(missing_ok=True)


def made_from(shard: Shard) -> str:
    """A digest of the source files' names, sizes and times."""
    files = sorted({path for info in shard.tensors for path in info.files})
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
