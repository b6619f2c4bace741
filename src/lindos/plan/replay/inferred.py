"""From a published row to a case: what the row says, what its model's family is known for, and stated defaults.

A row that leaves out what no default can stand in for is refused, with the reason.
"""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from lindos.plan.arrays import (
    BORROWED,
    USUAL_WAYS,
    Hardware,
    Software,
    Work,
    decimal_year,
    hardware,
    layouts_of,
    work_of,
)
from lindos.plan.case import Case
from lindos.plan.replay.published import COUNTS, Row, remembered
from lindos.plan.step import TODAY
from lindos.specs import (
    Accelerator,
    Fabric,
    Layout,
    ModelSpec,
    Precision,
    SpecError,
    catalog_accelerators,
    catalog_fabrics,
)

DEFAULTS = {
    "pp, cp, ep": "1",
    "vpp": "1 (2 where the notes speak of interleaving)",
    "micro_batch": "1 with pipeline stages, else the largest of 4, 2, 1 that divides the batch of a rank",
    "recompute": "selective before 2024, else none",
    "dp_sharding": "optimizer state, also where the cell names no kind of sharding",
    "precision": "bf16 (fp16 where the accelerator has no bf16 units)",
    "software": "the release in the source's name, else the middle of its year, else mid-2026",
    "gradients": "4 bytes before 2024 and where the notes say fp32, else 2; 2 with sharded weights before 2024",
}
"""What a row's open columns are taken as; shown by `lindos plan validate`."""


class Refused(SpecError):  # noqa: N818 (a row is refused; nothing went wrong)
    """A row that cannot be replayed; the text is the reason."""


CASE_COLUMNS = (
    "source", "year", "model", "params_total_b", *COUNTS, "gpu", "dp_sharding", "recompute", "precision", "notes",
)  # fmt: skip
"""Columns a case depends on: rows equal in these are one case."""
MODEL_COLUMNS = (
    "model", "params_total_b", "layers", "hidden", "ffn", "heads", "kv_heads", "vocab", "seq_len", "experts", "topk",
    "shared_experts", "dense_layers", "moe_ffn",
)  # fmt: skip
OPEN = ("pp", "vpp", "cp", "dp_sharding", "micro_batch", "recompute", "precision")
"""Columns for which a stated default stands in where a row leaves them empty."""


def case_of_row(row: Row) -> Case:
    """The case of one row. Raises Refused."""
    for column in COUNTS:
        if row.no_count(column):
            raise Refused(f"{column} = {row.shown(column)} is no count")
    try:
        model, batch = _model(row), _need(row, "global_batch_seqs")
        layout = _layout(row, model, batch, _machine(row).chip)
        software = _software(row, layout, software_date(row))
        return Case(_work(row), _hardware(row), layouts_of([layout]), software)
    except Refused:
        raise
    except SpecError as error:
        raise Refused(str(error).splitlines()[0]) from None


def _need(row: Row, column: str) -> int:
    value = row.count(column)
    if not value:
        raise Refused(f"{column} is not stated" if row.empty(column) else f"{column} = {row.shown(column)} is no count")
    return value


@remembered(*OPEN)
def defaults_of(row: Row) -> tuple[str, ...]:
    """Columns for which defaults stand in: those left empty, or with a 0, or with a sharding nobody knows."""
    return tuple(column for column in OPEN if _open(row, column))


@remembered("gpu", "precision")
def notes_of(row: Row) -> tuple[str, ...]:
    """What else was taken for granted about the machine of a row that can be replayed."""
    machine = _machine(row)
    chip, notes = machine.chip, [machine.note] if machine.note else []
    if chip.generation in BORROWED:
        notes.append(f"efficiencies borrowed from {BORROWED[chip.generation]}")
    if Precision.BF16 not in chip.peak_flops and _named_precision(row) in (None, "bf16"):
        notes.append("fp16, as the accelerator has no bf16 units")
    return tuple(notes)


def _open(row: Row, column: str) -> bool:
    if column == "dp_sharding":
        return _sharding(row) is None
    if column == "recompute":
        return _recompute(row) is None
    return not row.count(column) if column in COUNTS else row.empty(column)


