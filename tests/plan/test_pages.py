"""The planner's pages: well-formed, alone in the world, and drawn by a real browser."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from lindos.plan.goodput import goodput
from lindos.plan.install.install import plan_install
from lindos.plan.memory import GIB
from lindos.plan.report.html import Card, Section, page
from lindos.plan.report.install_page import install_page
from lindos.plan.report.training_page import sentence, training_page
from lindos.plan.scaling import ScalingPoint
from lindos.plan.training import Option, Point, Range, TrainPlan
from lindos.plan.why import Why
from lindos.specs import Layout, Precision, load_cluster, load_machine, load_model_spec
from tests.web.conftest import ARGUMENTS, NAMES

FIGURES = {"train": 7, "install": 5, "small": 5}
"""How many each page has; the small one is of a plan that fits in every layout."""
VOID = {"meta", "br", "link", "img", "hr", "input"}
EVIL = "Grok <script>alert('no')</script> & Co"
COLOSSUS = load_cluster("colossus")
PARTS = {
    "products": 0.5, "attention": 0.04, "memory-bound": 0.08, "head": 0.005, "tensor parallel": 0.02,
    "data parallel": 0.17, "pipeline bubble": 0.14, "host": 0.012, "older software": 0.0, "stragglers": 0.053,
}  # fmt: skip


class Seen(HTMLParser):
    """Elements that opened and closed as they should, what they refer to, and what scripts say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.mistakes: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.addresses += [known[name] or "" for name in ("src", "href", "data", "action") if name in known]
        self.ids += [known["id"] or ""] if "id" in known else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((known, ""))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open and self.open[-1] != "style":
            self.words += data.replace("\N{NO-BREAK SPACE}", " ") + "\n"

    def figures(self) -> list[dict[str, Any]]:
        return [json.loads(text) for known, text in self.scripts if known.get("type") == "application/json"]


def around(value: float) -> Range:
    return Range(value=value, low=0.85 * value, high=1.2 * value)


def option(number: int, **changes: Any) -> Option:
    layout = Layout(
        tensor=2 * number, pipeline=22, context=4, expert=8, shards=256, sharding="optimizer", precision="fp8"
    )
    slower = 1 + 0.02 * number
    parts = {name: seconds * slower for name, seconds in PARTS.items()}
    known: dict[str, Any] = {
        "layout": layout, "devices": 90_112, "spares": 9_888, "step_s": around(sum(parts.values())), "parts_s": parts,
        "memory": {"weights": 4 * GIB, "gradients": 4 * GIB, "optimizer": GIB, "activations": 16.5 * number * GIB,
                   "buffers": 0.5 * GIB},
        "memory_limit": 76 * GIB, "fits": True, "tokens_per_s": 6.4e7 / slower, "mfu": 0.372 / slower,
        "training_days": around(18 * slower), "calendar_days": around(21 * slower),
        "energy_mwh": around(78_000 * slower),
        "dollars": around(312e6 * slower), "goodput": goodput(COLOSSUS, 90_112), "extrapolated": True,
        "nearest": ("A model on 1,024 H100 (somebody)", "Another on 512 H100 (somebody else)"),
    }  # fmt: skip
    return Option(**{**known, **changes})


def training(**changes: Any) -> TrainPlan:
    sizes = (512, 4096, 32768, 100_000)
    points = [ScalingPoint(devices=s, used=s, step_s=5e5 / s, tokens_per_s=1000 * s**0.97, mfu=0.5) for s in sizes]
    known: dict[str, Any] = {
        "model": load_model_spec("grok-1").model_copy(update={"title": f"{EVIL}, a model"}), "cluster": COLOSSUS,
        "tokens": 6e12, "sequence": 8192, "batch": 8192, "batch_given": False, "steps": 89_407, "software": 2026.6,
        "candidates": 1_010_364, "fit": 301_832, "options": tuple(option(n) for n in (1, 2, 3, 4)),
        "why": (Why(field="precision", chosen="fp8", instead="bf16", slower=0.407, because="products take longer"),
                Why(field="sharding", chosen="optimizer", instead="gradients", slower=0.0, because="no time")),
        "scaling": (ScalingPoint(devices=8, used=0, step_s=None), *points),
        "picture": tuple(Point(memory_gib=10 + 7 * n, step_s=1.5 + n % 5 if n < 10 else None) for n in range(40)),
        "notes": ("</script><b>A note.</b>",),
    }  # fmt: skip
    return TrainPlan(**{**known, **changes})


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    model = load_model_spec("grok-1").model_copy(update={"title": EVIL})
    machines = [load_machine(name) for name in ("dgx-h100", "mac-studio-m3-ultra-512gb")]
    install = plan_install(model, precisions=(Precision.INT8, Precision.INT4), machines=machines)
    roomy = tuple(Point(memory_gib=n, step_s=2.0 + n % 3) for n in range(1, 9))
    small = training(picture=roomy, scaling=(), options=(option(1),))
    return {"train": training_page(training()), "install": install_page(install), "small": training_page(small)}


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_is_well_formed_and_stands_alone(pages, name):
    seen = Seen(pages[name])
    assert seen.mistakes == []
    assert seen.open == []
    assert seen.addresses == []
    assert len(seen.ids) == len(set(seen.ids))
    style = pages[name].split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    code = [text for known, text in seen.scripts if "type" not in known]
    assert [text.count("plotly.js v") for text in code] == [1, 0]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_json_with_units_on_their_axes(pages, name):
    figures = Seen(pages[name]).figures()
    assert len(figures) == FIGURES[name]
    for figure in figures:
        assert figure["data"]
        assert any(
            axis.get("title", {}).get("text") for key, axis in figure["layout"].items() if key.startswith("xaxis")
        )


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_told_is_text(pages, name):
    assert "<script>alert" not in pages[name]
    assert "alert('no')" in Seen(pages[name]).words


