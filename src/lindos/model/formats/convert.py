"""Converting a checkpoint: matrix by matrix, resumable, checked, and in place only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import torch

from lindos.kernels.quantising import Rounding
from lindos.model.formats.calibration import measure_moments, moments_digest, require_memory
from lindos.model.formats.checksums import write_checksums
from lindos.model.formats.companions import check_tokenizer, copy_companions
from lindos.model.formats.compare import Comparison, compare
from lindos.model.formats.gguf.embedded import TEMPLATE, embedded_files, passed_keys
from lindos.model.formats.gguf.sink import CHOSEN, GgufSink
from lindos.model.formats.gguf.source import GgufSource
from lindos.model.formats.gguf.tokenizers import tokenizer_keys
from lindos.model.formats.gguf.writing import GgufWorkspace, plan_stretches
from lindos.model.formats.opening import open_source
from lindos.model.formats.own import fill
from lindos.model.formats.packedfiles import Weights
from lindos.model.formats.packing import PackedSink
from lindos.model.formats.shards import SHARD_BYTES, Shard, plan_shards, write_index, write_json, write_shard
from lindos.model.formats.sinks import CHOICES, Choice, Sink, sink_for
from lindos.model.formats.source import FormatError, TensorSource
from lindos.model.formats.workspace import LOCK, STATE, Workspace, require_free
from lindos.specs.computable import check_computable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, bytes done, bytes in all)."""


@dataclass(frozen=True)
class Report:
    """What a conversion did."""

    destination: Path
    source_format: str
    files: int
    reused: int
    """Files that an earlier, interrupted run had finished; of a GGUF file, stretches."""
    bytes: int
    comparison: Comparison | None
    taken_over: int = 0
    """Tensors whose whole numbers are those of the source."""
    rounded_anew: tuple[str, ...] = ()
    """Tensors of int8 whose scales the quantised form cannot hold, so that they were rounded again."""


