"""From a mix file to a data set: read, clean, drop, choose, train or load the tokenizer, write shards."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from lindos.data.errors import DataError
from lindos.data.gather import Tally, gather, progress_bar
from lindos.data.harvest import place
from lindos.data.mix import Mix
from lindos.data.shards import DatasetWriter, Meta, disk_errors
from lindos.text import ByteLevelTokenizer, load_tokenizer, train_tokenizer

_ENCODE_AT_ONCE = 512


def prepare(
    mix: Mix, out: Path, root: Path, *, workers: int = 1, base: Path | None = None, console: Console | None = None
) -> Meta:
    """Make the data set `out` from the files under `root`; `base` is where a tokenizer's path is relative to.

    The result does not depend on the number of worker processes. Progress goes to `console` (standard error).

    Raises DataError; what was at `out` before is replaced only when everything went well.
    """
    console = console or Console(stderr=True)
    for source in mix.source:
        if not (root / source.path).is_file():
            raise DataError(f"{root / source.path}: no such file (source '{source.name}'); is --root right?")
    given = _given_tokenizer(mix, base or Path())
    vocabulary = given.vocabulary if given else mix.tokenizer.vocabulary
    with DatasetWriter(out, name=mix.name, vocabulary=vocabulary) as writer:
        spool = writer.folder / "spool"
        with disk_errors(spool):
            spool.mkdir()
        tallies = gather(mix, root, spool, workers, console)
        tokenizer = given or _trained(mix, spool, console)
        _encode(mix, spool, writer, tokenizer, tallies, console)
        with disk_errors(spool):
            for path in spool.iterdir():
                path.unlink()
            spool.rmdir()
        return writer.finish(tokenizer.source, _report(mix, tallies))


def _given_tokenizer(mix: Mix, base: Path) -> ByteLevelTokenizer | None:
    if mix.tokenizer.path is None:
        return None
    tokenizer = load_tokenizer(base / mix.tokenizer.path)
    if not isinstance(tokenizer, ByteLevelTokenizer):
        raise DataError(f"{mix.tokenizer.path}: data sets need a byte-level tokenizer (tokenizer.json)")
    return tokenizer


def _trained(mix: Mix, spool: Path, console: Console) -> ByteLevelTokenizer:
    """Train on a sample with each source's share of the mix."""
    sizes = {source.name: (spool / source.name).stat().st_size * source.epochs for source in mix.source}
    scale = mix.tokenizer.sample_megabytes * 1e6 / sum(sizes.values())

    def sample() -> Iterator[str]:
        for source in mix.source:
            left = sizes[source.name] * scale
            for text in _spooled(spool / source.name):
                if left <= 0:
                    break
                if not _is_heldout(text, mix.heldout):
                    yield text
                    left -= len(text)

    with console.status(f"training a tokenizer of {mix.tokenizer.vocabulary} tokens"):
        return train_tokenizer(sample(), mix.tokenizer.vocabulary)


def _encode(
    mix: Mix, spool: Path, writer: DatasetWriter, tokenizer: ByteLevelTokenizer, tallies: list[Tally], console: Console
) -> None:
    if tokenizer.bos is None or tokenizer.eos is None:
        raise DataError("data sets need a tokenizer with <|bos|> and <|eos|>")
    groups = {source.group: writer.part(f"heldout/{source.group}") for source in mix.source}
    with progress_bar(console) as progress:
        for source, tally in zip(mix.source, tallies, strict=True):
            line = progress.add_task(f"encoding {source.name}", total=None)
            shard = writer.part(source.name)
            for texts in _batched(_spooled(spool / source.name), _ENCODE_AT_ONCE):
                for text, words in zip(texts, tokenizer.encode_batch(texts), strict=True):
                    tokens = [tokenizer.bos, *words, tokenizer.eos]
                    heldout = _is_heldout(text, mix.heldout)
                    target = groups[source.group] if heldout else shard
                    target.add(tokens, text_bytes=len(text.encode()))
                    tally.heldout_documents += heldout
                progress.update(line, completed=shard.documents)
            writer.keep(shard.close(name=source.name, group=source.group, split="train", epochs=source.epochs))
            tally.documents, tally.tokens, tally.text_bytes = shard.documents, shard.tokens, shard.text_bytes
            progress.update(line, completed=shard.documents, total=shard.documents)
    for group, shard in groups.items():
        writer.keep(shard.close(name=f"heldout-{group}", group=group, split="heldout"))


def _is_heldout(text: str, share: float) -> bool:
    return int.from_bytes(place(text)[:8], "little") < share * 2.0**64


def _spooled(path: Path) -> Iterator[str]:
    with path.open(encoding="ascii") as file:
        yield from map(json.loads, file)


def _batched(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    held: list[str] = []
    for text in texts:
        held.append(text)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held


def _report(mix: Mix, tallies: list[Tally]) -> dict[str, Any]:
    """For people and for the model card: what went in, what was dropped, what was shared with which evaluation."""
    return {
        "mix": mix.model_dump(mode="json"),
        "sources": [vars(tally) for tally in tallies],
        "overlaps": dict(sum((tally.overlaps for tally in tallies), Counter())),
        "dropped": dict(sum((tally.dropped for tally in tallies), Counter())),
    }


def data_root(given: Path | None) -> Path:
    """The folder that paths of a mix are relative to: what was given, or `data` under LINDOS_SHARED."""
    if given is not None:
        return given
    shared = os.environ.get("LINDOS_SHARED")
    if not shared:
        raise DataError("where the sources lie is not known: give --root FOLDER, or set LINDOS_SHARED")
    return Path(shared) / "data"
