"""Which format a directory is in, and an open source of its tensors."""

from __future__ import annotations

from pathlib import Path

from lindos.model.formats.foreign import ForeignSource, recognise
from lindos.model.formats.gguf.source import GgufSource
from lindos.model.formats.names import NAMINGS
from lindos.model.formats.official import OfficialSource, tensor_folder
from lindos.model.formats.ownfiles import OwnSource, is_own
from lindos.model.formats.packedfiles import PackedSource, is_packed
from lindos.model.formats.source import FormatError, TensorSource
from lindos.model.formats.tensorfiles import read_slices


def detect(directory: Path | str, *, described: bool = False) -> str:
    """`own`, `packed`, `official`, `sglang`, `keyfan`, `mixtral`, `qwen3-moe` or `gguf`.

    `described`: a damaged config.json is no matter.

    Raises FormatError saying what was looked for.
    """
    directory = Path(directory)
    if gguf_file(directory) is not None:
        return GgufSource.format
    if not directory.is_dir():
        what = "is a file; give the directory it lies in" if directory.exists() else "does not exist"
        raise FormatError(f"{directory}: {what}")
    if tensor_folder(directory) is not None:
        return OfficialSource.format
    config = directory / "config.json"
    files = sorted(directory.glob("*.safetensors"))
    if not described and is_packed(directory):
        return PackedSource.format
    if not described and is_own(directory):
        return OwnSource.format
    names = list(read_slices(directory)) if files else []
    if described and "layers.0.attention.query" in names:
        return OwnSource.format
    if names and (naming := recognise(names)) is not None:
        return naming.format
    found = f"; found {len(files)} .safetensors files with other names" if files else ""
    formats: dict[str, list[str]] = {}
    for naming in NAMINGS:
        formats.setdefault(naming.outer["embedding"], []).append(naming.format)
    embeddings = " or ".join(f"{tensor} ({', '.join(names)})" for tensor, names in formats.items())
    raise FormatError(
        f"{directory}: not a model directory. Looked for tensor00000_000 here and in ckpt-0 (official), "
        f'{config.name} with "format": "lindos-1" (own), *.safetensors with a tensor {embeddings}, '
        f"one model in .gguf files{found}"
    )


def gguf_file(path: Path) -> Path | None:
    """The file itself, or the only one of a directory (of a split model, its first); None where there is none."""
    if path.is_file() and path.suffix == ".gguf":
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    files = sorted(path.glob("*.gguf"))
    whole = [file for file in files if "-of-" not in file.stem] or [file for file in files if "-00001-of-" in file.stem]
    return whole[0] if len(whole) == 1 else None


def open_source(directory: Path | str, spec: Path | str | None = None) -> TensorSource:
    """The tensors of a model directory of any format, or of a GGUF file.

    `spec` (a TOML or JSON file in Lindos's, the release's or Hugging Face's names, or a model of the catalogue)
    replaces the description in the directory. Raises FormatError and SpecError; reads no weights yet.
    """
    directory = Path(directory)
    if (file := gguf_file(directory)) is not None:
        return GgufSource(file, spec)
    found = detect(directory, described=spec is not None)
    if found == OwnSource.format:
        return OwnSource(directory, spec)
    if found == PackedSource.format:
        return PackedSource(directory)
    if found == OfficialSource.format:
        return OfficialSource(directory, spec)
    naming = next(naming for naming in NAMINGS if naming.format == found)
    return ForeignSource(directory, naming, spec)
