"""The same work on more and more accelerators: what the picture of scaling shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lindos.plan.arrays import hardware_of
from lindos.plan.case import Case
from lindos.plan.choices import choices_for
from lindos.plan.search import as_layouts, search
from lindos.specs import Cluster, ModelSpec, Spec

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 100_000)


class ScalingPoint(Spec):
    """The fastest layout on so many accelerators."""

    devices: int
    used: int
    step_s: float | None
    """None where no layout fits."""
    tokens_per_s: float = 0.0
    mfu: float = 0.0


def scaling(
    model: ModelSpec, cluster: Cluster, shared: Case, constants: Mapping[str, float], limit: float,
    precision: Sequence[str],
) -> tuple[ScalingPoint, ...]:  # fmt: skip
    """The fastest of the usual layouts at each size but the cluster's own, with the batch kept; sizes beyond the
    cluster's as if it had more of the same machines."""
    machine = cluster.machine.devices
    sizes = sorted({max(1, s // machine) * machine for s in SIZES} - {cluster.devices})
    return tuple(_point(model, cluster, shared, constants, limit, precision, size) for size in sizes)


def _point(
    model: ModelSpec, cluster: Cluster, shared: Case, constants: Mapping[str, float], limit: float,
    precision: Sequence[str], size: int,
) -> ScalingPoint:  # fmt: skip
    part = cluster.model_copy(update={"nodes": max(1, size // cluster.machine.devices)})
    sequence, batch = int(shared.work.sequence[0]), int(shared.work.batch[0])
    case = Case(shared.work, hardware_of(part), shared.layout, shared.software)
    choices = choices_for(
        model, case.hardware, size, sequence=sequence, batch=batch, precision=precision, thorough=False
    )
    found = search(case, choices, constants, limit=limit)
    if not found.kinds:
        return ScalingPoint(devices=size, used=0, step_s=None)
    seconds, row = found.best(1)[0]
    used = int(as_layouts([row]).world[0])
    flops = float(case.model_flops[0])
    return ScalingPoint(
        devices=size, used=used, step_s=seconds, tokens_per_s=batch * sequence / seconds,
        mfu=flops / (seconds * used * float(shared.hardware.peak16[0])),
    )  # fmt: skip
