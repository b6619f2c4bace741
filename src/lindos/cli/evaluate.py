"""`lindos evaluate`: measure a model, and write its card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from lindos.evaluate import Evaluation


def command(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", help="A model directory; several only with --against.")
    ],
    tasks: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="What to measure, with commas between: blimp, arc-easy, piqa, lambada, bits, answers."
        ),
    ] = "blimp,arc-easy,piqa,lambada,bits,answers",
    root: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="The folder that holds eval/.  [default: LINDOS_SHARED/data]"),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A prepared data set: its held-out text is measured and its sources go on the card. Repeatable.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many questions of each group (for BLiMP: of each paradigm).")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the figures go as JSON; figures already there are kept.")
    ] = None,
    card: Annotated[bool, typer.Option("--card", help="Write MODEL_CARD.md and loss.svg into MODEL.")] = False,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="For the card: a training run's folder, in the order of training. Repeatable."
        ),
    ] = None,
    made_by: Annotated[
        list[str] | None,
        typer.Option(metavar="COMMAND", help="For the card: a command that made the model. Repeatable."),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="For the card: what the model cannot do, in Markdown, instead of a few lines."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Instead of tasks: how far each MODEL strays from this one, the same before it was quantised, on the "
            "text of --text.",
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For --against: held-out text, plain or as JSON lines with a field 'text' (or 'context' and "
            "'continuation'); .zst and .gz are unpacked.",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="For --against: how many tokens to predict at most.")] = 20_000,
    device: Annotated[str, typer.Option(help="Where the network runs, such as cpu or cuda.")] = "cpu",
) -> None:
    """Measure a model on BLiMP, ARC-easy, PIQA, LAMBADA and held-out text, and ask it thirty fixed questions.

    With --json FILE the figures are kept, and a later call adds to them; `--tasks none --json FILE --card` writes the
    card from what is kept without measuring anything. With --against, perplexities and the Kullback-Leibler divergence
    of next-token distributions from another model's.
    """
    if against is not None:
        if text is None:
            raise typer.BadParameter("--against wants text to compare on: --text FILE")
        _compare(against, models, text, tokens, device)
        return
    if len(models) > 1:
        raise typer.BadParameter("one model at a time; several only with --against")
    model = models[0]
    from lindos.evaluate import LIMITS, Evaluation, EvaluationError, evaluate, write_model_card

    console = Console(stderr=True)
    names = [name.strip() for name in tasks.split(",") if name.strip() not in ("", "none")]
    try:
        told = LIMITS if limits is None else limits.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{limits}: cannot be read: {error}") from None
    kept = Evaluation.load(json) if json is not None and json.is_file() else None

    def keep(so_far: Evaluation) -> Evaluation:
        whole = so_far if kept is None else kept.merged(so_far)
        if json is not None:
            whole.save(json)
        return whole

    found = evaluate(
        model,
        tasks=names,
        root=_root(root),
        data=data or (),
        limit=limit,
        device=device,
        console=console,
        keep=keep,
    )
    found = keep(found)
    _show(found)
    if card:
        path = write_model_card(model, found, runs=run or (), data=data or (), made_by=made_by or (), limits=told)
        typer.echo(f"the card is in {path}")


def _compare(reference: Path, models: list[Path], text: Path, tokens: int, device: str) -> None:
    """A row for the reference itself and each model."""
    import torch

    from lindos.evaluate import divergence, text_windows
    from lindos.evaluate.measure import chosen_device, progress_bars
    from lindos.model.formats import load_model
    from lindos.text import load_tokenizer

    where = chosen_device(device)
    windows = text_windows(text, load_tokenizer(reference), most=tokens)
    first = load_model(reference, dtype=torch.float32, device=where)
    table = Table("model")
    for name in ("perplexity", "nats more", "KL", "same likeliest token"):
        table.add_column(name, justify="right")
    count = 0
    with progress_bars(Console(stderr=True)) as bars:
        for each in (reference, *models):
            line = bars.add_task(each.name, total=None)
            found = divergence(
                first,
                first if each is reference else load_model(each, dtype=torch.float32, device=where),
                windows,
                lambda done, total, line=line: bars.update(line, completed=done, total=total),
            )
            count = found.tokens
            table.add_row(
                str(each),
                f"{found.perplexity:.2f}",
                "" if each is reference else f"{found.nats_more:.4f} ± {found.nats_error:.4f}",
                "" if each is reference else f"{found.kl:.5f} ± {found.kl_error:.5f}",
                "" if each is reference else f"{found.agreement:.2%}",
            )
    Console().print(table)
    typer.echo(f"{count:,} tokens of {text}; KL(reference || model) in nats, ± standard error over tokens")


def _root(given: Path | None) -> Path | None:
    if given is not None:
        return given
    shared = os.environ.get("LINDOS_SHARED")
    return Path(shared) / "data" if shared else None


def _show(found: Evaluation) -> None:
    console = Console()
    if found.tasks:
        table = Table(title=found.model.name)
        for name in ("task", "figure"):
            table.add_column(name)
        for name in ("value", "95% interval", "chance", "questions", "seconds"):
            table.add_column(name, justify="right")
        for result in found.tasks:
            for figure in result.figures:
                share = figure.low is not None and figure.high is not None
                table.add_row(
                    result.task,
                    figure.name,
                    f"{figure.value:.2%}" if share else f"{figure.value:,.2f}",
                    f"{figure.low:.2%} to {figure.high:.2%}" if share else "",
                    "" if figure.chance is None else f"{figure.chance:.1%}",
                    f"{figure.count:,}",
                    f"{result.seconds:.0f}",
                )
        console.print(table)
    for each in found.bits:
        console.print(f"{each.data}, {each.group}: {each.bits_per_byte:.3f} bits per byte", highlight=False)
    for each in found.answers:
        console.print(f"\n> {each.ask}\n{each.answer}", highlight=False, markup=False)
