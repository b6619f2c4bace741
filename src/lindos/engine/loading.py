"""From a model directory to an engine that is ready: weights, tokenizer, template, and the sizes that suit them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lindos.engine.accelerated import MARGIN, AcceleratedNetwork
from lindos.engine.blocks import BlockPool
from lindos.engine.budget import MemoryPlan, Wanted, Weights, divide, process_bytes, step_bytes
from lindos.engine.core import EngineCore
from lindos.engine.interface import EngineError, EngineOptions, ModelInfo, Sampling
from lindos.engine.network import TorchNetwork
from lindos.engine.output import OutputText
from lindos.engine.packed import PackedNetwork
from lindos.engine.prompts import PromptBuilder
from lindos.engine.request import Request
from lindos.engine.runner import Runner
from lindos.engine.scheduler import Scheduler, Work
from lindos.engine.speculation import Speculation
from lindos.kernels import available_memory, usable_cores
from lindos.kernels.choosing import chosen_kernels, missing_note
from lindos.kernels.directfile import aligned
from lindos.kernels.products import products
from lindos.model.formats.opening import open_source
from lindos.model.formats.own import fill
from lindos.model.formats.packedfiles import PackedSource
from lindos.model.formats.source import TensorSource
from lindos.model.hardware import multiplies_bf16
from lindos.specs import ModelSpec, SpecError
from lindos.specs.computable import check_computable
from lindos.text import ChatTemplate, Tokenizer, chat_template, load_tokenizer

SMALL = 200_000_000
"""Parameters below which a CPU serves a model in fp32."""
FREE_SHARE = 0.85
"""Of free memory that a model takes which does not fit into it whole."""
TINY = 50_000_000
"""Active parameters below which more threads than half the cores do not pay."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Report = Callable[[str, float], None]


@dataclass(frozen=True)
class LoadedEngine:
    """What the worker needs: the core for its loop, the builder for its reader, and what to tell the client."""

    core: EngineCore
    builder: PromptBuilder
    info: ModelInfo


def load_engine(model: Path, options: EngineOptions, report: Report) -> LoadedEngine:
    """Load a model directory. Raises LindosError (EngineError, SpecError, FormatError) saying what is wrong with it."""
    started = time.monotonic()
    report("reading the description", 0.05)
    source = open_source(model)
    spec = source.spec
    check_computable(spec, where=str(model))
    context = _context(spec, options)
    device = _device(options)
    dtype = _dtype(spec, options, device)
    _check_promise(source, options)
    threads = _threads(spec, options)
    torch.set_num_threads(threads)
    tokenizer = _tokenizer(model, spec)
    template = None if tokenizer is None else _template(tokenizer, spec)
    kernels = chosen_kernels() if device.type == "cpu" else "torch"
    packed = source if isinstance(source, PackedSource) and kernels != "torch" else None
    if packed is not None:
        sizes = _divided(packed, options, context)
        network: TorchNetwork | PackedNetwork = _packed_network(packed, kernels, threads, sizes.slots, report)
        experts = network.store.stats
    else:
        kind = AcceleratedNetwork if device.type == "cuda" else TorchNetwork
        network = kind(fill(_Watched(source, report), dtype=dtype, device=device))
        sizes = _unpacked_sizes(spec, options, context, network.kv_dtype, device)
        experts = None
    pool = BlockPool(sizes.kv_tokens, reuse=options.prefix_reuse)
    runner = Runner(network, pool.total)
    report("trying it out", 0.95)
    _try_out(runner, pool, decode=device.type == "cuda")
    scheduler = Scheduler(
        pool,
        max_running=options.max_running,
        step_tokens=sizes.step_tokens,
        speculation=_speculation(network) if options.speculation else None,
    )
    builder = PromptBuilder(vocabulary=spec.vocabulary, context=sizes.context, tokenizer=tokenizer, template=template)
    notes = [_note(template, spec), _kernels_note(source, kernels), _memory_note(network, sizes.context, context)]
    info = ModelInfo(
        name=spec.name,
        kind=spec.kind,
        context=sizes.context,
        parameters=spec.parameters,
        active_parameters=spec.active_parameters,
        vocabulary=spec.vocabulary,
        dtype=_named(dtype) if isinstance(network, TorchNetwork) else network.weights,
        kernels="torch" if isinstance(network, TorchNetwork) else kernels,
        threads=threads,
        device=device.type,
        template=None if template is None else template.name,
        note=" ".join(filter(None, notes)),
        spec=spec.model_dump(mode="json"),
        load_seconds=time.monotonic() - started,
        experts_in_memory=sizes.slots,
        kv_tokens=sizes.kv_tokens,
    )
    return LoadedEngine(EngineCore(runner, scheduler, experts), builder, info)


