"""Keeping evaluations out of training text: runs of words that both share, found by hashes.

A run is ten words, lowercased, without punctuation. Both sides are hashed to 64 bits with NumPy, a few megabytes of
text at a time; a small table of flags answers nearly all lookups, a sorted array the rest. Questions shorter than a
run are looked for whole.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lindos.data.clean import normalise
from lindos.data.errors import DataError
from lindos.data.files import is_jsonl, read_rows

_BASE = np.uint64(0x9E3779B97F4A7C15)
_FLAG_BITS = 25
_LETTER = np.array([chr(b).isalnum() or b >= 0x80 for b in range(256)])
_QUESTION = re.compile(r"[^.?!\n]+\?")
PROMPT = re.compile(r"^(?:Question|Context|Passage|Q|Goal)\s*:\s*|\n?(?:Answer|A)\s*:\s*$")


@dataclass(frozen=True)
class Overlaps:
    """The hashed runs of all evaluation sets. `masks[i]` has bit s set when run `hashes[i]` occurs in `names[s]`."""

    names: tuple[str, ...]
    words: int
    hashes: np.ndarray  # uint64, sorted
    masks: np.ndarray  # uint64
    flags: np.ndarray  # bool [2 ** _FLAG_BITS]
    short: dict[str, int]
    """Questions of four words and more that are shorter than a run, as `plain` words, and their bits."""

    def find(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """For each text the names of the evaluation sets it shares a run with."""
        found = np.zeros(len(texts), np.uint64)
        runs, owners = _runs(texts, self.words)
        near = self.flags[runs >> np.uint64(64 - _FLAG_BITS)]
        runs, owners = runs[near], owners[near]
        at = np.minimum(np.searchsorted(self.hashes, runs), max(len(self.hashes) - 1, 0))
        hit = self.hashes[at] == runs if len(self.hashes) else np.zeros(len(runs), bool)
        np.bitwise_or.at(found, owners[hit], self.masks[at[hit]])
        for number, text in enumerate(texts):
            for question in _QUESTION.findall(text):
                found[number] |= np.uint64(self.short.get(plain(PROMPT.sub("", question.strip())), 0))
        return [self._named(int(mask)) for mask in found]

    def _named(self, mask: int) -> tuple[str, ...]:
        return tuple(name for bit, name in enumerate(self.names) if mask >> bit & 1) if mask else ()

    def save(self, path: Path) -> None:
        """Write to an .npz file, so that worker processes can read it."""
        np.savez(
            path,
            names=np.array(self.names),
            words=self.words,
            hashes=self.hashes,
            masks=self.masks,
            questions=np.array(list(self.short), str),
            bits=np.array(list(self.short.values()), np.uint64),
        )

    @classmethod
    def load(cls, path: Path) -> Overlaps:
        """What `save` wrote."""
        with np.load(path) as held:
            names = tuple(str(name) for name in held["names"])
            short = dict(zip(held["questions"].tolist(), held["bits"].tolist(), strict=True))
            return cls._made(names, int(held["words"]), held["hashes"], held["masks"], short)

    @classmethod
    def _made(
        cls, names: tuple[str, ...], words: int, hashes: np.ndarray, masks: np.ndarray, short: dict[str, int]
    ) -> Overlaps:
        flags = np.zeros(1 << _FLAG_BITS, bool)
        flags[hashes >> np.uint64(64 - _FLAG_BITS)] = True
        return cls(names, words, hashes, masks, flags, short)


def index_evaluations(folder: Path, words: int = 10) -> Overlaps:
    """Hash every text field of every JSONL, CSV and text file under `folder`. Raises DataError if there are none."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_evaluation(path)]
    if not files:
        raise DataError(f"{folder}: holds no evaluations to keep out (looked for .jsonl, .csv and .txt files)")
    if len(files) > 64:
        raise DataError(f"{folder}: {len(files)} evaluation files, but at most 64 can be told apart; merge some")
    names = tuple(str(path.relative_to(folder)).split(".")[0] for path in files)
    hashes: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    short: dict[str, int] = {}
    for bit, path in enumerate(files):
        texts = list(_texts(path))
        runs = np.unique(_runs(texts, words)[0])
        for text in texts:
            asked = plain(text) if text.rstrip().endswith("?") else ""
            if 4 <= len(asked.split()) < words:
                short[asked] = short.get(asked, 0) | 1 << bit
        hashes.append(runs)
        masks.append(np.full(len(runs), 1 << bit, np.uint64))
    merged, place = np.unique(np.concatenate(hashes), return_inverse=True)
    combined = np.zeros(len(merged), np.uint64)
    np.bitwise_or.at(combined, place, np.concatenate(masks))
    return Overlaps._made(names, words, merged, combined, short)


def plain(text: str) -> str:
    """Words only, lowercased: two questions that differ in case and signs are the same."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))


def _is_evaluation(path: Path) -> bool:
    return is_jsonl(path) or path.suffix in (".csv", ".txt")


def _texts(path: Path) -> Iterator[str]:
    rows: list[dict[str, Any]]
    if path.suffix == ".csv":
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
    else:
        rows = list(read_rows(path))
    for row in rows:
        fields = [PROMPT.sub("", normalise(text)) for text in _strings(row)]
        yield from fields
        # A passage and its last word are one text to whoever reads them (LAMBADA), and so are question and answer.
        opening = row.get("context") or row.get("query")
        closing = row.get("continuation") or row.get("answer")
        if isinstance(opening, str) and isinstance(closing, str):
            yield f"{PROMPT.sub('', normalise(opening))} {normalise(closing)}"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64, so that all bits depend on all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _runs(texts: Sequence[str], words: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all runs of `words` words, uint64, and which text each is from; no run spans two texts."""
    encoded = [text.lower().replace("'", "").encode("utf-8", errors="replace") + b"\n" for text in texts]
    data = np.frombuffer(b"".join(encoded), np.uint8)
    letter = np.concatenate(([False], _LETTER[data], [False]))
    edges = np.flatnonzero(letter[1:] != letter[:-1])
    starts, ends = edges[0::2], edges[1::2]
    if len(starts) < words:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    # A word's hash is its bytes as digits of a number in base _BASE modulo 2^64, highest first: Horner by position.
    hashed = np.zeros(len(starts), np.uint64)
    lengths = ends - starts
    for offset in range(int(lengths.max())):
        longer = np.flatnonzero(lengths > offset)
        hashed[longer] = hashed[longer] * _BASE + data[starts[longer] + offset].astype(np.uint64) + np.uint64(1)
    hashed = _mixed(hashed)
    owner = np.searchsorted(np.cumsum([len(part) for part in encoded]), starts, side="right")
    count = len(starts) - words + 1
    runs = np.zeros(count, np.uint64)
    for offset in range(words):
        runs = runs * _BASE + hashed[offset : offset + count]
    inside = owner[:count] == owner[words - 1 :]
    return _mixed(runs)[inside], owner[:count][inside]
