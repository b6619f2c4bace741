"""What training would take: the best layouts of a cluster, and the time, energy and money of a run on each."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lindos.plan.arrays import BORROWED, USUAL_WAYS, Software, accelerator_of, hardware_of, layouts_of, work_of
from lindos.plan.case import Case
from lindos.plan.choices import check_amounts, choices_for
from lindos.plan.constants import Constants, shipped_constants
from lindos.plan.goodput import Goodput, goodput
from lindos.plan.memory import GIB, memory
from lindos.plan.money import run_cost
from lindos.plan.replay.intervals import interval
from lindos.plan.replay.published import Row, read_rows
from lindos.plan.scaling import ScalingPoint, scaling
from lindos.plan.search import Found, Scored, as_layouts, search
from lindos.plan.step import TODAY, step
from lindos.plan.why import Why, why
from lindos.specs import Cluster, Layout, ModelSpec, Precision, Spec, SpecError

RESERVED = 4 * GIB
"""Bytes of an accelerator that the driver, the communication library and fragmentation take."""
SHOWN_OPTIONS = 5


class Range(Spec):
    """A figure and its 80% interval."""

    value: float
    low: float
    high: float


class Option(Spec):
    """One layout and what the run takes with it."""

    layout: Layout
    devices: int
    spares: int
    step_s: Range
    parts_s: dict[str, float]
    """Seconds of a step by what they go to; they add up to the step."""
    memory: dict[str, float]
    """Bytes of the fullest rank by kind."""
    memory_limit: float
    fits: bool
    tokens_per_s: float
    mfu: float
    """Model FLOPs over the accelerators' dense 16-bit peak, whatever the precision."""
    training_days: Range
    """Of uninterrupted training."""
    calendar_days: Range
    """Failures, restarts and checkpoints included."""
    energy_mwh: Range
    dollars: Range | None
    """None where no price is known."""
    goodput: Goodput
    extrapolated: bool
    """Whether more accelerators are asked for than any replayed run had."""
    nearest: tuple[str, ...]
    """The published runs whose errors the interval is made of, the nearest first."""

    @property
    def memory_total(self) -> float:
        return sum(self.memory.values())


class Point(Spec):
    """One candidate in the picture of memory against speed."""

    memory_gib: float
    step_s: float | None
    """None: it does not fit."""


class TrainPlan(Spec):
    """The answer of `lindos plan train`."""

    model: ModelSpec
    cluster: Cluster
    tokens: float
    sequence: int
    batch: int
    """Sequences in one step."""
    batch_given: bool
    steps: int
    software: float
    """The software's date that the prediction assumes, as a decimal year."""
    candidates: int
    fit: int
    options: tuple[Option, ...]
    why: tuple[Why, ...] = ()
    scaling: tuple[ScalingPoint, ...] = ()
    picture: tuple[Point, ...] = ()
    notes: tuple[str, ...] = ()


def tuned_software() -> Software:
    """Well-kept software of the date that the constants describe."""
    return Software.of(
        USUAL_WAYS
        | {
            "date": TODAY, "flash": 3, "gathering": 1, "compiled": 1, "graphs": 0.5, "dispatch_overlap": 1,
            "tensor_overlap": 1, "sequence_parallel": 1, "gradient_bytes": 4, "site": 1, "logit_bytes": 6,
            "products_again": 0, "fused_sort": 1, "token_drop": 0,
        }
    )  # fmt: skip


def usual_sequence(model: ModelSpec) -> int:
    """Tokens in a sequence: the model's longest, at most 8,192, as pre-training does."""
    return min(model.sequence, 8192)


def usual_batch(tokens: float, sequence: int, devices: int) -> int:
    """Sequences in one step: a power of two.

    At least the critical batch, 22.9 D^0.47 tokens for D tokens of training (Zhang et al.,
    https://arxiv.org/abs/2410.21676), beyond which larger batches need more tokens; and a sequence for every sixteen
    accelerators, below which a large cluster has nothing to do.
    """
    least = max(22.9 * tokens**0.47 / sequence, devices / 16, 1)
    most = max(tokens / sequence / 100, 1)
    return 1 << max(0, min(math.ceil(math.log2(least)), int(math.log2(most))))


def shared_case(model: ModelSpec, cluster: Cluster, *, sequence: int, batch: int) -> Case:
    """What all layouts of a plan share, as a case of length one."""
    return Case(
        work_of(model, sequence=sequence, batch=batch), hardware_of(cluster), layouts_of([Layout()]), tuned_software()
    )


def memory_limit(cluster: Cluster) -> float:
    """Bytes of one accelerator that training may take."""
    return accelerator_of(cluster).memory_bytes - RESERVED


