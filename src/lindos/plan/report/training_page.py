"""`lindos plan train --html`: the answer in one sentence, key figures, and where all of it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lindos.plan.arrays import accelerator_of
from lindos.plan.memory import GIB
from lindos.plan.money import device_hour_price, device_watts
from lindos.plan.report import training_figures as figures
from lindos.plan.report.html import Card, Section, Table, page
from lindos.plan.report.training_figures import ENERGY, MONEY, scaled
from lindos.plan.training import RESERVED, Option, Range, TrainPlan
from lindos.specs import Layout

AMOUNTS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1.0, ""))
DURATIONS = ((1.0, "days"), (1 / 24, "hours"), (1 / 1440, "minutes"))
"""Sizes in days."""
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
IDLE = ("1", "no")
"""Values that say a layout makes no use of a field."""
MOST_RUNS = 12
"""Published runs that are listed; what lies behind them is counted."""


def training_page(plan: TrainPlan) -> str:
    """The page as text."""
    sections = [
        Section("", cards=_cards(plan)),
        Section("Where a step goes", _BREAKDOWN, [figures.breakdown(plan)]),
        *_searched(plan),
        Section("Memory of the fullest accelerator", _MEMORY, [figures.memory_kinds(plan)]),
        *_scaled(plan),
        Section("Money and energy", _COST, [figures.cost_by_option(plan)], notes=_prices(plan)),
        Section("Failures and checkpoints", _goodput_words(plan.options[0]), [figures.goodput_figure(plan)]),
        *_reasons(plan),
        _layouts(plan.options),
        _intervals(plan),
        Section("What is assumed", notes=_assumptions(plan)),
    ]
    return page(f"Training {_model(plan)} on {_cluster(plan)}", sentence(plan), sections)


def sentence(plan: TrainPlan) -> str:
    """The answer as a person would say it, with 80% intervals in brackets."""
    best = plan.options[0]
    what = f"{_model(plan)} on {_amount(plan.tokens)} tokens with {_devices(plan)}"
    if not best.fits:
        over = best.memory_total - best.memory_limit
        return f"{what} does not fit in this layout: {over / GIB:,.1f} GiB an accelerator are missing."
    cost = f", {_ranged(best.dollars, MONEY)}" if best.dollars else "; no price is known"
    takes = f"{_ranged(best.calendar_days, DURATIONS)}, {_ranged(best.energy_mwh, ENERGY)}{cost}"
    return f"{what}: {takes}. Brackets are 80% intervals."


_BREAKDOWN = (
    "Seconds of one step of the best layouts: blue computes, orange communicates beyond what hides behind computing, "
    "grey waits. Shares above 6% are written in the bars."
)
_MEMORY = (
    "What the fullest accelerator holds at its peak. The limit leaves "
    f"{RESERVED / GIB:g} GiB to the driver, the communication library and fragmentation."
)
_COST = (
    "Each layout's cost for the whole run with its 80% interval. A known price is all in: the machines and their power."
)
_SCALING = (
    "The same run on fewer and on more of the same machines, with the batch kept. The curve searches only layouts that "
    "usually win; the star is this plan, for which all were searched."
)


def _model(plan: TrainPlan) -> str:
    return (plan.model.title or plan.model.name).split(",")[0]


def _cluster(plan: TrainPlan) -> str:
    return (plan.cluster.title or plan.cluster.name).split(",")[0].split(":")[0]


def _devices(plan: TrainPlan) -> str:
    chip = accelerator_of(plan.cluster)
    used, there = plan.options[0].devices, plan.cluster.devices
    count = f"{used:,}" if used == there else f"{used:,} of {there:,}"
    return f"{count} {chip.title or chip.name}"


def _number(value: float) -> str:
    """Two digits, as many as a prediction deserves."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 1 else f"{value:#.2g}"


def _amount(value: float) -> str:
    size, name = scaled(value, AMOUNTS)
    return f"{value / size:,.4g} {name}".strip()


def _spelt(value: float, units: Sequence[tuple[float, str]]) -> str:
    size, name = scaled(value, units)
    # A number and its unit stay on one line.
    return f"{_number(value / size)} {name}".strip().replace(" ", "\N{NO-BREAK SPACE}")


def _between(figure: Range, units: Sequence[tuple[float, str]]) -> str:
    """`18 to 25`, in the unit of the figure itself."""
    size, _ = scaled(figure.value, units)
    return f"{_number(figure.low / size)} to {_number(figure.high / size)}"


def _ranged(figure: Range, units: Sequence[tuple[float, str]]) -> str:
    return f"{_spelt(figure.value, units)} ({_between(figure, units)})"


def _dollars(value: float) -> str:
    """`$3.8 million`, where there is little room."""
    return "$" + _spelt(value, MONEY).removesuffix("dollars").strip()


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _cards(plan: TrainPlan) -> list[Card]:
    best = plan.options[0]
    share, step = best.goodput, best.step_s
    least, most = (_number(100 * best.mfu * step.value / seconds) for seconds in (step.high, step.low))
    failures = f"{_number(share.failures_per_day)} failures a day" if share.failures_per_day else "no failures"
    money = Card("Money", "unknown", "no price is known for this cluster")
    if best.dollars:
        money = Card("Money", _dollars(best.dollars.value), f"80%: {_between(best.dollars, MONEY)}")
    days = best.calendar_days
    return [
        Card("Calendar", _spelt(days.value, DURATIONS), f"80%: {_between(days, DURATIONS)}"),
        money,
        Card("Energy", _spelt(best.energy_mwh.value, ENERGY), f"80%: {_between(best.energy_mwh, ENERGY)}"),
        Card("MFU, of the dense 16-bit peak", _percent(best.mfu), f"80%: {least}% to {most}%"),
        Card("Goodput", _percent(share.share), f"{failures}, {share.restart_s:,.0f} s to train again"),
        Card(
            "Accelerators",
            f"{best.devices:,}",
            f"{best.spares:,} spares, not counted in the cost" if best.spares else "no spares",
        ),
        Card("Speed, tokens/s", _spelt(best.tokens_per_s, AMOUNTS), f"{step.value:,.3g} s a step"),
        Card("Layouts", f"{plan.candidates:,}", f"were compared, {plan.fit:,} fit"),
    ]


def _searched(plan: TrainPlan) -> list[Section]:
    if not plan.picture:
        return []
    text = (
        f"{plan.candidates:,} layouts divide over this cluster, {plan.fit:,} of them fit; {len(plan.picture):,} are "
        "drawn, spread evenly over all. Low and left is better. The numbered ones are the best of their kinds"
    )
    band = "; the grey band holds layouts that take more memory than there is, and so have no time."
    text += band if any(point.step_s is None for point in plan.picture) else "."
    return [Section("All layouts: memory against speed", text, [figures.memory_speed(plan)])]


def _scaled(plan: TrainPlan) -> list[Section]:
    fitting = figures.smaller(plan)
    if not fitting:
        return []
    too_few = "" if plan.scaling[0].step_s is not None else f" On fewer than {fitting[0].devices:,} nothing fits."
    cost = "The same run's calendar and cost by the number of accelerators, failures and restarts included."
    return [
        Section("From few accelerators to all", _SCALING + too_few, [figures.scaling_figure(plan)]),
        Section("Time and money by size", cost, [figures.cost_by_size(plan)]),
    ]


def _prices(plan: TrainPlan) -> list[str]:
    price, watts = device_hour_price(plan.cluster), device_watts(plan.cluster)
    money = f"{price:,.2f} dollars an accelerator and hour" if price else "no price is known"
    return [
        f"{money[:1].upper()}{money[1:]}; {watts:,.0f} W an accelerator, everything included. Spares are not counted."
    ]


def _goodput_words(best: Option) -> str:
    share = best.goodput
    if not share.failures_per_day:
        return "No failures are expected of this cluster; only checkpoints hold up training."
    minutes = share.hours_between * 60
    between = f"{minutes:,.0f} minutes" if minutes < 120 else f"{_number(share.hours_between)} hours"
    return (
        f"{best.devices:,} accelerators are interrupted every {between}. Each time half an interval between "
        f"checkpoints is done again and {share.restart_s:,.0f} s go by; a checkpoint holds training up for "
        f"{share.checkpoint_stall_s:g} s. The other curves show what a restart twice as quick or slow would change."
    )


def _reasons(plan: TrainPlan) -> list[Section]:
    if not plan.why:
        return []
    rows = [
        (w.field, w.chosen, w.instead, "the same" if w.slower < 5e-4 else f"+{_percent(w.slower)}", w.because)
        for w in plan.why
    ]
    text = "Each choice of the best layout against the fastest layout that chooses otherwise."
    table = Table(("choice", "taken", "instead", "a step is slower by", "because"), rows, frozenset({3}))
    return [Section("Why the first layout wins", text, tables=[table])]


def _layouts(options: Sequence[Option]) -> Section:
    """A table of what differs; what all have in common is said above it."""
    names = list(Layout.model_fields)
    values = {name: [_value(getattr(option.layout, name)) for option in options] for name in names}
    differ = [name for name in names if len(set(values[name])) > 1]
    common = [
        f"{_words(name)} {values[name][0]}" for name in names if name not in differ and values[name][0] not in IDLE
    ]
    columns = ["", *map(_words, differ), "accelerators", "step, s", "memory, GiB", "MFU", "calendar", "money"]
    rows = [[str(i + 1), *(values[name][i] for name in differ), *_results(option)] for i, option in enumerate(options)]
    first = options[0].layout
    words = {1 + i for i, name in enumerate(differ) if isinstance(getattr(first, name), str | bool)}
    numbers = frozenset(range(1, len(columns))) - words
    text = ("Common to all: " if len(options) > 1 else "The layout: ") + ", ".join(common) + "."
    return Section(
        "The best layouts" if len(options) > 1 else "The layout", text, tables=[Table(columns, rows, numbers)]
    )


def _words(name: str) -> str:
    return "embedding and head taken for layers:" if name == "ends_count" else name.replace("_", " ")


def _value(value: Any) -> str:
    return (
        ("yes" if value else "no")
        if isinstance(value, bool)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def _results(option: Option) -> list[str]:
    money = _dollars(option.dollars.value) if option.dollars else "unknown"
    sizes = [f"{option.devices:,}", f"{option.step_s.value:,.3f}", f"{option.memory_total / GIB:,.1f}"]
    return [*sizes, _percent(option.mfu), _spelt(option.calendar_days.value, DURATIONS), money]


def _intervals(plan: TrainPlan) -> Section:
    best = plan.options[0]
    text = (
        "Each interval reaches as far as 80% of the errors that predictions of the published runs most like this one "
        "had, with their publishers left out of the fit."
    )
    if best.extrapolated:
        text += " Hardly any run of so many accelerators is published: this is extrapolated, and the interval widened."
    rows = [(str(i), run) for i, run in enumerate(best.nearest[:MOST_RUNS], 1)]
    more = len(best.nearest) - len(rows)
    tables = [Table(("", "published run, the nearest first"), rows)] if rows else []
    return Section("Where the intervals come from", text, tables=tables, notes=[f"And {more} more."] if more else [])


def _assumptions(plan: TrainPlan) -> list[str]:
    month = MONTHS[min(int(plan.software % 1 * 12), 11)]
    chosen = (
        "chosen by the critical batch (Zhang et al., https://arxiv.org/abs/2410.21676) and the accelerators' number"
    )
    batch = "as given" if plan.batch_given else chosen
    price = device_hour_price(plan.cluster)
    lines = [
        f"Software as kept and tuned in {month} {int(plan.software)}.",
        f"{plan.steps:,} steps of {plan.batch:,} sequences of {plan.sequence:,} tokens; the batch is {batch}.",
        "MFU is model FLOPs over the dense 16-bit peak whatever the precision, so that fp8 may pass 100%.",
        f"{device_watts(plan.cluster):,.0f} W an accelerator with cooling and everything else.",
        f"{price:,.2f} dollars an accelerator and hour." if price else "No price is known for this cluster.",
        *plan.notes,
    ]
    return [*lines, f"The cluster's figures: {plan.cluster.source}"] if plan.cluster.source else lines
