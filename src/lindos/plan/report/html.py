"""The shell of the planner's pages: one self-contained HTML file, light or dark as the reader's system is.

plotly's script is inlined once; figures go in as JSON and are drawn by a few lines at the end. Nothing is fetched.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; columns listed in `numbers` are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Card:
    """One key figure: what it is, the figure, and its interval or what it comes from."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, words, cards, figures (`plotly.graph_objects.Figure`) and tables, in this order."""

    heading: str
    text: str = ""
    figures: Sequence[Any] = field(default=())
    tables: Sequence[Table] = field(default=())
    notes: Sequence[str] = field(default=())
    cards: Sequence[Card] = field(default=())


def page(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """The whole file as text. Everything given is plain text and escaped here."""
    from plotly.offline import get_plotlyjs

    sections = list(sections)
    body = "\n".join(_section(number, section) for number, section in enumerate(sections))
    drawn = any(section.figures for section in sections)
    scripts = f"<script>{get_plotlyjs()}</script>\n<script>{_DRAW}</script>" if drawn else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{_text(title)}</h1><p>{_text(subtitle)}</p></header>\n{body}\n</main>\n{scripts}\n</body>\n</html>\n"
    )


def _section(number: int, section: Section) -> str:
    parts = ["<section>"]
    if section.heading:
        parts.append(f"<h2>{_text(section.heading)}</h2>")
    if section.text:
        parts.append(f"<p>{_text(section.text)}</p>")
    if section.cards:
        parts.append(f'<div class="cards">{"".join(map(_card, section.cards))}</div>')
    figures = enumerate(section.figures)
    parts += [_figure(f"figure-{number}-{index}", section.heading, figure) for index, figure in figures]
    parts += [_table(table) for table in section.tables]
    if section.notes:
        parts.append("<ul>" + "".join(f"<li>{_text(note)}</li>" for note in section.notes) + "</ul>")
    return "\n".join([*parts, "</section>"])


def _card(card: Card) -> str:
    detail = f"<small>{_text(card.detail)}</small>" if card.detail else ""
    return f'<div class="card"><span>{_text(card.label)}</span><strong>{_text(card.value)}</strong>{detail}</div>'


def _figure(name: str, label: str, figure: Any) -> str:
    # "</" would end the script element inside a string; JSON may write the slash with a backslash.
    data = json.dumps(json.loads(figure.to_json())).replace("</", "<\\/")
    height = figure.layout.height or 420
    size = f'style="height:{int(height)}px"'
    shell = f'<div class="figure" id="{name}" role="group" aria-label="{_text(label)}" {size}></div>'
    return f'{shell}<script type="application/json" data-for="{name}">{data}</script>'


def _table(table: Table) -> str:
    def cells(kind: str, row: Sequence[str]) -> str:
        marks = [' class="number"' if index in table.numbers else "" for index in range(len(row))]
        return "".join(f"<{kind}{mark}>{_text(text)}</{kind}>" for mark, text in zip(marks, row, strict=True))

    head = f"<tr>{cells('th', table.columns)}</tr>"
    rows = "".join(f"<tr>{cells('td', row)}</tr>" for row in table.rows)
    return f'<div class="table"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _text(text: str) -> str:
    return html.escape(text)


_STYLE = """
:root { --back: #fbfaf7; --text: #1d2430; --soft: #5d6776; --line: #dcdcd6; --card: #fff; --accent: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171c; --text: #e4e7ec; --soft: #98a2b1; --line: #2d333d; --card: #1a1e25; --accent: #7db3ee; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em; margin: 0; text-wrap: balance; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .4rem; }
header p { font-size: 1.15rem; line-height: 1.45; margin: .6rem 0 0; max-width: 58rem; text-wrap: pretty; }
li, section > p { color: var(--soft); max-width: 60rem; overflow-wrap: anywhere; }
section > p { margin: .4rem 0 .9rem; }
.figure, .table, .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.figure, .table { margin: .75rem 0; }
.figure { padding: .25rem; overflow: hidden; box-sizing: content-box; } .table { overflow-x: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.card { padding: .8rem 1rem; display: flex; flex-direction: column; }
.card span { color: var(--soft); font-size: .85rem; } .card small { color: var(--soft); font-size: .85rem; }
.card strong { font-size: 1.6rem; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; padding: .4rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; } .number { text-align: right; font-variant-numeric: tabular-nums; }
@page { margin: 14mm; }
@media print {
  :root { --back: #fff; --text: #1d2430; --soft: #5d6776; --line: #dcdcd6; --card: #fff; --accent: #1f5fa8; }
  main { max-width: none; padding: 0; }
  .figure, .card, tr { break-inside: avoid; } h2, section > p { break-after: avoid; }
  .table { overflow: visible; } th, td:not(.number) { white-space: normal; }
}
"""

_DRAW = """
function draw() {
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
  const text = colour("--text"), line = colour("--line"), card = colour("--card");
  for (const source of document.querySelectorAll("script[data-for]")) {
    const figure = JSON.parse(source.textContent);
    const layout = {...figure.layout, template: undefined, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
                    font: {family: "system-ui, sans-serif", size: 13, ...(figure.layout.font || {}), color: text},
                    hoverlabel: {bgcolor: card, bordercolor: line, font: {color: text}},
                    autosize: true, height: undefined};
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis/.test(key)))
      layout[axis] = {...layout[axis], gridcolor: line, zerolinecolor: line, linecolor: line};
    // A gap in the colour of the page between the parts of a bar, which neighbouring shades alone would not show.
    for (const trace of figure.data.filter((trace) => trace.type === "bar"))
      trace.marker = {...trace.marker, line: {color: card, width: 1}};
    Plotly.react(source.dataset.for, figure.data, layout, {responsive: true, displaylogo: false});
  }
}
draw();
for (const change of ["(prefers-color-scheme: dark)", "print"]) matchMedia(change).addEventListener("change", draw);
"""