def check_precision(cluster: Cluster, name: str) -> None:
    """Raise SpecError where the accelerator has no units for a number format, or it is none to train in."""
    chip = accelerator_of(cluster)
    known = [p for p in ("bf16", "fp16", "fp8", "fp4") if Precision(p) in chip.peak_flops]
    if name not in known:
        have = ", ".join(known) or "none that training is planned in"
        raise SpecError(f"{chip.title or chip.name} has no units for {name} (it has: {have})")


def precisions_of(cluster: Cluster) -> tuple[str, ...]:
    """16-bit, and the narrower formats that the accelerator has units for."""
    chip = accelerator_of(cluster)
    if not {Precision.BF16, Precision.FP16} & set(chip.peak_flops):
        raise SpecError(f"{chip.title or chip.name} has no 16-bit units; training is not planned without")
    first = "bf16" if Precision.BF16 in chip.peak_flops else "fp16"
    return (first, "fp8") if Precision.FP8 in chip.peak_flops else (first,)


def plan_train(
    model: ModelSpec, cluster: Cluster, *, tokens: float, sequence: int | None = None, batch: int | None = None,
    precision: Sequence[str] | None = None, layout: Layout | None = None, constants: Constants | None = None,
    picture: bool = True,
) -> TrainPlan:  # fmt: skip
    """Search all layouts (or take the given one) and say what the run takes.

    `sequence` is by default the model's, at most 8,192; `batch` is in sequences. Raises SpecError for amounts no run
    can have, a layout that does not divide, and a model that no layout fits.
    """
    constants = constants or shipped_constants()
    sequence = usual_sequence(model) if sequence is None else sequence
    check_amounts(tokens=tokens, sequence=sequence, batch=1 if batch is None else batch)
    given, batch = batch is not None, batch or usual_batch(tokens, sequence, cluster.devices)
    for name in [layout.precision] if layout else precision or ():
        check_precision(cluster, name)
    shared = shared_case(model, cluster, sequence=sequence, batch=batch)
    limit = memory_limit(cluster)
    found, reasons, points = Found(), (), ()
    if layout is not None:
        rows = [_one(layout, model, cluster, batch=batch, sequence=sequence)]
    else:
        choices = choices_for(
            model, shared.hardware, cluster.devices, sequence=sequence, batch=batch,
            precision=precision or precisions_of(cluster),
        )  # fmt: skip
        found = search(shared, choices, constants, limit=limit)
        rows = _best_rows(found, model, cluster, limit)
        reasons = why(shared, found, constants, limit)
    options = [_option(shared, row, cluster, tokens, constants, limit) for row in rows]
    if picture and layout is None:
        others = scaling(model, cluster, shared, constants, limit, precision or precisions_of(cluster))
        points = tuple(sorted((*others, _last(options[0])), key=lambda point: point.devices))
    return TrainPlan(
        model=model, cluster=cluster, tokens=tokens, sequence=sequence, batch=batch, batch_given=given,
        steps=math.ceil(tokens / (batch * sequence)), software=TODAY, candidates=max(found.candidates, 1),
        fit=found.fit if layout is None else int(options[0].fits), options=tuple(options), why=reasons,
        scaling=points, picture=tuple(_point(*p) for p in found.picture), notes=_notes(cluster, options),
    )  # fmt: skip


def _last(best: Option) -> ScalingPoint:
    """The cluster itself, as the full search found it."""
    return ScalingPoint(
        devices=best.devices + best.spares, used=best.devices, step_s=best.step_s.value,
        tokens_per_s=best.tokens_per_s, mfu=best.mfu,
    )  # fmt: skip


def _point(size: float, seconds: float, fits: bool) -> Point:
    return Point(memory_gib=size / GIB, step_s=seconds if fits else None)


def _one(layout: Layout, model: ModelSpec, cluster: Cluster, *, batch: int, sequence: int) -> tuple[float, ...]:
    if layout.world > cluster.devices:
        raise SpecError(f"the layout takes {layout.world:,} accelerators; '{cluster.name}' has {cluster.devices:,}")
    layout.check(model, batch=batch, sequence=sequence)
    return tuple(float(v[0]) for v in layouts_of([layout]).table().values())


def _best_rows(found: Found, model: ModelSpec, cluster: Cluster, limit: float) -> list[tuple[float, ...]]:
    best: list[Scored] = found.best(SHOWN_OPTIONS)
    if best:
        return [row for _, row in best]
    if found.smallest is None:
        raise SpecError(f"no layout of {model.name} divides over {cluster.devices:,} accelerators and this batch")
    raise SpecError(
        f"{model.name} does not fit on '{cluster.name}': the smallest of {found.candidates:,} layouts takes "
        f"{found.smallest[0] / GIB:,.0f} GiB an accelerator, {limit / GIB:,.0f} GiB are there "
        f"({(found.smallest[0] - limit) / GIB:,.0f} GiB too many)"
    )


