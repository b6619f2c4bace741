"""Speed of Lindos's own engine on the machine at hand, from what a probe measured.

Quantised models are `packed.py`'s. Of others the engine keeps all weights in memory, in fp32 or bf16, and runs
PyTorch's operations one by one: a step is the bytes it reads, its arithmetic, and its calls, as PyTorch's dispatch
costs as much as the bytes in small models.
"""

from __future__ import annotations

from collections.abc import Mapping

from lindos.kernels import Probe
from lindos.plan.install.decode import Decode, Part
from lindos.plan.install.packed import CHUNK, decode_packed, packed_precisions
from lindos.plan.install.places import PartName, Placed, distinct_experts, kv_bytes, place, stored_bytes
from lindos.specs import ModelSpec, Precision, SpecError
from lindos.specs.computable import check_computable

SMALL = 200_000_000
"""Parameters below which the engine takes fp32 on any processor, as `lindos.engine` does."""
ROOM = 1.25
"""Memory over weights the engine wants before it takes the wider format."""


def here_precisions(spec: ModelSpec, measured: Probe) -> tuple[Precision, ...]:
    """The formats to tell of: that which the engine takes by itself and the other plain one, then quantised ones."""
    wide = spec.parameters < SMALL or not measured.multiplies_bf16
    fits = ROOM * spec.weight_bytes(Precision.FP32) < measured.memory_available
    plain = (Precision.FP32, Precision.BF16) if wide and fits else (Precision.BF16, Precision.FP32)
    return (*plain, *packed_precisions(measured))


def decode_here(
    spec: ModelSpec, measured: Probe, precision: Precision, batch: int, context: int, constants: Mapping[str, float]
) -> Decode:
    """Place the model on this machine and time a decode step of Lindos's own engine."""
    asked = Decode(
        model=spec.name, machine="this-machine", precision=precision, batch=batch, context=context, fits=False
    )
    try:
        check_computable(spec)
    except SpecError as error:
        return asked.model_copy(update={"reason": str(error)})
    if precision in packed_precisions(measured):
        return decode_packed(spec, measured, precision, batch, context, constants)
    stored = stored_bytes(spec, precision, batch, context)
    stored["kv"] *= precision.bytes_per_weight / Precision.BF16.bytes_per_weight  # kept in the weights' format
    placed = place(stored, {"accelerator": 0.0, "host": float(int(measured.memory_available)), "disk": 0.0})
    if placed.missing:
        return asked.model_copy(
            update={"missing_bytes": placed.missing, "reason": _refusal(precision, placed, measured)}
        )
    seconds = _part_seconds(spec, measured, precision, stored, batch, context, constants)
    launch = calls(spec, batch, constants) * measured.call_seconds * constants["engine_call"]
    chunk = min(context, CHUNK)
    reading: dict[PartName, float] = {**stored, "kv": kv_bytes(spec, 1, context)}
    prompt = sum(_part_seconds(spec, measured, precision, reading, chunk, context // 2, constants).values())
    prompt += calls(spec, chunk, constants, requests=1) * measured.call_seconds * constants["engine_call"]
    return asked.model_copy(
        update={
            "fits": True,
            "parts": tuple(Part(name=name, **placed.where[name], seconds=seconds[name]) for name in stored),
            "host_experts": "computed" if spec.mixture_layers else "none",
            "launch_seconds": launch,
            "step_seconds": sum(seconds.values()) + launch,
            "prefill_tokens_per_second": chunk / prompt,
        }
    )


def calls(spec: ModelSpec, tokens: int, constants: Mapping[str, float], requests: int | None = None) -> float:
    """PyTorch operations of one step: a layer's own, those of each expert touched, and each request's attention."""
    requests = tokens if requests is None else requests
    alike = distinct_experts(spec.experts, spec.experts_per_token, tokens) * spec.mixture_layers
    each = constants["engine_layer_calls"] + (requests - 1) * constants["engine_request_calls"]
    return spec.layers * each + alike * constants["engine_expert_calls"]


def _refusal(precision: Precision, placed: Placed, measured: Probe) -> str:
    total, free = sum(placed.stored.values()) / 1e9, measured.memory_available / 1e9
    return (
        f"the engine keeps weights that are not quantised in memory: {precision.value} takes {total:,.1f} GB with the "
        f"cache, {free:,.1f} GB are free, {placed.missing / 1e9:,.1f} GB short"
    )


def _part_seconds(
    spec: ModelSpec, measured: Probe, precision: Precision, stored: Mapping[PartName, float], tokens: int, context: int,
    constants: Mapping[str, float],
) -> dict[PartName, float]:  # fmt: skip
    """Seconds of each part: its bytes at the engine's share of memory bandwidth, or its arithmetic, if longer."""
    distinct = distinct_experts(spec.experts, spec.experts_per_token, tokens)
    touched: dict[PartName, float] = {**stored}
    touched["embedding"] = min(
        touched["embedding"], (spec.vocabulary + tokens) * spec.width * precision.bytes_per_weight
    )
    touched["experts"] *= distinct / spec.experts if spec.experts else 0.0
    share = "engine_memory_share" if tokens == 1 else "engine_rows_share"
    bandwidth = measured.memory_bandwidth * constants[share]
    # The arithmetic of a part, by its share of the bytes touched: close enough where memory is the limit.
    flops = tokens * spec.forward_flops_per_token(context) / (measured.matrix_flops * constants["engine_flops"])
    if precision is Precision.BF16 and not measured.multiplies_bf16:
        bandwidth *= constants["engine_bf16_emulated"]
        flops /= constants["engine_bf16_emulated"]
    total = sum(touched.values())
    return {name: max(size / bandwidth, flops * size / total) for name, size in touched.items()}
