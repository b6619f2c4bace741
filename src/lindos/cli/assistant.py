"""`lindos assistant`: trying the assistant on timelines, before anybody relies on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Try the assistant: replay a timeline of posts, events and questions, measure its policy.",
)


@app.command()
def replay(
    file: Annotated[
        Path, typer.Argument(help="A timeline: one JSON object a line (docs/settlement.md has the format).")
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="A model directory, instead of the script on the first line.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as one JSON list.")] = False,
) -> None:
    """Run a timeline against the assistant, in a store of its own, with the clock of its lines.

    Each line says when something happened ("at") and what: a "post", an "edit", a "delete", an "event" (the whole
    record each time), or an "ask", which is answered as of then, over the API where it names a "route". Without a
    script on the first line and without --model, the bundled model answers.
    """
    from lindos.assistant.replay import replay
    from lindos.assistant.timeline import read_lines
    from lindos.server.in_process import asking_in_process

    lines = read_lines(file)
    answers = replay(lines, model=model, asker=asking_in_process)
    if as_json:
        print(json.dumps(answers, ensure_ascii=False, indent=1))
        return
    _show(lines, answers)


policy = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The content policy.")
app.add_typer(policy, name="policy")


@policy.command()
def check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A policy; without one, the one in use.")] = None,
) -> None:
    """Measure a policy by its test set; the exit status is 1 where it falls short."""
    from lindos.assistant.policy_report import check_policy

    report = check_policy(file)
    for line in report.lines():
        print(line)
    if not report.good:
        raise typer.Exit(1)


def _show(lines: list[dict], answers: list[dict]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    asked = [line for line in lines if "ask" in line]
    for line, answer in zip(asked, answers, strict=True):
        console.print(f"[dim]{escape(str(line['at']))}[/dim]  [bold]{escape(line['ask'])}[/bold]")
        console.print(f"[cyan]{answer['form']}[/cyan]" + (f", as of {answer['as_of']}" if answer["as_of"] else ""))
        console.print(escape(answer["text"]))
        for citation in answer["citations"]:
            console.print(f"[dim]  {escape(citation['uri'])}: {escape(citation['text'])}[/dim]")
        for cut in answer["cut"]:
            console.print(f"[red]  held back:[/red] {escape(cut)}")
        console.print()