def _option(
    shared: Case, row: tuple[float, ...], cluster: Cluster, tokens: float, constants: Mapping[str, float], limit: float
) -> Option:
    case = Case(shared.work, shared.hardware, as_layouts([row]), shared.software)
    timed, held = step(case, constants), memory(case)
    seconds, devices = float(timed.seconds[0]), int(case.layout.world[0])
    around = interval(case)
    low, high = float(around.low_ratio[0]), float(around.high_ratio[0])
    share = goodput(cluster, devices)
    per_step = float(shared.work.batch[0] * shared.work.sequence[0])
    days = tokens / per_step * seconds / 86400
    calendar = days / share.share if share.share > 0 else math.inf
    if not math.isfinite(calendar):
        raise SpecError(
            f"no training gets done on '{cluster.name}': it fails every {share.hours_between * 60:,.1f} minutes "
            f"and takes {share.restart_s / 60:,.1f} minutes to train again"
        )
    cost = run_cost(cluster, calendar * 24, devices)

    def ranged(value: float) -> Range:
        return Range(value=value, low=value * low, high=value * high)

    return Option(
        layout=case.layout.layout(0), devices=devices, spares=cluster.devices - devices, step_s=ranged(seconds),
        parts_s={k: float(v[0]) for k, v in timed.parts.items()},
        memory={k: float(v[0]) for k, v in held.table().items()},
        memory_limit=limit, fits=bool(held.total[0] <= limit), tokens_per_s=per_step / seconds,
        mfu=float(case.model_flops[0] / (seconds * devices * shared.hardware.peak16[0])),
        training_days=ranged(days), calendar_days=ranged(calendar), energy_mwh=ranged(cost.energy_mwh),
        dollars=ranged(cost.dollars) if cost.dollars else None, goodput=share,
        extrapolated=bool(around.extrapolated[0]), nearest=tuple(_named(index) for index in around.nearest[0]),
    )  # fmt: skip


@functools.cache
def _shipped_rows() -> dict[int, Row]:
    return {row.index: row for row in read_rows()}


def _named(index: int) -> str:
    """A replayed run in a few words."""
    row = _shipped_rows()[index]
    release = re.search(r"(container|NeMo) [\d.]+", row.text("source"))
    where = f", {release[0]}" if release else ""
    return f"{row.text('model')} on {row.text('num_gpus')} {row.text('gpu')} ({row.publisher}{where})"


def _notes(cluster: Cluster, options: Sequence[Option]) -> tuple[str, ...]:
    notes: list[str] = []
    chip = accelerator_of(cluster)
    if chip.generation in BORROWED:
        notes.append(
            f"No published run on {chip.title or chip.name} is replayed: its efficiencies are borrowed from the "
            f"{BORROWED[chip.generation]} generation."
        )
    if any(option.extrapolated for option in options):
        notes.append("Extrapolated: more accelerators than any replayed run had; the intervals are widened for that.")
    if cluster.assumptions:
        notes.append(f"Assumed of {cluster.name}: {cluster.assumptions}")
    if options and not options[0].fits:
        over = options[0].memory_total - options[0].memory_limit
        notes.append(f"This layout does not fit: the fullest rank takes {over / GIB:,.1f} GiB more than there is.")
    return tuple(notes)


def read_layout(text: str) -> dict[str, Any]:
    """`tensor=8,pipeline=4` as fields; numbers where they are numbers. Raises SpecError."""
    fields: dict[str, Any] = {}
    if not text.strip(" ,"):
        raise SpecError("--layout is empty; write it like tensor=8,pipeline=4")
    for part in text.replace(" ", ",").split(","):
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise SpecError(f"--layout: '{part}' is not of the form name=value")
        if name.strip() in fields:
            raise SpecError(f"--layout: '{name.strip()}' is given twice")
        fields[name.strip()] = int(value) if value.strip().isdecimal() else value.strip()
    return fields


def layout_for(fields: Mapping[str, Any], cluster: Cluster, batch: int) -> Layout:
    """A layout from some of its fields: where neither shards nor replicas are given, shards fill the cluster as far as
    the batch divides (the rest are spares); virtual stages are interleaved unless something else is said."""
    if "schedule" not in fields and fields.get("virtual_stages", 1) != 1:
        fields = {**fields, "schedule": "interleaved"}
    layout = Layout.parse(dict(fields), where="--layout")
    if "shards" in fields or "replicas" in fields:
        return layout
    inner = layout.tensor * layout.pipeline * layout.context
    most = cluster.devices // inner
    whole = batch // layout.micro_batch
    for shards in range(min(most, whole), 0, -1):
        ranks = shards * layout.context * layout.tensor
        if batch % layout.micro_batch == 0 and whole % shards == 0 and ranks % layout.expert == 0:
            return layout.model_copy(update={"shards": shards})
    return layout
