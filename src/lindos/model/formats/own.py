"""Loading a model from a directory of any format, and saving one in Lindos's own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from lindos.model.formats.checksums import write_checksums
from lindos.model.formats.companions import copy_companions
from lindos.model.formats.names import expected_shapes
from lindos.model.formats.opening import open_source
from lindos.model.formats.ownfiles import is_own
from lindos.model.formats.shards import plan_shards, write_index, write_json, write_shard
from lindos.model.formats.sinks import Choice, OwnSink, Sink
from lindos.model.formats.source import FormatError, Storage, TensorInfo, TensorSource
from lindos.model.transformer import Transformer

_STORED: dict[torch.dtype, Storage] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def load_model(
    directory: Path | str,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    spec: Path | str | None = None,
) -> Transformer:
    """The model in a directory of any format, in evaluation mode; norms and routers stay fp32 whatever `dtype` is.

    Besides the model itself, memory holds one matrix at a time. `spec` as in `open_source`.
    Raises FormatError and SpecError.
    """
    return fill(open_source(directory, spec), dtype=dtype, device=device)


def fill(
    source: TensorSource,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    rounding: Sink | None = None,
    bf16_constants: bool = False,
) -> Transformer:
    """A Transformer with a source's weights, as they would be after writing them through `rounding`."""
    model = Transformer(source.spec, dtype=dtype, device=device, bf16_constants=bf16_constants)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            info = source.tensors[name]
            for rows in info.blocks():
                block = source.read(name, rows)
                parameter[rows].copy_(block if rounding is None else rounding.rounded(info, block, rows))
    return model.eval()


class ModuleSource(TensorSource):
    """The weights of a Transformer in memory, as something to write."""

    format = "memory"

    def __init__(self, model: Transformer) -> None:
        self.directory, self.spec = Path(), model.spec
        self._state = model.state_dict()
        self.tensors = {
            name: TensorInfo(name, shape, _STORED.get(self._state[name].dtype, "fp32"))
            for name, shape in expected_shapes(model.spec)
        }

    def read(self, name: str, rows: slice) -> Tensor:
        return self._state[name][rows].detach().cpu()


def save_model(
    model: Transformer,
    directory: Path | str,
    *,
    tokenizer: Path | str | None = None,
    dtype: Choice = "keep",
    card: str | None = None,
    replace: bool = False,
) -> None:
    """Write a model in Lindos's own format; the directory appears whole or not at all.

    `tokenizer`: a tokenizer file or a directory with one. `dtype`: "keep" as the parameters are, "bf16", "fp32" or
    "int8". `card`: the text of MODEL_CARD.md. With `replace`, a model that Lindos wrote gives way to the new one; what
    is anything else is never touched. Raises FormatError, also for a full disk.
    """
    directory = Path(directory).resolve()  # where a link leads, so that the link stays
    if replace:
        require_replaceable(directory)
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FormatError(f"{directory}: exists already; remove it, or save with replace=True")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            _write(model, draft, tokenizer, dtype, card)
            _swap(draft, directory)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise FormatError(f"{directory}: the model cannot be written: {error.strerror or error}") from None


def require_replaceable(directory: Path) -> None:
    """Raise FormatError unless `directory` is new, empty, or a model directory of Lindos."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not directory.is_dir() or not is_own(directory):
        raise FormatError(f"{directory}: is no model that Lindos wrote, and is left as it is; move it elsewhere")


def _write(model: Transformer, draft: Path, tokenizer: Path | str | None, dtype: Choice, card: str | None) -> None:
    draft.chmod(0o755)  # mkdtemp makes it private
    source, sink = ModuleSource(model), OwnSink(dtype)
    shards = plan_shards(source.tensors.values(), sink)
    for shard in shards:
        write_shard(draft / shard.file, shard, source, sink)
    write_index(draft, shards)
    write_json(draft / "config.json", sink.config(model.spec))
    if tokenizer is not None:
        copy_companions(None, draft, tokenizer=Path(tokenizer))
    if card is not None:
        (draft / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    write_checksums(draft)


def _swap(draft: Path, directory: Path) -> None:
    """Put `draft` in the place of `directory`."""
    if not directory.exists():
        draft.rename(directory)
        return
    old = draft.with_name(draft.name + ".old")
    directory.rename(old)
    try:
        draft.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)
