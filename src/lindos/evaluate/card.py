"""The model card: what a model is, what it was made of, how well it does, what it says and what it cannot do.

Everything in it comes from records (the model's description, journals of its runs, reports of its data sets, its
evaluation); what is missing is said to be missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lindos.data import TokenDataset
from lindos.evaluate.card_tables import blimp_details, cell, data_section, published_table, results_table, table
from lindos.evaluate.curve import RunRecord, draw_losses, read_run
from lindos.evaluate.record import Evaluation
from lindos.evaluate.scoring import EvaluationError
from lindos.model.formats import note_changed
from lindos.specs import ModelSpec

CARD = "MODEL_CARD.md"
CURVE = "loss.svg"

LIMITS = """\
- It states wrong things in the same voice as right ones. Check anything that matters.
- It has no clock and no news: it knows nothing that came after its training text, and remembers nothing beyond the
  conversation in front of it.
- What it refuses it refuses by habit. A server that faces strangers needs its own policy in front of it.
- Medical, legal and money questions belong to people. It is no source for any of them.
"""
"""What holds for every model; whoever made one knows more."""


def write_model_card(
    directory: Path,
    evaluation: Evaluation,
    *,
    runs: Sequence[Path] = (),
    data: Sequence[Path] = (),
    made_by: Sequence[str] = (),
    limits: str = LIMITS,
) -> Path:
    """Write `MODEL_CARD.md` and, with runs, `loss.svg` into the model's directory; returns the card's path.

    `runs` are journals (or run folders) in the order of training, `data` prepared data sets, `made_by` the commands or
    files that made the model, `limits` what it cannot do, as Markdown. Its checksums are brought up to date.
    Raises EvaluationError, and DataError for a data set that cannot be read.
    """
    records = [read_run(path) for path in runs]
    if records:
        draw_losses(records, directory / CURVE)
    reports = [(dataset.meta, dataset.report()) for dataset in map(TokenDataset.open, data)]
    sections = [
        _head(evaluation.model),
        _training(records, made_by),
        data_section(reports),
        _evaluation(evaluation),
        _bits(evaluation),
        _answers(evaluation, kept_out=any(_table(report, "mix").get("questions") for _, report in reports)),
        f"## What it cannot do\n\n{limits}",
        _licence(evaluation.model),
    ]
    path = directory / CARD
    try:
        path.write_text("\n".join(section.rstrip() + "\n" for section in sections if section), encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be written: {error}") from None
    note_changed(directory, CARD, CURVE)
    return path


def _head(spec: ModelSpec) -> str:
    kind = "a chat model, tuned on role tokens" if spec.kind == "chat" else "a base model: it completes text"
    rows = [
        ("parameters", f"{spec.parameters:,}"),
        ("active for each token", f"{spec.active_parameters:,}"),
        ("layers, width", f"{spec.layers}, {spec.width}"),
        ("attention", f"{spec.heads} heads of {spec.head_size}, {spec.kv_heads} for keys and values"),
        ("experts", f"{spec.experts} of width {spec.expert_width}, {spec.experts_per_token} for each token"),
        ("vocabulary", f"{spec.vocabulary:,}"),
        ("longest sequence", f"{spec.sequence:,} tokens"),
        ("key-value cache", f"{spec.kv_bytes_per_token():,} bytes a token in bf16"),
        ("kind", kind),
    ]
    return f"# {spec.name}\n\n{spec.title or spec.name}.\n\n{table(('', ''), rows)}"


def _training(records: Sequence[RunRecord], made_by: Sequence[str]) -> str:
    lines = ["## How it was trained\n"]
    if not records:
        lines.append("No record of its training was given.\n")
    for record in records:
        lines.append(f"**{cell(record.name)}**: {_told(record)}\n")
    if records:
        lines.append(f"![Loss over the tokens trained on]({CURVE})\n")
    if made_by:
        listed = "\n".join(made_by)
        lines.append(f"Made by:\n\n```\n{listed}\n```\n")
    return "\n".join(lines)


def _told(record: RunRecord) -> str:
    settings = record.settings
    parts = [f"{record.tokens:,} tokens in {len(record.steps):,} steps, {record.hours:.1f} hours"]
    optimizer, data = _table(settings, "optimizer"), _table(settings, "data")
    if data:
        parts.append(f"batches of {data.get('batch')} x {data.get('sequence')} tokens")
    if optimizer:
        parts.append(f"optimiser {optimizer.get('kind')}, peak rate {optimizer.get('lr')}")
    kinds = sorted({", ".join(f"{key} {value}" for key, value in each.items()) for each in record.environments})
    if kinds:
        parts.append("on " + "; ".join(kinds))
    last = [float(step["loss"]) for step in record.steps[-max(1, len(record.steps) // 50) :]]
    parts.append(f"training loss at the end {sum(last) / len(last):.3f} nats a token")
    if record.evaluations:
        parts.append(f"held-out {float(record.evaluations[-1]['loss']):.3f}")
    return "; ".join(parts) + "."


def _table(settings: dict[str, Any], name: str) -> dict[str, Any]:
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _evaluation(evaluation: Evaluation) -> str:
    if not evaluation.tasks:
        return "## Evaluation\n\nNo task was measured.\n"
    spec = evaluation.model
    size = f"{spec.parameters / 1e6:.3g}M parameters, {spec.active_parameters / 1e6:.2g}M active"
    return (
        "## Evaluation\n\nZero-shot, fp32, each text behind the start token where the model was trained with one; "
        "intervals are Wilson's at 95%. "
        "BLiMP is the mean over its paradigms. Length-normalised divides an answer's log-likelihood by its characters. "
        "LAMBADA: every token of the last word must be the likeliest.\n\n"
        f"{results_table(evaluation.tasks)}\n{published_table(evaluation.tasks, size)}\n"
        f"{blimp_details(evaluation.tasks)}"
    )


def _bits(evaluation: Evaluation) -> str:
    if not evaluation.bits:
        return ""
    rows = [
        (
            each.data,
            each.group,
            f"{each.bits_per_byte:.3f}",
            f"{each.nats_per_token:.3f}",
            f"{each.tokens:,}{'' if each.whole else ' (a part)'}",
        )
        for each in evaluation.bits
    ]
    heads = ("data set", "group", "bits per byte", "nats per token", "tokens")
    words = "In conversations only the assistant's words count, and each conversation is read alone."
    if len({each.data for each in evaluation.bits}) > 1:
        words += (
            " The data sets draw on some of the same sources, each with a held-out part of its own: what is held out "
            "of a later one may have been read, in another form, in an earlier one, and own templates recombine the "
            "same texts."
        )
    return f"## Held-out text\n\n{words}\n\n{table(heads, rows)}"


def _answers(evaluation: Evaluation, *, kept_out: bool) -> str:
    if not evaluation.answers:
        return ""
    told = [
        f"**{number}.** *{cell(each.ask)}*\n\n{_quoted(each.answer)}"
        + ("" if each.finish == "stop" else "\n>\n> (cut off)")
        for number, each in enumerate(evaluation.answers, 1)
    ]
    under = f' under the system message "{evaluation.system}"' if evaluation.system else ""
    head = f"## Its answers to {len(told)} fixed questions, unedited"
    head += f"\n\nEach asked alone{under}, likeliest token each time."
    head += " Their wording was kept out of its training conversations." if kept_out else ""
    return head + "\n\n" + "\n\n".join(told) + "\n"


def _quoted(text: str) -> str:
    """As a quotation that Markdown shows as it is: no line of an answer may become a heading or a list of ours."""
    safe = text.replace("\\", "\\\\").replace("<", "&lt;")
    for sign in "*_`[]#|":
        safe = safe.replace(sign, "\\" + sign)
    lines = safe.split("\n") if text.strip() else ["(nothing)"]
    return "\n".join(f"> {line}".rstrip() + "  " for line in lines).rstrip()


def _licence(spec: ModelSpec) -> str:
    return f"## Licence\n\n{spec.licence or 'Not stated.'}\n"
