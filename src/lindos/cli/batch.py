"""`lindos batch`: thousands of prompts from a file."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lindos.cli.serve import Context, Progress, Threads
from lindos.cli.sizes import Memory

if TYPE_CHECKING:
    from rich.console import Console

    from lindos.assistant import ChatModel, ModelInfo
    from lindos.server.batch import Standing

TELL_SECONDS = 10
CACHES = 0.6
"""Of memory beside the dense weights that caches may take where experts are short: all prompts share each sweep."""


def command(
    prompts: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Prompts, one JSON object a line.")],
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="Answers; what stands there is gone on with.")],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A model directory; without one, the bundled pebble.")
    ] = None,
    memory: Memory = None,
    together: Annotated[int, typer.Option(min=1, max=4096, help="Prompts computed at a time.")] = 256,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer in tokens, where a line names none.")] = 256,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="Where a line names none.", show_default="as the server's")
    ] = None,
    threads: Threads = None,
    context: Context = None,
    restart: Annotated[bool, typer.Option(help="Throw earlier answers away and begin anew.")] = False,
) -> None:
    """Answer a file of prompts, all together: a model too large for memory is read once for all of them.

    A line is {"prompt": TEXT} or {"messages": [...]}, with an "id" and any fields of the API's requests beside it, or a
    request as OpenAI's batches have it. The same command goes on where an earlier one was ended, by whatever.
    """
    from rich.console import Console

    from lindos.assistant import EngineChatModel, EngineOptions, find_model
    from lindos.server.batch import AnswersFile, read_tasks, run_batch

    # Started in the background by a script, a process has this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    directory = find_model(model)
    if restart:
        out.unlink(missing_ok=True)
    answers = AnswersFile(out, prompts)
    console = Console(stderr=True, highlight=False)
    if answers.done:
        console.print(f"{len(answers.done):,} of {answers.total:,} prompts are answered already; going on.")
    if len(answers.done) == answers.total:
        answers.close()
        console.print(f"All {answers.total:,} prompts are answered, in {out}.")
        return
    options = EngineOptions(
        memory=memory,
        max_running=together,
        max_requests=together,
        threads=threads,
        context=context,
        cache_share=CACHES,
    )
    loading = Progress(console, directory.name)
    telling = _Telling(console)

    def ready(chosen: ChatModel) -> None:
        loading.done(chosen.info)
        console.print(_caches(chosen.info, together))

    defaults = {"max_tokens": max_tokens} | ({} if temperature is None else {"temperature": temperature})
    try:
        standing = asyncio.run(
            run_batch(
                read_tasks(prompts, defaults, answers.done),
                answers,
                lambda: EngineChatModel.start(directory, options, on_progress=loading.show),
                together=together,
                on_ready=ready,
                on_progress=telling.show,
            )
        )
    except KeyboardInterrupt:
        console.print(f"Ended. {len(answers.done):,} of {answers.total:,} are answered; the same command goes on.")
        raise typer.Exit(130) from None
    finally:
        loading.stop()
        telling.stop()
        answers.close()
    rate = standing.tokens / max(standing.seconds, 1e-9)
    console.print(
        f"{standing.done:,} of {standing.total:,} prompts are answered, in {out}: {standing.tokens:,} tokens "
        f"in {_time(standing.seconds)}, {rate:,.1f} a second."
    )
    if standing.failed:
        console.print(f"{standing.failed:,} failed; their lines say why, and the same command tries them again.")
        raise typer.Exit(1)


def _caches(info: ModelInfo, together: int) -> str:
    each = min(info.kv_tokens // together, info.context)
    return (
        f"Caches hold {info.kv_tokens:,} tokens of prompts and answers: {together:,} prompts of {each:,} each run "
        f"together, longer ones, up to {info.context:,}, with fewer beside them."
    )


class _Telling:
    """How far it has come: one line that changes in a terminal, a line now and then in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = time.monotonic()
        self._status = console.status("Answering ...") if console.is_terminal else None
        self._shown = False

    def show(self, standing: Standing) -> None:
        left = "" if standing.remaining is None else f", {_time(standing.remaining)} to go"
        failed = f", {standing.failed:,} failed" if standing.failed else ""
        rate = standing.tokens / max(standing.seconds, 1e-9)
        words = f"{standing.done:,} of {standing.total:,} answered{failed}, {rate:,.1f} tokens/s{left}"
        if self._status:
            if not self._shown:
                self._status.start()
                self._shown = True
            self._status.update(words)
        elif time.monotonic() - self._told > TELL_SECONDS:
            self._told = time.monotonic()
            self._console.print(words)

    def stop(self) -> None:
        if self._status:
            self._status.stop()


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
