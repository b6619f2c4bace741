"""A complete ModelSpec from what a checkpoint's tensors show and what a description beside them says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lindos.model.formats.families import RELEASE
from lindos.model.formats.fields import ALIASES
from lindos.model.formats.names import expected_shapes
from lindos.model.formats.source import FormatError, TensorInfo
from lindos.specs import ModelSpec, SpecError, catalog_models
from lindos.specs.computable import check_computable, check_fields

NOT_IN_SHAPES = ("head_size", "experts_per_token", "sequence")
RELEASE_NOT_IN_SHAPES = ("embedding_multiplier", "logit_multiplier")
"""The same of Grok-1's and Grok-2's, which have norms after attention and experts; others have no multipliers."""


@dataclass(frozen=True)
class Shown:
    """The sizes that tensors show by themselves."""

    layers: int
    vocabulary: int
    width: int
    inner: int
    """heads * head_size"""
    kv: int
    """kv_heads * head_size"""
    experts: int
    expert_width: int
    tied_head: bool

    @classmethod
    def by(cls, tensors: Mapping[str, TensorInfo], where: str) -> Shown:
        """Read off the embedding and layer 0; `check_shapes` holds every other tensor against it afterwards."""
        vocabulary, width = _shape(tensors, "embedding", 2, where)
        experts, _, expert_width = _shape(tensors, "layers.0.experts.gate", 3, where)
        return cls(
            layers=_count_layers(tensors),
            vocabulary=vocabulary,
            width=width,
            inner=_shape(tensors, "layers.0.attention.query", 2, where)[1],
            kv=_shape(tensors, "layers.0.attention.key", 2, where)[1],
            experts=experts,
            expert_width=expert_width,
            tied_head="head" not in tensors,
        )


def _count_layers(tensors: Mapping[str, TensorInfo]) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith("layers.")})


def _shape(tensors: Mapping[str, TensorInfo], name: str, dimensions: int, where: str) -> tuple[int, ...]:
    info = tensors.get(name)
    if info is None:
        raise FormatError(f"{where}: tensor '{name}' is missing; the checkpoint is incomplete")
    if len(info.shape) != dimensions:
        raise FormatError(f"{where}: {info.where}: expected {dimensions} dimensions, found shape {list(info.shape)}")
    return info.shape


def resolve(fields: dict[str, Any], tensors: Mapping[str, TensorInfo], *, where: str, name: str) -> ModelSpec:
    """The spec that `fields` (in Lindos's names, perhaps a few of them) and the tensors together describe.

    `where` opens error texts, `name` is used where the fields give none. Raises FormatError and SpecError.
    """
    check_fields(fields, where=where)  # first: the tensors of another network would only be called incomplete
    known = dict(fields)
    known.setdefault("tied_head", "head" not in tensors)
    widening = known.pop("widening_factor", None)
    _complete(known, tensors, where=where, name=name)
    spec = ModelSpec.parse(known, where=where)
    if widening is not None:
        _check_widening(spec, widening, where)
    check_shapes(spec, tensors, where)
    return spec


def _complete(known: dict[str, Any], tensors: Mapping[str, TensorInfo], *, where: str, name: str) -> None:
    shown = Shown.by(tensors, where)
    for key in ("layers", "vocabulary", "width", "experts", "expert_width"):
        known.setdefault(key, getattr(shown, key))
    norms_follow = any(tensor.endswith("_out") for tensor in tensors)
    shared = tensors.get("layers.0.shared.gate")
    known.setdefault("norms_per_layer", 4 if norms_follow else 2)
    known.setdefault("query_key_norms", "layers.0.attention.query_norm" in tensors)
    known.setdefault("shared_width", 0 if shared is None else shared.shape[-1])
    known.setdefault("name", plain_name(name))
    _split_heads(known, shown, tensors, where)
    wanted = NOT_IN_SHAPES + (RELEASE_NOT_IN_SHAPES if norms_follow else ())
    missing = [key for key in wanted if key not in known]
    if missing:
        raise FormatError(_missing(missing, shown, where))
    if norms_follow and shared is None:  # Grok-1, whose code says the rest
        for key, value in RELEASE.items():
            known.setdefault(key, value)
    if isinstance(known["head_size"], int) and known["head_size"] > 0:  # anything else is refused by the spec
        known.setdefault("attention_multiplier", known["head_size"] ** -0.5)


def _split_heads(known: dict[str, Any], shown: Shown, tensors: Mapping[str, TensorInfo], where: str) -> None:
    """The shapes give heads * head_size; any one of head_size, heads and kv_heads gives the rest."""
    size = known.get("head_size")
    for count, whole in (("heads", shown.inner), ("kv_heads", shown.kv)):
        number = known.get(count)
        if size is None and isinstance(number, int) and number > 0 and whole % number == 0:
            size = whole // number
    if not isinstance(size, int) or size <= 0:
        return
    known.setdefault("head_size", size)
    for key, count, whole in (("query", "heads", shown.inner), ("key", "kv_heads", shown.kv)):
        if whole % size:
            found = tensors[f"layers.0.attention.{key}"].where
            raise FormatError(f"{where}: {found}: its {whole} columns do not divide into heads of {size}")
        known.setdefault(count, whole // size)


def _missing(missing: list[str], shown: Shown, where: str) -> str:
    lines = []
    for key in missing:
        others = [theirs for theirs, ours in ALIASES.items() if ours == key]
        lines.append(f"  {key}" + (f" (or {', '.join(others)})" if others else ""))
    twin = next((name for name, spec in catalog_models().items() if _same_sizes(spec, shown) and _computed(spec)), None)
    hint = f"these are the sizes of {twin} in the catalogue: --spec {twin} says the rest" if twin else ""
    advice = hint or "put them in a config.json beside the tensors, or in a file named by --spec"
    return f"{where}: the shapes of the tensors do not tell\n" + "\n".join(lines) + f"\n{advice}"


def _same_sizes(spec: ModelSpec, shown: Shown) -> bool:
    return shown == Shown(
        spec.layers,
        spec.vocabulary,
        spec.width,
        spec.heads * spec.head_size,
        spec.kv_heads * spec.head_size,
        spec.experts,
        spec.expert_width,
        spec.tied_head,
    )


def _computed(spec: ModelSpec) -> bool:
    try:
        check_computable(spec)
    except SpecError:
        return False
    return True


def _check_widening(spec: ModelSpec, widening: Any, where: str) -> None:
    """The release gives the FFN width as a factor: two thirds of it, rounded up to a multiple of 8."""
    if isinstance(widening, bool) or not isinstance(widening, int | float) or not 0 < widening < 1e6:
        raise FormatError(f"{where}: widening_factor = {widening!r} is not a positive number")
    width = int(widening * spec.width) * 2 // 3
    width += (8 - width) % 8
    if width != spec.expert_width:
        raise FormatError(
            f"{where}: widening_factor {widening} makes experts {width} wide; "
            f"tensor 'layers.0.experts.gate' has {spec.expert_width}"
        )


def check_shapes(spec: ModelSpec, tensors: Mapping[str, TensorInfo], where: str) -> None:
    """Raise FormatError for the first tensor that the spec wants otherwise, wants and lacks, or does not know."""
    seen = 0
    for name, shape in expected_shapes(spec):
        info = tensors.get(name)
        if info is None:
            layers = f"expected {spec.layers} layers by the spec, found {_count_layers(tensors)}"
            raise FormatError(f"{where}: tensor '{name}' is missing: {layers}")
        if info.shape != shape:
            raise FormatError(
                f"{where}: {info.where}: expected shape {list(shape)} by the spec, found {list(info.shape)}"
            )
        seen += 1
    if seen < len(tensors):
        known = {name for name, _ in expected_shapes(spec)}
        extra = sorted(tensors.keys() - known)
        raise FormatError(
            f"{where}: {tensors[extra[0]].where} is not in the spec (expected {spec.layers} layers), "
            f"and {len(extra) - 1} more"
        )


def plain_name(text: str) -> str:
    """A name for a model out of any text (a folder's name)."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "model"
