"""The table of verbs, and what happens when one of them fails."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from lindos import __version__
from lindos.specs import LindosError, nearest

VERBS = {
    "chat": "Talk to a model, in the browser or the terminal.",
    "plan": "Say what training or installing a model takes.",
    "serve": "Serve a model: an OpenAI-compatible API and the chat page.",
    "posts": "Follow what people post, and search it.",
    "batch": "Answer thousands of prompts from a file.",
    "events": "Register events whose outcome nobody may announce early.",
    "assistant": "Try the assistant on a timeline.",
    "models": "List the known models, or explain one.",
    "convert": "Convert checkpoints between formats, tensor by tensor.",
    "logits": "Write the logits of a model for some tokens, to verify a conversion.",
    "data": "Prepare text and conversations for training.",
    "train": "Train a model as a run file says.",
    "evaluate": "Measure a model, and write its card.",
}
BELOW: dict[tuple[str, ...], str] = {("train", "plot"): "train_plot", ("train", "lighthouse"): "train_lighthouse"}
"""Verbs under one that also has a command of its own: two words, and the file. A run file called plot is ./plot."""


class Verbs(TyperGroup):
    """Loads a verb's file only when it is called, so that `--help` and small verbs start at once."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        file = BELOW.get(tuple(cmd_name.split(" "))) or (cmd_name if cmd_name in VERBS else None)
        if file is None:
            return None
        module: Any = importlib.import_module(f"lindos.cli.{file}")
        if hasattr(module, "app"):
            command = typer.main.get_command(module.app)
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command()(module.command)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if tuple(args[:2]) in BELOW:
            return super().resolve_command(ctx, [" ".join(args[:2]), *args[2:]])
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            close = nearest(args[0], VERBS)
            hint = f"; did you mean '{close}'?" if close else f" (known: {', '.join(VERBS)})"
            ctx.fail(f"unknown verb '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


app = typer.Typer(cls=Verbs, add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def lindos(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    """Plans, trains, serves and talks to Grok-class mixture-of-experts language models."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; errors meant for people are printed without a traceback, exit status 1."""
    try:
        app()
    except LindosError as error:
        _complain(str(error))
        raise SystemExit(1) from None
    except BrokenPipeError:
        # The reader of a pipe went away (`lindos models | head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        # A disk that fails, a folder that may not be read: nobody's bug, and the file's name says most.
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        raise SystemExit(1) from None


def _complain(text: str) -> None:
    Console(stderr=True).print(f"[bold red]lindos:[/bold red] {escape(text)}", highlight=False, soft_wrap=True)
