"""`lindos train`: run a run file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lindos.specs import SpecError

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
    """
    from lindos.train import RunFile, Trainer
    from lindos.train.machine import joined

    _check_modes(dry_run, explain, {"--rank": rank, "--json": as_json, "--picture": picture}, world)
    run = RunFile.load(run_file)
    if dry_run:
        from lindos.cli.train_dry import dry_run as rehearse

        rehearse(run, world, rank, as_json, picture, console)
        return
    if explain:
        from lindos.cli.train_explain import explain as tell

        tell(run, world, console)
        return
    folder = out or Path("work/runs") / run.name
    with joined(run.machine.device):
        trainer = Trainer(run, folder, resume=resume, renew=renew, console=console)
        spec = run.spec
        trainer.console.print(
            f"{run.name}: {spec.parameters:,} parameters, {spec.active_parameters:,} active per token; "
            f"{run.tokens_per_step:,} tokens a step, {run.schedule.steps:,} steps; from step {trainer.step:,}",
            highlight=False,
        )
        reached = trainer.train(steps=steps, minutes=minutes)
        trainer.export(folder / "model")
    again = shlex.join(["lindos", "train", str(run_file), *(["--out", str(out)] if out else []), "--resume"])
    more = "" if reached >= run.schedule.steps else f"; continue with: {again}"
    told = f"step {reached:,} of {run.schedule.steps:,}; the model is in {folder / 'model'}{more}"
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