@functools.cache
def _table(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((resources.files("lindos.plan.replay") / "published" / name).read_text(encoding="utf-8"))


def _first(table: dict[str, dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((entry for entry in table.values() if re.search(entry["pattern"], name, re.IGNORECASE)), None)


@remembered(*MODEL_COLUMNS)
def _model(row: Row) -> ModelSpec:
    """The architecture; what neither the row nor the family gives is chosen to meet the stated parameters."""
    family = {k: v for k, v in (_first(_table("families.toml"), row.text("model")) or {}).items() if k != "pattern"}
    layers, width, heads = _need(row, "layers"), _need(row, "hidden"), _need(row, "heads")
    experts = row.count("experts") or 0
    dense_layers = (row.count("dense_layers") or 0) if experts else layers
    if "w/o mtp" in row.text("model").lower() or "truncated" in row.text("model"):
        family.pop("mtp_layers", None)
    fields = {
        "name": "row", "layers": layers, "width": width, "heads": heads, "vocabulary": _need(row, "vocab"),
        "kv_heads": heads if "latent" in family else row.count("kv_heads") or heads,
        "sequence": _need(row, "seq_len"), "experts": experts, "dense_layers": dense_layers,
        "dense_width": (_need(row, "ffn") if dense_layers else 0),
    }  # fmt: skip
    if experts:
        inner = _need(row, "moe_ffn")
        fields |= {
            "experts_per_token": _need(row, "topk"),
            "expert_width": inner,
            "shared_width": inner * (row.count("shared_experts") or 0),
        }
    if fields["heads"] % fields["kv_heads"]:
        raise Refused(f"kv_heads = {fields['kv_heads']} do not divide heads = {heads}")
    candidates = [{**fields, **choice, **family} for choice in _choices(fields)]
    specs = [ModelSpec.parse(c) for c in candidates]
    stated = row.number("params_total_b")
    if not stated:
        return specs[0]
    return min(specs, key=lambda spec: round(abs(spec.parameters / 1e9 / stated - 1), 3))


@remembered(*MODEL_COLUMNS, "global_batch_seqs")
def _work(row: Row) -> Work:
    return work_of(_model(row), sequence=_need(row, "seq_len"), batch=_need(row, "global_batch_seqs"))


def _choices(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Hypotheses on what no column says, the likeliest first; ungated where the MLP is four times the width."""
    width, heads = fields["width"], fields["heads"]
    sizes = [size for size in dict.fromkeys((width // heads, 128, 64, 256)) if size and size % 2 == 0]
    ungated = fields["dense_width"] == 4 * width and not fields["experts"]
    return [
        {"head_size": size, "gated": gated, "tied_head": tied, "norms_per_layer": 2}
        for gated in ((False, True) if ungated else (True, False))
        for tied in (False, True)
        for size in sizes or [2]
    ]


def _layout(row: Row, model: ModelSpec, batch: int, chip: Accelerator) -> Layout:
    sharding = _sharding(row) or "optimizer"
    gpus = _need(row, "num_gpus")
    tensor = row.count("tp") or (1 if sharding == "weights" else _need(row, "tp"))
    pipeline, context, expert = (row.count(c) or 1 for c in ("pp", "cp", "ep"))
    inner = tensor * pipeline * context
    if gpus % inner:
        raise Refused(f"{gpus} GPUs are not a multiple of tp * pp * cp = {inner}")
    data = gpus // inner
    micro = row.count("micro_batch") or _usual_micro_batch(row, pipeline, batch, data)
    if batch < data:
        raise Refused(f"a batch of {batch} sequences is fewer than {data} data ranks")
    micro = min(micro, max(batch // data, 1))
    notes = row.text("notes").lower()
    virtual = row.count("vpp") or (2 if pipeline > 1 and "interleaved" in notes else 1)
    stages = pipeline * virtual
    if stages > model.layers + 2 + model.mtp_layers:
        raise Refused(f"{model.layers} layers cannot fill {stages} stages")
    if model.experts and (model.experts % expert or (gpus // pipeline) % expert):
        raise Refused(f"ep = {expert} does not divide {model.experts} experts and {gpus // pipeline} ranks of a stage")
    return Layout(
        replicas=1, shards=data, tensor=tensor, pipeline=pipeline, virtual_stages=virtual,
        schedule="zero-bubble" if "zero-bubble" in notes else "interleaved" if virtual > 1 else "1f1b",
        ends_count=pipeline > 1 and model.layers % stages != 0, context=context,
        expert=expert if model.experts else 1, sharding=sharding, micro_batch=micro,
        recompute=_recompute(row) or ("selective" if software_date(row) < 2024 else "none"),
        precision=_precision(row, chip),
    )  # fmt: skip


def _usual_micro_batch(row: Row, pipeline: int, batch: int, data: int) -> int:
    each = batch // data
    told = re.search(r"fits ([1-9]\d{0,5}) micro.?batches", row.text("notes"))
    if told and each % int(told[1]) == 0:
        return each // int(told[1])
    return 1 if pipeline > 1 else next((b for b in (4, 2) if each and each % b == 0), 1)


def _sharding(row: Row) -> Any:
    """What data-parallel ranks share; None where the cell is empty or unknown."""
    text = re.sub(r"[^a-z0-9]+", " ", row.text("dp_sharding").lower()).strip()
    return next((kind for kind, pattern in SHARDINGS if re.search(pattern, text)), None)


SHARDINGS = (
    ("none", r"^(no|none|off|false|0)\b"),
    ("weights", r"(zero|stage) ?3|fully? ?shard|hybrid ?shard|hsdp|fsdp"),
    ("gradients", r"(zero|stage) ?2|shard grad"),
    ("optimizer", r"(zero|stage) ?1|opt"),
    ("none", r"ddp|(zero|stage) ?0|none"),
)


def _recompute(row: Row) -> Any:
    """What is computed again; None where the cell is empty."""
    text = row.text("recompute").lower()
    if re.match(r"none|(no|off|false|disabled|0|0\.0)(?![a-z0-9.])", text):
        return "none"
    if row.empty("recompute"):
        return None
    return "full" if re.match(r"full|(yes|true|on|1|1\.0)$", text) else "selective"


def _precision(row: Row, chip: Accelerator) -> Any:
    """The number format of the products, where the accelerator has units for it."""
    name = _named_precision(row) or "bf16"
    if name == "bf16" and Precision.BF16 not in chip.peak_flops:
        return "fp16"
    if name in ("fp8", "fp4") and Precision(name) not in chip.peak_flops:
        raise Refused(f"{' '.join(row.text('gpu').split())} has no {name[2]}-bit float units")
    return name


def _named_precision(row: Row) -> str | None:
    """What the cell says; None where it is empty."""
    if row.empty("precision"):
        return None
    text = re.sub(r"[ _-]", "", row.text("precision").lower())
    found = next((name for name, pattern in FORMATS if re.search(pattern, text)), None)
    if found is None or re.search(r"int\d|tf32|f(p|loat)(6(?!\d)|64|128)", text):
        raise Refused(f"precision = {row.shown('precision')} is none that training is planned in")
    return found


FORMATS = (
    ("fp4", r"f(p|loat)4(?!\d)"),
    ("fp8", r"f(p|loat)8(?!\d)|e4m3|e5m2"),
    ("bf16", r"bf(p|loat)?16"),
    ("fp16", r"f(p|loat)16|half|^16"),
    ("fp32", r"f(p|loat)32|^32"),
)
"""Spellings of number formats; of several in one cell the first here counts."""


@remembered("source", "year")
def software_date(row: Row) -> float:
    """Year, as a decimal, of the software that ran it."""
    source = row.text("source")
    release = re.search(r"(?:container|nemo|release)\D{0,3}(2\d)\.(\d\d)", source, re.IGNORECASE)
    if release:
        return decimal_year(f"20{release[1]}-{release[2]}")
    year = row.number("year")
    named = re.search(r"\((Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\w* (20\d\d)\)", source)
    if named:
        months = "JanFebMarAprMayJunJulAugSepOctNovDec"
        return int(named[2]) + months.index(named[1]) / 36
    if not year or not 2015 <= year <= 2100:
        return TODAY
    return min(year + 0.5, TODAY)


@dataclass(frozen=True)
class _Machine:
    """What a published table means by its name for a machine."""

    chip: Accelerator
    fabric: Fabric
    ports: float
    note: str


@functools.cache
def _machines() -> dict[str, _Machine]:
    chips, fabrics = catalog_accelerators(), catalog_fabrics()
    found = {}
    for name, entry in _table("machines.toml").items():
        chip = Accelerator.parse({**chips[entry["accelerator"]].model_dump(), **entry.get("instead", {})})
        found[name] = _Machine(chip, fabrics[entry["fabric"]], entry["ports"], entry.get("note", ""))
    return found


@remembered("gpu")
def _machine(row: Row) -> _Machine:
    if row.empty("gpu"):
        raise Refused("gpu is not stated")
    name = row.text("gpu")
    found = next((k for k, e in _table("machines.toml").items() if re.search(e["pattern"], name, re.IGNORECASE)), None)
    if found is None:
        raise Refused(f"no efficiencies are fitted for {row.shown('gpu')}")
    return _machines()[found]


@remembered("gpu", "notes")
def _hardware(row: Row) -> Hardware:
    machine, name = _machine(row), row.text("gpu")
    chip, fabric = machine.chip, machine.fabric
    port = machine.ports * fabric.bandwidth * fabric.efficiency
    stated = re.search(r"(\d+) ?gbps node-node", row.text("notes").lower())
    if stated:
        port = float(stated[1]) * 1e9 / 8 / chip.link_domain
    watts = re.search(r"(\d{3,4}) ?w\b", f"{name} {row.text('notes')}".lower())
    if watts:
        chip = chip.model_copy(update={"power_watts": float(watts[1])})
    link, one_fabric = chip.link_bandwidth or port, 1 << 20
    return hardware(
        chip, domain=chip.link_domain, link=link, port=port, latency=fabric.latency, pod=one_fabric, oversubscription=1
    )


def _software(row: Row, layout: Layout, date: float) -> Software:
    notes, recompute = row.text("notes").lower(), row.text("recompute").lower()
    some = "cuda graphs" in notes and "cuda graphs none" not in notes
    graphs = 1.0 if "full_iteration" in notes else 0.5 if some else 0.0
    measured = re.search(r"measured only (0\.\d+) of \d+ tflop", notes)
    sharded = layout.sharding == "weights"
    old = date < 2024
    fp32_gradients = "fp32 grad" in notes or (old and not sharded)
    overlap = "async" in notes or (row.publisher == "NVIDIA" and date >= 2023.5)
    return Software.of(
        USUAL_WAYS
        | {
            "date": date,
            "flash": _attention(row, date),
            "gathering": date >= 2022,
            "compiled": not re.search(r"\beager\b", notes),
            "graphs": graphs,
            "dispatch_overlap": "a2a_overlap on" in notes,
            "tensor_overlap": overlap,
            "sequence_parallel": "no sequence parallel" not in notes and (date >= 2022.9 or "+sp" in recompute),
            "gradient_bytes": 4 if fp32_gradients else 2,
            "site": float(measured[1]) / USUAL_PRODUCT if measured else 1.0,
            "logit_bytes": _logit_bytes(layout, notes, date),
            "products_again": 0.45 if sharded and "titan" in row.text("source").lower() else 0.0,
            "fused_sort": bool(re.search(r"dispatcher (hybridep|deepep)", notes)),
            "token_drop": "tokendrop" in row.text("model").lower() or "token drop" in notes,
        }
    )


def _attention(row: Row, date: float) -> int:
    """Fused since late 2022; for Hopper's own units since late 2023 in NVIDIA's software, from 2026 elsewhere."""
    notes = row.text("notes").lower()
    if date < 2022.9:
        return int("flash" in notes)
    if date >= (2023.8 if row.publisher == "NVIDIA" else 2026.0):
        return 3
    return 2 if date >= 2023.6 else 1


def _logit_bytes(layout: Layout, notes: str, date: float) -> float:
    """Megatron fuses the loss; PyTorch's keeps fp32 copies, fewer since its loss is compiled (2025)."""
    if layout.sharding != "weights" or date >= 2025.0:
        return 6.0
    return 16.5 if re.search(r"\beager\b", notes) else 14.0


USUAL_PRODUCT = 0.72
"""Share of peak a large product usually reaches; a row that states its own is corrected by the ratio."""