def _speculation(network: TorchNetwork | PackedNetwork) -> Speculation | None:
    """For the native kernels: PyTorch's sums depend on how many rows there are, and a seed would not give the same."""
    if isinstance(network, TorchNetwork):
        return None
    spec = network.spec
    if network.store.complete:
        return Speculation(spec.pad_token)
    # From the disk a row costs the experts that it alone chooses.
    return Speculation(spec.pad_token, 1 - spec.experts_per_token / spec.experts)


def _check_promise(source: TensorSource, options: EngineOptions) -> None:
    """Raises EngineError where a promise of memory cannot be kept."""
    if options.memory is None or (isinstance(source, PackedSource) and chosen_kernels() != "torch"):
        return
    if isinstance(source, PackedSource):
        raise EngineError(
            f"a limit on memory needs the native kernels; {missing_note() or 'LINDOS_KERNELS says torch'}"
        )
    raise EngineError(
        f"{source.directory} is not quantised, and a limit on memory is for models that are: "
        "convert it with 'lindos convert SRC DST --quantise int4' first"
    )


def _packed_network(source: PackedSource, kernels: str, threads: int, slots: int, report: Report) -> PackedNetwork:
    expert = source.expert(0, 0).size
    total, done = max(1, source.bytes - (source.spec.layers * source.spec.experts - slots) * expert), 0

    def read(more: int) -> None:
        nonlocal done
        done += more
        report("reading the weights", min(0.95, 0.05 + 0.9 * done / total))

    # The kernels have threads of their own; what is left to PyTorch is small, and two pools would fight for the cores.
    torch.set_num_threads(1)
    return PackedNetwork(source, products(kernels, threads), read, slots=slots)


def _divided(source: PackedSource, options: EngineOptions, context: int) -> MemoryPlan:
    """How memory is divided: what was promised, or most of what is free where the model does not fit into that."""
    spec = source.spec
    experts, size = spec.layers * spec.experts, aligned(0, source.expert(0, 0).size)[1]
    dense = source.bytes - experts * source.expert(0, 0).size
    weights = Weights(dense, size, experts, _kv_bytes(spec, torch.bfloat16))
    wanted = Wanted(options.max_running, options.step_tokens, options.context, options.kv_tokens, options.cache_share)
    process = process_bytes()
    if options.memory is not None:
        return divide(options.memory, process, weights, spec, wanted)
    free = available_memory()
    usual = _kv_tokens(spec, options, context, torch.bfloat16, torch.device("cpu"))
    needed = dense + experts * size + usual * weights.kv_bytes
    needed += step_bytes(spec, max(options.step_tokens, options.max_running), options.max_running)
    if needed < free:
        return MemoryPlan(experts, context, usual, options.step_tokens)
    return divide(int(FREE_SHARE * free) + process, process, weights, spec, wanted)


def _unpacked_sizes(
    spec: ModelSpec, options: EngineOptions, context: int, dtype: torch.dtype, device: torch.device
) -> MemoryPlan:
    return MemoryPlan(
        spec.layers * spec.experts, context, _kv_tokens(spec, options, context, dtype, device), options.step_tokens
    )


def _named(dtype: torch.dtype) -> str:
    return "fp32" if dtype == torch.float32 else "bf16"


def _memory_note(network: TorchNetwork | PackedNetwork, context: int, full: int) -> str:
    """What a person should know whose model does not fit into memory."""
    if isinstance(network, TorchNetwork) or network.store.complete:
        return ""
    store = network.store
    size = store.experts * store.slot_bytes / 2**30
    note = (
        f"{store.slots:,} of its {store.experts:,} experts ({size:.1f} GiB) fit into memory, the others stay on disk."
    )
    return note if context >= full else f"{note} Memory allows for a context of {context:,} tokens."


def _kernels_note(source: TensorSource, kernels: str) -> str:
    """What a person whose quantised model PyTorch computes should know."""
    return missing_note() if kernels == "torch" and isinstance(source, PackedSource) else ""