def test_the_page_says_the_answer_and_its_intervals():
    words = Seen(training_page(training())).words
    told = ("6 trillion tokens", "90,112 of 100,000", "21 days (18 to 26)", "80 GWh (68 to 95)", "$320 million",
            "80%: 270 to 380", "36.5%", "87.0%", "9,888 spares", "1,010,364", "+40.7%", "August 2026", "Zhang",
            "</script><b>A note.</b>", "somebody else", "On fewer than 512 nothing fits")  # fmt: skip
    assert [text for text in told if text not in words] == []


def test_the_plan_itself_is_no_point_of_the_curve_of_smaller_sizes():
    figures = Seen(training_page(training())).figures()
    curves = [trace for figure in figures for trace in figure["data"] if trace.get("name") == "usual layouts"]
    assert len(curves) == 4
    assert all(max(trace["x"]) == 32768 for trace in curves)


def test_every_second_of_a_step_is_in_its_bar():
    plan = training()
    bars = Seen(training_page(plan)).figures()[0]["data"]
    for index, one in enumerate(plan.options):
        assert sum(trace["x"][index] for trace in bars) == pytest.approx(one.step_s.value)
    assert "older software" not in {trace["name"] for trace in bars}


def test_a_given_layout_that_does_not_fit_and_costs_nobody_knows_what():
    only = option(1, dollars=None, fits=False, memory_limit=20 * GIB, spares=0, devices=100_000, extrapolated=False)
    machine = COLOSSUS.machine.model_copy(update={"price": 0.0, "rent": 0.0})
    cluster = COLOSSUS.model_copy(update={"machine": machine, "price_per_device": 0.0, "failures": 0.0})
    only = only.model_copy(update={"goodput": goodput(cluster, 100_000), "nearest": ()})
    plan = training(options=(only,), cluster=cluster, why=(), scaling=(), picture=(), notes=(), batch_given=True)
    assert "does not fit in this layout: 6.0 GiB" in sentence(plan)
    seen = Seen(training_page(plan))
    assert seen.mistakes == []
    assert len(seen.figures()) == 4
    for text in ("no price is known", "no spares", "as given", "No failures", "The layout: shards 256, tensor 2"):
        assert text in seen.words
    assert "dollars" not in seen.words


def test_cards_and_sections_without_headings():
    text = page("A", "B", [Section("", cards=[Card("<what>", "1,000"), Card("so", "2", "of 3")])])
    assert Seen(text).mistakes == []
    assert "<h2>" not in text
    assert "&lt;what&gt;" in text
    assert text.count("<small>") == 1
    assert "plotly" not in text


def chromium() -> str:
    path = os.environ.get("LINDOS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        words = "Chromium is not installed; put it on the PATH, or name it in LINDOS_CHROMIUM"
        (pytest.fail if os.environ.get("LINDOS_NO_SKIP") == "1" else pytest.skip)(words)
    return path


LOOKS: list[tuple[str, Any, int]] = [
    ("train", "light", 1200),
    ("train", "dark", 1200),
    ("train", "light", 390),
    ("install", "dark", 1200),
    ("small", "light", 1200),
]
"""A page, what its reader's system prefers, and how wide the window is. Each look takes seconds."""


@pytest.fixture(scope="module")
def looks(pages, tmp_path_factory) -> dict[tuple[str, str, int], dict[str, Any]]:
    """What a browser made of each page.

    In a thread of its own: the tests of the chat page may hold a browser, and one thread can hold only one.
    """
    program, folder = chromium(), tmp_path_factory.mktemp("pages")

    def drive() -> dict[tuple[str, str, int], dict[str, Any]]:
        found = {}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
            for name, scheme, width in LOOKS:
                path = folder / f"{name}.html"
                path.write_text(pages[name], encoding="utf-8")
                view = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
                found[name, scheme, width] = _watch(view, path)
                view.close()
            browser.close()
        return found

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(drive).result()


def _watch(page: Page, path: Path) -> dict[str, Any]:
    complaints: list[str] = []
    asked: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.js-plotly-plot').length == document.querySelectorAll('.figure').length"
    )
    seen = page.evaluate(
        """() => ({
          figures: document.querySelectorAll(".figure").length,
          drawn: document.querySelectorAll(".js-plotly-plot:has(svg .trace path)").length,
          cut: [...document.querySelectorAll(".figure")].filter((one) => one.scrollHeight > one.clientHeight).length,
          wide: document.documentElement.scrollWidth - window.innerWidth,
          text: getComputedStyle(document.querySelector(".js-plotly-plot .xtick text")).fill,
          body: getComputedStyle(document.body).color,
        })"""
    )
    page.emulate_media(media="print")
    # What is printed is dark on white, whatever the screen shows.
    ink = "getComputedStyle(document.querySelector('.js-plotly-plot .xtick text')).fill"
    page.wait_for_function(f"{ink} == 'rgb(29, 36, 48)'", timeout=20_000)
    printed = page.pdf()
    return {
        **seen,
        "complaints": complaints,
        "asked": [url for url in asked if url != path.as_uri()],
        "pdf": printed[:5],
    }


@pytest.mark.parametrize(("name", "scheme", "width"), LOOKS)
def test_a_browser_draws_every_figure_and_asks_nobody(looks, name, scheme, width):
    seen = looks[name, scheme, width]
    assert seen["figures"] == seen["drawn"] == FIGURES[name]
    assert seen["cut"] == 0
    assert seen["wide"] <= 0
    assert seen["text"] == seen["body"]
    assert seen["complaints"] == []
    assert seen["asked"] == []
    assert seen["pdf"] == b"%PDF-"