def convert(
    source: Path | str,
    destination: Path | str,
    *,
    to: str = "own",
    dtype: Choice | Literal["f16", "q8_0", "q4_0"] = "keep",
    quantise: Weights | None = None,
    rounding: Rounding | Literal["calibrated"] = "nearest",
    calibration: Sequence[Sequence[int]] = (),
    spec: Path | str | None = None,
    tokenizer: Path | None = None,
    verify: bool = True,
    shard_bytes: int = SHARD_BYTES,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Write the checkpoint in `source` (of any format) to `destination` in the format `to`; with `quantise` in the
    kernels' layout, see `packedfiles`, and `to` and `dtype` play no part. With `to="gguf"` the destination is a file.

    `destination` must be new or empty and appears only when complete; until then the work is in `destination.partial`,
    where the same call takes it up again. Memory holds one matrix (one expert's, or a block of the embedding) and its
    rounded copy, for `quantise` two more of them; rounding by `calibration`, runs of tokens, takes the model in fp32
    and more (see `calibration`). `verify` compares result and source at the end, `memory` bounds what that may use.
    Raises FormatError and SpecError; nothing is left behind when the source is bad from the start.
    """
    source, destination = Path(source), Path(destination)
    if destination.resolve().is_relative_to(source.resolve()):
        raise FormatError(f"{destination}: lies in the source directory; choose a place outside it")
    require_free(destination)
    opened = open_source(source, spec)
    check_computable(opened.spec, where=str(source))
    if tokenizer is not None:
        check_tokenizer(tokenizer, opened.spec.vocabulary)
    if rounding == "calibrated":
        sink: Sink = _calibrated(opened, quantise, calibration, progress)
    else:
        sink = _sink(opened, to, dtype, quantise, rounding, tokenizer)
    companions: dict[str, bytes] = {}
    if isinstance(sink, GgufSink):
        shards = plan_stretches(opened.tensors.values(), sink, shard_bytes)
    else:
        shards = plan_shards(opened.tensors.values(), sink, shard_bytes)
        if isinstance(opened, GgufSource) and tokenizer is None:
            companions = embedded_files(opened.header, opened.spec.vocabulary)
    total = sum(shard.bytes for shard in shards)
    try:
        with _workspace(destination, _job(opened, sink, shards), sink) as work:
            reused = _write_shards(work, shards, opened, sink, _counter(progress, total))
            result = work.path
            if isinstance(work, GgufWorkspace):
                result = work.file
            else:
                _write_rest(work, shards, opened, sink, tokenizer, companions)
            comparison = None
            if verify:
                if progress is not None:
                    progress("comparing with the source", total, total)
                comparison = compare(opened, open_source(result), sink, memory)
            work.publish()
    except OSError as error:
        raise FormatError(_disk_trouble(error, destination)) from error
    files = 1 if isinstance(sink, GgufSink) else len(shards)
    report = Report(destination, opened.format, files, reused, total, comparison)
    if isinstance(sink, PackedSink):
        return replace(report, taken_over=len(sink.exact), rounded_anew=tuple(sink.rounded_anew))
    return report


def _calibrated(
    source: TensorSource, quantise: Weights | None, windows: Sequence[Sequence[int]], progress: Progress | None
) -> PackedSink:
    """Runs the text through the model first."""
    if quantise != "int4" or not windows:
        raise FormatError("calibrated rounding is for int4, and needs tokens to calibrate with")
    require_memory(source.spec)
    show = None if progress is None else lambda done, total: progress("running the text of calibration", done, total)
    moments = measure_moments(fill(source, dtype=torch.float32), windows, show)
    return PackedSink(quantise, source, "search", moments)


def _sink(
    source: TensorSource, to: str, dtype: str, quantise: Weights | None, rounding: Rounding, tokenizer: Path | None
) -> Sink:
    """The writer. Raises FormatError for a form that the format does not have."""
    if quantise:
        return PackedSink(quantise, source, rounding)
    if to != GgufSink.format:
        if dtype not in CHOICES:
            raise FormatError(f"{dtype} is for GGUF; {to} takes {', '.join(CHOICES)}")
        return sink_for(to, cast(Choice, dtype), source.spec)
    if dtype not in ("keep", *CHOSEN):
        raise FormatError(f"{dtype} is not for GGUF, which takes keep, {', '.join(CHOSEN)}")
    if isinstance(source, GgufSource) and tokenizer is None:
        return GgufSink(dtype, source, passed_keys(source.header))
    return GgufSink(dtype, source, tokenizer_keys(tokenizer or source.directory, source.spec))


def _workspace(destination: Path, job: dict[str, object], sink: Sink) -> Workspace:
    return GgufWorkspace(destination, job, sink) if isinstance(sink, GgufSink) else Workspace(destination, job)


def _job(source: TensorSource, sink: Sink, shards: list[Shard]) -> dict[str, object]:
    plan = repr([(shard.file, shard.entries) for shard in shards])
    form: str = sink.choice
    if isinstance(sink, PackedSink):
        form = sink.weights if sink.rounding == "nearest" else f"{sink.weights}, {sink.rounding}"
        if sink.moments:
            form += f", calibrated {moments_digest(sink.moments)}"
    elif isinstance(sink, GgufSink):
        form = sink.kind_chosen
    return {
        "source": str(source.directory.resolve()),
        "to": sink.format,
        "dtype": form,
        "spec": source.spec.model_dump(),
        "plan": hashlib.sha256(plan.encode()).hexdigest(),
    }


def _write_shards(
    work: Workspace, shards: list[Shard], source: TensorSource, sink: Sink, count: Callable[[str, int], None]
) -> int:
    """How many were there already."""
    finished = set()
    for shard in shards:
        if work.is_finished(shard):
            finished.add(shard.file)
            count(f"{shard.file} (there already)", shard.bytes)
    missing = [shard for shard in shards if shard.file not in finished]
    need, free = sum(shard.bytes for shard in missing), shutil.disk_usage(work.path).free
    if need > free:
        raise FormatError(f"{work.path}: {need:,} bytes are still to be written, but the disk has {free:,} free")
    for shard in missing:
        if isinstance(work, GgufWorkspace) and isinstance(sink, GgufSink):
            sha256 = work.write(shard, source, sink, count)
        else:
            sha256 = write_shard(work.draft(shard), shard, source, sink, count)
        work.finish(shard, sha256)
    return len(finished)


def _write_rest(
    work: Workspace,
    shards: list[Shard],
    source: TensorSource,
    sink: Sink,
    tokenizer: Path | None,
    companions: dict[str, bytes],
) -> None:
    write_index(work.path, shards)
    write_json(work.path / "config.json", sink.config(source.spec))
    copy_companions(None if isinstance(source, GgufSource) else source.directory, work.path, tokenizer)
    (work.path / TEMPLATE).unlink(missing_ok=True)
    for name, content in companions.items():
        (work.path / name).write_bytes(content)
    known = {file: noted["sha256"] for file, noted in work.done.items()}
    write_checksums(work.path, known, leave_out=frozenset({STATE, LOCK}))


def _counter(progress: Progress | None, total: int) -> Callable[[str, int], None]:
    done = 0

    def count(what: str, more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(what, done, total)

    return count


def _disk_trouble(error: OSError, destination: Path) -> str:
    partial = f"{destination}.partial"
    if error.errno == errno.ENOSPC:
        return f"{partial}: the disk is full; make room and run the same command again, it continues where it stopped"
    return f"{error.filename or partial}: {error.strerror or error}"
