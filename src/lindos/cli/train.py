"""`lindos train`: run a run file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lindos.specs import SpecError

if TYPE_CHECKING:
    from lindos.train import RunFile

console = Console()


def command(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.toml", help="The run: model, data, optimiser, schedule.")],
    out: Annotated[
        Path | None, typer.Option(help="Where checkpoints, journal and model go.  [default: work/runs/NAME]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest whole checkpoint.")] = False,
    renew: Annotated[
        bool,
        typer.Option(
            "--renew",
            help="With --resume: where data, start weights or run file have changed since the run began, put the old "
            "run aside and begin anew, instead of refusing.",
        ),
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="End this leg after so many steps.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="End this leg after so many minutes.")] = None,
    replica: Annotated[
        str,
        typer.Option(
            help="Train as this replica group among others that come and go, each started by a command of its own; "
            "layout.replicas of the run file are those inside one group. Wants lindos[torchft].",
        ),
    ] = "",
    lighthouse: Annotated[
        str, typer.Option(help="With --replica: address of `lindos train lighthouse`, like http://10.0.0.1:29510.")
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train nothing: run the training code as one rank of the layout on tensors without values, and say "
            "what it would hold, multiply and exchange in a step.",
        ),
    ] = False,
    world: Annotated[
        int | None,
        typer.Option(min=1, help="With --dry-run or --explain: ranks in all; replicas fill up what the layout leaves."),
    ] = None,
    rank: Annotated[int, typer.Option(min=0, help="With --dry-run: which rank.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Train nothing: say what would run where, and what each rank would hold.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="With --dry-run: draw the memory over a step into this file (.svg, .png).")
    ] = None,
) -> None:
    """Train a model as a run file says, in one go or in legs.

    Killed at any moment and continued with --resume, the losses go on bit for bit (same kind of machine, same number
    of threads, same versions). At the end of every leg the weights stand in OUT/model, ready for `lindos chat`,
    `lindos evaluate` and `lindos convert`. A run file with a [layout] runs on many processes, which PyTorch's torchrun
    starts: torchrun --nproc-per-node 8 -m lindos train RUN.toml --resume

    `lindos train plot DIR` draws how a run went: losses, balance, speed, and where its time went.
    `lindos train lighthouse` is what replica groups find each other by.
    """
    from lindos.train import RunFile
    from lindos.train.machine import joined

    _check_modes(dry_run, explain, {"--rank": rank, "--json": as_json, "--picture": picture}, world)
    run = _among(RunFile.load(run_file), replica, lighthouse)
    if dry_run:
        from lindos.cli.train_dry import dry_run as rehearse

        rehearse(run, world, rank, as_json, picture, console)
        return
    if explain:
        from lindos.cli.train_explain import explain as tell

        tell(run, world, console)
        return
    folder = out or Path("work/runs") / run.name
    options = [("--out", str(out or "")), ("--replica", replica), ("--lighthouse", lighthouse)]
    given = [word for name, value in options if value for word in (name, value)]
    again = shlex.join(["lindos", "train", str(run_file), *given, "--resume"])
    with joined(run.machine.device, run.replicas.lighthouse):
        _train(run, folder, resume, renew, steps, minutes, again)


def _among(run: RunFile, replica: str, lighthouse: str) -> RunFile:
    """The run as one group of several, where options say so."""
    said = {key: value for key, value in (("name", replica), ("lighthouse", lighthouse)) if value}
    return run.model_copy(update={"replicas": run.replicas.model_copy(update=said)}) if said else run


def _train(
    run: RunFile, folder: Path, resume: bool, renew: bool, steps: int | None, minutes: float | None, again: str
) -> None:
    """A leg; the trainer and its process groups are gone when it returns."""
    from lindos.train import Trainer

    trainer = Trainer(run, folder, resume=resume, renew=renew, console=console)
    spec = run.spec
    trainer.console.print(
        f"{run.name}: {spec.parameters:,} parameters, {spec.active_parameters:,} active per token; "
        f"{run.tokens_per_step:,} tokens a step, {run.schedule.steps:,} steps; from step {trainer.step:,}",
        highlight=False,
    )
    reached = trainer.train(steps=steps, minutes=minutes)
    writes = trainer.holder.mine
    trainer.export(folder / "model")
    more = "" if reached >= run.schedule.steps else f"; continue with: {again}"
    model = f"the model is in {folder / 'model'}" if writes else "another group writes the model"
    told = f"step {reached:,} of {run.schedule.steps:,}; {model}{more}"
    trainer.console.print(told, highlight=False, markup=False, soft_wrap=True)


def _check_modes(dry_run: bool, explain: bool, only_dry: dict[str, Any], world: int | None) -> None:
    """Raise SpecError for options that say how to do what was not asked for: the run would begin instead."""
    if dry_run and explain:
        raise SpecError("--dry-run and --explain: give one of the two")
    for name, value in only_dry.items():
        if value and not dry_run:
            raise SpecError(f"{name} belongs to --dry-run")
    if world is not None and not (dry_run or explain):
        raise SpecError("--world belongs to --dry-run or --explain; a run has as many ranks as torchrun starts")