class _Watched(TensorSource):
    """A source that reports how much of it has been read."""

    def __init__(self, source: TensorSource, report: Report) -> None:
        self.format, self.directory, self.spec, self.tensors = (
            source.format,
            source.directory,
            source.spec,
            source.tensors,
        )
        self._source = source
        self._report = report
        self._elements = 0

    def read(self, name: str, rows: slice) -> Tensor:
        block = self._source.read(name, rows)
        self._elements += block.numel()
        self._report("reading the weights", min(0.95, 0.05 + 0.9 * self._elements / self.spec.parameters))
        return block


def _try_out(runner: Runner, pool: BlockPool, *, decode: bool) -> None:
    """One step, so that the first user does not pay for first-time work, and broken weights show at once.

    With `decode` also the last token alone: the first graph is captured.
    """
    probe = Request(0, [1, 2], 1, Sampling(), OutputText(None, ()), blocks=pool.take(1))
    if not bool(torch.isfinite(runner.run([Work(probe, 0, 2)])).all()):
        raise EngineError("the weights give logits that are not finite: the model's files are damaged")
    if decode:
        runner.run([Work(probe, 1, 2)])
    pool.give(probe.blocks)


def _context(spec: ModelSpec, options: EngineOptions) -> int:
    if options.context is not None and options.context > spec.sequence:
        raise EngineError(f"context {options.context:,} exceeds what {spec.name} was made for ({spec.sequence:,})")
    return options.context or spec.sequence


def _device(options: EngineOptions) -> torch.device:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise EngineError("device 'cuda' was asked for, but torch finds no accelerator; use 'cpu' or 'auto'")
    accelerated = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if accelerated else "cpu")


def _dtype(spec: ModelSpec, options: EngineOptions, device: torch.device) -> torch.dtype:
    if options.dtype != "auto":
        return _DTYPES[options.dtype]
    if device.type != "cpu":
        return torch.bfloat16
    # Without bf16 units a processor multiplies fp32 at many times the rate of bf16, where the weights fit.
    wide = spec.parameters < SMALL or not multiplies_bf16(device)
    fits = 1.25 * spec.parameters * torch.float32.itemsize < available_memory()
    return torch.float32 if wide and fits else torch.bfloat16


def _threads(spec: ModelSpec, options: EngineOptions) -> int:
    if options.threads is not None:
        return options.threads
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    cores = usable_cores()
    return max(1, cores // 2) if spec.active_parameters < TINY else cores


def _kv_tokens(spec: ModelSpec, options: EngineOptions, context: int, dtype: torch.dtype, device: torch.device) -> int:
    if options.kv_tokens is not None:
        if options.kv_tokens < context:
            raise EngineError(
                f"a KV cache of {options.kv_tokens:,} tokens cannot hold one full context of {context:,}; "
                "raise kv_tokens or lower context"
            )
        return options.kv_tokens
    fitting = _free(device) // 4 // _kv_bytes(spec, dtype)
    return max(context, min(options.max_running * context, fitting))


def _free(device: torch.device) -> int:
    """Bytes for the cache and what steps compute; on an accelerator without those that graphs take."""
    if device.type != "cuda":
        return available_memory()
    free = torch.cuda.mem_get_info(device)[0]
    return free - min(MARGIN, free // 2)


def _kv_bytes(spec: ModelSpec, dtype: torch.dtype) -> int:
    """Of one token's keys and values."""
    return 2 * spec.layers * spec.kv_heads * spec.head_size * dtype.itemsize


def _tokenizer(model: Path, spec: ModelSpec) -> Tokenizer | None:
    """The directory's tokenizer; None where it has none. Raises SpecError for a damaged one, or another model's."""
    if not any((model / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return None
    tokenizer = load_tokenizer(model)
    if tokenizer.vocabulary > spec.vocabulary:
        raise SpecError(
            f"{model}: its tokenizer has {tokenizer.vocabulary:,} tokens, the model only {spec.vocabulary:,}; "
            "it belongs to another model"
        )
    return tokenizer


def _note(template: ChatTemplate | None, spec: ModelSpec) -> str:
    if template is None:
        return ""
    if spec.kind == "chat" and template.note:
        return "Its tokenizer has no role tokens: the chat is wrapped in labelled turns (User:, Assistant:)."
    return template.note


def _template(tokenizer: Tokenizer, spec: ModelSpec) -> ChatTemplate:
    """A chat model without role tokens in its tokenizer is talked to in labelled turns, like a base model."""
    try:
        return chat_template(tokenizer, spec.kind)
    except SpecError:
        return chat_template(tokenizer, "base")
