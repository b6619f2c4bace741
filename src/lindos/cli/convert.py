"""`lindos convert`: from one checkpoint format to another, and holding a converted directory against its checksums."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

if TYPE_CHECKING:
    from lindos.model.formats.convert import Report


class Target(StrEnum):
    """The formats that can be written."""

    OWN = "own"
    SGLANG = "sglang"
    KEYFAN = "keyfan"
    MIXTRAL = "mixtral"
    QWEN3_MOE = "qwen3-moe"
    GGUF = "gguf"


class Dtype(StrEnum):
    """What matrices are stored as; norms and routers are always fp32."""

    KEEP = "keep"
    BF16 = "bf16"
    FP32 = "fp32"
    INT8 = "int8"
    F16 = "f16"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"


class Rounding(StrEnum):
    """How int4 is rounded to."""

    NEAREST = "nearest"
    SEARCH = "search"
    CALIBRATED = "calibrated"


class Weights(StrEnum):
    """What a quantised model's matrices are stored as; embedding and head are int8 at least, norms and routers fp32."""

    INT4 = "int4"
    INT8 = "int8"
    BF16 = "bf16"


def command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A model directory of any format, or a GGUF file.")],
    destination: Annotated[
        Path | None,
        typer.Argument(
            metavar="DST", help="Where the result goes: a new or empty directory; a name ending in .gguf for GGUF."
        ),
    ] = None,
    to: Annotated[Target, typer.Option(help="The format of the result; see docs/formats.md.")] = Target.OWN,
    dtype: Annotated[
        Dtype,
        typer.Option(
            help="What matrices are stored as. keep: as in the source, without loss "
            "(the release's int8 only in the own format; elsewhere it becomes bf16). own: bf16, fp32 or int8; "
            "gguf: bf16, fp32, f16, q8_0 or q4_0; others: bf16 or fp32."
        ),
    ] = Dtype.KEEP,
    quantise: Annotated[
        Weights | None,
        typer.Option(
            help="Write the engine's own form instead, matrices as its kernels read them: int4 (4.5 bits a weight) or "
            "int8 (8.5), in groups of 32; bf16 rearranges only.",
        ),
    ] = None,
    rounding: Annotated[
        Rounding,
        typer.Option(
            help="How --quantise int4 rounds. nearest: as in GGUF's Q4_0. search: each group's scale of least squared "
            "error; the model strays less, and rounding takes four times as long. calibrated: by running "
            "--calibration text through the model; it strays least, and has to fit in memory.",
        ),
    ] = Rounding.NEAREST,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Text for --rounding calibrated, such as the model was trained on; plain or JSON lines.",
        ),
    ] = None,
    calibration_tokens: Annotated[int, typer.Option(min=1, help="How many tokens of it to use at most.")] = 32_768,
    spec: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A JSON or TOML description instead of the one beside the source, in Lindos's, the release's or "
            "Hugging Face's names; or the name of a model of the catalogue.",
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A tokenizer to put beside the result (.json or .model).")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Compare the result with its source at the end.")] = True,
    check: Annotated[
        bool, typer.Option("--check", help="Hold SRC against its checksums.json; convert nothing.")
    ] = False,
) -> None:
    """Convert a checkpoint between formats, matrix by matrix.

    Reads the release's pickles (nothing in them is executed); safetensors in SGLang's names (Grok-1, Grok-2), keyfan's
    (Grok-1) and transformers' (Mixtral, Qwen3-MoE); GGUF of these; Lindos's own and quantised directories. An
    interrupted conversion continues when the same command is run again. DST appears only when
    it is complete and verified.
    """
    if check:
        if destination is not None:
            raise typer.BadParameter("--check takes one directory")
        _check(source)
        return
    if destination is None:
        raise typer.BadParameter("say where the result goes: lindos convert SRC DST")
    if quantise is not None and (to is not Target.OWN or dtype is not Dtype.KEEP):
        raise typer.BadParameter("--quantise has a form of its own; leave out --to and --dtype")
    if rounding is not Rounding.NEAREST and quantise is not Weights.INT4:
        raise typer.BadParameter("--rounding is for --quantise int4")
    if (rounding is Rounding.CALIBRATED) != (calibration is not None):
        raise typer.BadParameter("--rounding calibrated and --calibration FILE go together")
    from lindos.model.formats import convert

    windows: list[list[int]] = []
    if calibration is not None:
        from lindos.evaluate import text_windows
        from lindos.text import load_tokenizer

        windows = text_windows(calibration, load_tokenizer(tokenizer or source), most=calibration_tokens)
    with _progress() as bar:
        report = convert(
            source,
            destination,
            to=to.value,
            dtype=dtype.value,
            quantise=quantise.value if quantise else None,
            rounding=rounding.value,
            calibration=windows,
            spec=spec,
            tokenizer=tokenizer,
            verify=verify,
            progress=_shown_in(bar),
        )
    _tell(report)


def _check(directory: Path) -> None:
    from lindos.model.formats import check_directory

    with _progress() as bar:
        count = check_directory(directory, _shown_in(bar))
    typer.echo(f"{directory}: {count} files, all as they were written")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _shown_in(bar: Progress) -> Callable[[str, int, int], None]:
    """A bar that appears with the first thing to show, so that an early error stands alone."""
    task = bar.add_task("", visible=False)

    def show(what: str, done: int, total: int) -> None:
        bar.update(task, description=escape(what), completed=done, total=total, visible=True)

    return show


def _tell(report: Report) -> None:
    part = f"{report.reused} of them" if report.files > 1 else "part of it"
    again = f" ({part} from an earlier run)" if report.reused else ""
    files = f"{report.files} file{'s' if report.files > 1 else ''}"
    typer.echo(f"{report.destination}: {files} of tensors{again}, {report.bytes:,} bytes, from {report.source_format}")
    if report.taken_over:
        typer.echo(f"the whole numbers of {report.taken_over} tensors are the source's own, with its scales")
    if report.rounded_anew:
        names, more = ", ".join(report.rounded_anew[:3]), len(report.rounded_anew) - 3
        and_more = f" and {more} more" if more > 0 else ""
        typer.echo(f"rounded again, because fp16 with a power of two does not hold their scales: {names}{and_more}")
    if report.comparison is None:
        typer.echo("not compared with its source (--no-verify)")
    else:
        typer.echo(str(report.comparison))
