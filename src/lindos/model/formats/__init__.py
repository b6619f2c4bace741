"""Checkpoint formats: what models are loaded from, saved to and converted between.

Read: the release's pickles (`official`), safetensors in SGLang's (Grok-1, Grok-2), keyfan's and transformers' names
(Mixtral, Qwen3-MoE), GGUF, Lindos's own directories, plain and quantised. Written: all but the pickles. Every reader
offers Lindos's own tensors (`TensorSource`), every writer takes them (`Sink`), so a format is known in one place. Not
for training checkpoints, which hold optimiser state too (`lindos.train`).
"""

from lindos.model.formats.checksums import check_directory, note_changed, weights_digest
from lindos.model.formats.convert import convert
from lindos.model.formats.opening import detect, open_source
from lindos.model.formats.own import load_model, require_replaceable, save_model
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource

__all__ = [
    "FormatError",
    "TensorInfo",
    "TensorSource",
    "check_directory",
    "convert",
    "detect",
    "load_model",
    "note_changed",
    "open_source",
    "require_replaceable",
    "save_model",
    "weights_digest",
]
