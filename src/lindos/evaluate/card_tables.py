"""The tables of the model card."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from lindos.data.shards import Meta
from lindos.evaluate.published import published
from lindos.evaluate.record import Figure, TaskResult
from lindos.evaluate.tasks import TASKS

_SHOWN = {
    "blimp": "BLiMP",
    "arc-easy": "ARC-easy",
    "arc-easy-normalised": "ARC-easy, normalised",
    "piqa": "PIQA",
    "piqa-normalised": "PIQA, normalised",
    "lambada": "LAMBADA",
    "lambada-perplexity": "LAMBADA perplexity",
}


def cell(text: object) -> str:
    """Text that cannot break a table or become markup."""
    plain = " ".join(str(text).split())
    for sign in "\\|*_`<[":
        plain = plain.replace(sign, "&lt;" if sign == "<" else "\\" + sign)
    return plain


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "-|" * len(heads)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def results_table(tasks: Sequence[TaskResult]) -> str:
    """Every figure with its interval, beside what chance gives."""
    rows = []
    for result in tasks:
        title = TASKS[result.task].title if result.task in TASKS else result.task
        note = "" if result.limit is None else f" (first {result.limit} of each group)"
        for figure in result.figures:
            chance = "" if figure.chance is None else f"{figure.chance:.1%}"
            rows.append((title + note, figure.name, _value(figure), _interval(figure), chance, f"{figure.count:,}"))
    return table(("task", "figure", "value", "95% interval", "chance", "questions"), rows)


def _value(figure: Figure) -> str:
    return f"{figure.value:,.1f}" if figure.low is None else f"{figure.value:.1%}"


def _interval(figure: Figure) -> str:
    return "" if figure.low is None or figure.high is None else f"{figure.low:.1%} to {figure.high:.1%}"


def own_figures(tasks: Sequence[TaskResult]) -> dict[str, float]:
    """Our figures under the names of the published table."""
    found: dict[str, float] = {}
    for result in tasks:
        for figure in result.figures:
            suffix = {"accuracy": "", "perplexity": "-perplexity"}.get(figure.name, "-normalised")
            found[result.task + suffix] = figure.value
    return found


def published_table(tasks: Sequence[TaskResult], size: str) -> str:
    """Our figures above those of published models, each with its source."""
    known, ours = published(), own_figures(tasks)
    shown = [name for name in _SHOWN if name in ours]
    rows: list[Sequence[object]] = [("**this model**", size, *(_shown(name, ours) for name in shown), "measured")]
    for model in known.model:
        if any(name in model.figures for name in shown):
            figures = [_shown(name, model.figures) for name in shown]
            rows.append((model.name, model.size, *figures, f"{model.source} ({model.provenance})"))
    heads = ("model", "size", *(_SHOWN[name] for name in shown), "source")
    told = table(heads, rows).replace("\\*\\*this model\\*\\*", "**this model**")
    return "Beside published models (chance: " + "; ".join(_chances(shown)) + "):\n\n" + told


def _chances(shown: Sequence[str]) -> list[str]:
    return [f"{TASKS[task].title} {words}" for task, words in published().chance.items() if task in shown]


def _shown(name: str, figures: Mapping[str, float]) -> str:
    if name not in figures:
        return ""
    return f"{figures[name]:,.1f}" if name.endswith("perplexity") else f"{figures[name]:.1%}"


def blimp_details(tasks: Sequence[TaskResult]) -> str:
    """BLiMP by phenomenon, with its paradigms folded away."""
    groups = next((task.figures[0].groups for task in tasks if task.task == "blimp"), {})
    if not groups:
        return ""
    terms: dict[str, list[float]] = defaultdict(list)
    for name, share in groups.items():
        terms[name.partition("/")[0]].append(share)
    rows = [(term.replace("_", " "), f"{sum(each) / len(each):.1%}", len(each)) for term, each in sorted(terms.items())]
    single = [(name.partition("/")[2], f"{share:.1%}") for name, share in sorted(groups.items())]
    return (
        f"BLiMP by phenomenon:\n\n{table(('phenomenon', 'accuracy', 'paradigms'), rows)}\n"
        f"<details><summary>All {len(single)} paradigms</summary>\n\n"
        f"{table(('paradigm', 'accuracy'), single)}\n</details>\n"
    )


def data_section(sets: Sequence[tuple[Meta, dict[str, Any]]]) -> str:
    """What each data set was made of, under which licences, and what was removed and why."""
    if not sets:
        return "## Data\n\nNo report of its data was given.\n"
    parts = ["## Data\n"]
    shared = False
    for meta, report in sets:
        sources = [row for row in report.get("sources", []) if isinstance(row, dict)]
        total = sum(int(row.get("tokens", 0)) for row in sources)
        shared |= any("SA" in str(row.get("licence")) or "Sharing" in str(row.get("licence")) for row in sources)
        parts.append(f"### {cell(meta.name)}: {total:,} tokens\n\n{_sources(sources)}")
        parts.append(_removed(report))
    if shared:
        parts.append(
            "Parts of this text are under share-alike licences (CC BY-SA, CDLA-Sharing): whoever passes the prepared "
            "text on does so under the same licences and with these attributions.\n"
        )
    return "\n".join(parts)


def _sources(sources: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            row.get("source", ""),
            f"{int(row.get('documents', 0)):,}",
            f"{int(row.get('tokens', 0)):,}",
            f"{float(row.get('epochs', 1.0)):g}",
            row.get("licence", ""),
            row.get("attribution", ""),
        )
        for row in sources
    ]
    return table(("source", "documents", "tokens", "readings a pass", "licence", "attribution"), rows)


def _removed(report: dict[str, Any]) -> str:
    overlaps, dropped = report.get("overlaps") or {}, report.get("dropped") or {}
    keep_out = (report.get("mix") or {}).get("keep_out") or {}
    if not keep_out:
        text = "It was not compared with any evaluation.\n"
    else:
        words = keep_out.get("words", 10)
        removed = dropped.get("shares text with an evaluation", 0)
        text = f"Removed because they share a run of {words} words with an evaluation: {removed:,} documents"
        told = [f"{cell(name)} {count:,}" for name, count in sorted(overlaps.items(), key=lambda item: -item[1])]
        text += (" (" + ", ".join(told) + ")" if told else "") + ".\n"
    others = {name: count for name, count in dropped.items() if name != "shares text with an evaluation"}
    if others:
        text += (
            "\nAlso left out: " + ", ".join(f"{cell(name)} {count:,}" for name, count in sorted(others.items())) + ".\n"
        )
    return text
