"""What a run began with: a resumed run goes on with exactly that, or is told which part is another one now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lindos.data import BatchPlan, TokenDataset
from lindos.model.formats import weights_digest
from lindos.specs import ModelSpec, SpecError
from lindos.train.run_file import RunFile

MAY_CHANGE = (
    "schedule",
    "evaluate",
    "sample",
    "checkpoint",
    "log",
    "watch",
    "machine",
    "data.path",
    "data.micro_batch",
    "layout",
    "replicas",
    "start",
    "optimizer.lr",
    "optimizer.matrix_lr",
)
"""What a resumed run may have changed in its file. `start` may lie elsewhere, but must hold the same weights."""
_NAMES = ("name", "title", "source", "licence", "kind")
"""Fields of a spec that say nothing about the network."""


class ChangedRun(SpecError):  # noqa: N818 - what it reports is a state: the folder's run is not this one
    """The checkpoints in a run's folder are of a run that began otherwise."""


def origin_of(run: RunFile, data: TokenDataset, plan: BatchPlan) -> dict[str, Any]:
    """What a checkpoint notes of its run."""
    origin: dict[str, Any] = {
        "run": run.model_dump(mode="json"),
        "spec": run.spec.model_dump(mode="json"),
        "data_fingerprint": data.fingerprint,
        "plan_fingerprint": plan.fingerprint,
    }
    if run.start:
        origin["start_sha256"] = weights_digest(Path(run.start))
    return origin


def check_origin(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ChangedRun naming the first thing in which `now` is not what the checkpoint was made with."""
    if saved["data_fingerprint"] != now["data_fingerprint"]:
        raise ChangedRun(
            f"{now['run']['data']['path']}: its fingerprint {now['data_fingerprint'][:12]} is not that of the data the "
            f"run began with, {saved['data_fingerprint'][:12]}"
        )
    began = RunFile.parse(saved["run"], where="the run in the checkpoint")  # fields added since have their defaults
    _same(_flat(began.model_dump(mode="json")), _flat(now["run"]), MAY_CHANGE, "")
    if "spec" in saved:
        network = ModelSpec.parse(saved["spec"], where="the model in the checkpoint").model_dump(mode="json")
        _same(network, now["spec"], _NAMES, f"model {now['run']['model']}: ")
    if saved.get("plan_fingerprint", now["plan_fingerprint"]) != now["plan_fingerprint"]:
        raise ChangedRun("this version of Lindos would show the run other batches than the one it began with")
    if bool(began.start) != bool(now["run"]["start"]):
        raise ChangedRun(f"start: the run began with '{began.start}', now it is '{now['run']['start']}'")
    if saved.get("start_sha256", now.get("start_sha256")) != now.get("start_sha256"):
        raise ChangedRun(f"{now['run']['start']}: holds other weights than those the run began with")


def _same(before: dict[str, Any], now: dict[str, Any], may_change: tuple[str, ...], where: str) -> None:
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key) and not key.startswith(may_change):
            raise ChangedRun(
                f"{where}{key}: the run began with {before.get(key)!r}, now it is {now.get(key)!r}; "
                "put it back or start a new run"
            )


def check_start(run: RunFile, spec: ModelSpec, data: TokenDataset) -> None:
    """Raise SpecError unless the model a run starts from is of the run's shape and reads with the data's tokenizer."""
    try:
        _same(_plain(spec), _plain(run.spec), _NAMES, "")
    except ChangedRun as error:
        raise SpecError(f"{run.start}: is no '{run.model}': {error}") from None
    theirs = Path(run.start) / "tokenizer.json"
    if theirs.is_file() and theirs.read_bytes() != (data.folder / "tokenizer.json").read_bytes():
        raise SpecError(f"{run.start}: reads with another tokenizer than the data in {run.data.path}")


def _plain(spec: ModelSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json")


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out
