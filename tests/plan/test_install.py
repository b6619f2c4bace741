"""`lindos plan install` and `lindos plan machines`: rankings, money, what is printed, and mistakes."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from lindos.cli import plan_install as command
from lindos.plan.install.install import INTERACTIVE, Figure, InstallPlan, plan_install
from lindos.plan.money import (
    HourPrice,
    amortised_hour,
    cluster_hour_price,
    device_hour_price,
    device_watts,
    energy_hour,
    machine_hour,
    per_million_tokens,
    run_cost,
)
from lindos.plan.report import install_report as report
from lindos.plan.report.install_page import install_page
from lindos.plan.report.install_report import (
    SHOWN,
    count_text,
    dollars,
    interval_text,
    number,
    price_text,
    print_install,
    size_text,
)
from lindos.specs import (
    Cluster,
    Fabric,
    Machine,
    Precision,
    SpecError,
    catalog_clusters,
    catalog_machines,
    load_machine,
    load_model_spec,
)
from tests.plan.test_here import here

BOTH = (Precision.INT8, Precision.INT4)

app = typer.Typer()
app.command("install")(command.install)
app.command("machines")(command.machines)


def invoke(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def grok() -> InstallPlan:
    return plan_install(load_model_spec("grok-1"), precisions=BOTH, machines=catalog_machines().values(), probe=here())


def test_fast_ones_come_first_by_price_then_slow_ones_then_those_that_do_not_fit(grok):
    groups = [0 if row.interactive else 1 if row.fits else 2 for row in grok.rows]
    assert groups == sorted(groups)
    assert {0, 1} <= set(groups)
    for group in (0, 1):
        prices = [row.hour.lowest for row, found in zip(grok.rows, groups, strict=True) if found == group]
        known = [price for price in prices if price]
        assert known == sorted(known)
        assert prices[: len(known)] == known
    assert len(grok.rows) == 2 * len(catalog_machines())


def test_every_figure_has_an_interval_and_the_plan_survives_json(grok):
    for row in grok.rows:
        for speed in row.speeds:
            for figure in (speed.tokens_per_second, speed.dollars_per_million):
                assert figure.low <= figure.value <= figure.high
                assert figure.low < figure.high or figure.value == 0
    assert InstallPlan.model_validate_json(grok.model_dump_json()) == grok
    assert any("predictions of a bandwidth model" in line for line in grok.assumptions)
    assert any("100% utilisation" in line for line in grok.assumptions)


def test_the_cheapest_ways_are_the_cheapest(grok):
    for precision in BOTH:
        rows = [row for row in grok.rows if row.precision is precision and row.alone.from_memory]
        ways = {(way.purpose, way.unit): way for way in grok.ways if way.precision is precision}
        assert ways["runs from memory", "to buy"].dollars == min(row.price for row in rows if row.price)
        fast = [row.price for row in rows if row.price and row.one.value >= INTERACTIVE]
        assert ways[f"at least {INTERACTIVE:g} tokens/s", "to buy"].dollars == min(fast)
        assert ("many users", "per million tokens") in ways


def test_fewer_bits_are_never_slower(grok):
    for name in catalog_machines():
        eight, four = (next(row for row in grok.rows if row.machine == name and row.precision is p) for p in BOTH)
        assert four.one.value >= eight.one.value


def test_a_budget_leaves_out_what_it_does_not_pay():
    machines = catalog_machines().values()
    plan = plan_install(load_model_spec("grok-1"), precisions=BOTH, machines=machines, budget=12_000)
    assert plan.rows
    for row in plan.rows:
        assert 0 < row.price <= 12_000 or 0 < row.monthly_rent <= 12_000
    with pytest.raises(SpecError, match="more than 0"):
        plan_install(load_model_spec("grok-1"), precisions=BOTH, machines=machines, budget=0)


def test_context_and_precisions_are_checked(tiny_spec):
    with pytest.raises(SpecError, match="between 1 and 256"):
        plan_install(tiny_spec, precisions=BOTH, machines=[], context=257)
    with pytest.raises(SpecError, match="at least one precision"):
        plan_install(tiny_spec, precisions=(), machines=[])


def printed(plan: InstallPlan, width: int) -> str:
    out = io.StringIO()
    print_install(plan, Console(width=width, file=out))
    return out.getvalue()


def test_terminal_output_fits_a_hundred_columns(grok):
    text = printed(grok, 100)
    assert max(map(len, text.splitlines())) <= 100
    assert "Cheapest ways" in text
    assert "mac-studio" in text
    assert "This machine" in text
    assert "does not run" in text


@pytest.mark.parametrize("width", [80, 120])
def test_every_figure_that_matters_appears_at_any_width(grok, width):
    text = printed(grok, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert "$/Mtok" in text
    assert ("$/hour" in text) == (width == 120)
    for way in grok.ways:
        line = next(line for line in lines if line.startswith(f"{way.precision.value} ") and way.machine in line)
        assert way.purpose in text
        assert dollars(way.dollars) in line
        assert f" {number(way.one.value)}" in line
    for precision in BOTH:
        begin = next(i for i, line in enumerate(lines) if line.startswith(f"{precision.value}: "))
        for row in [row for row in grok.rows if row.precision is precision and row.fits][:SHOWN]:
            at = next(i for i in range(begin, len(lines)) if lines[i].startswith(f"{row.machine} "))
            figures = [number(row.one.value), f"@{row.best.taken}", price_text(row)]
            figures.append(number(row.best.dollars_per_million.value))
            assert set(figures) <= set(lines[at].split())
            assert any(place in "".join(lines[at : at + 2]) for place in ("GPU ", "RAM "))


@pytest.mark.parametrize("width", [30, 50, 70])
def test_names_are_whole_however_narrow_it_gets(grok, width):
    words = printed(grok, width).split()
    assert {way.machine for way in grok.ways} <= set(words)


def test_small_models_have_figures_too():
    machines = [load_machine("rtx-5090-x1"), load_machine("gcp-g2-standard-4")]
    text = printed(plan_install(load_model_spec("pebble"), precisions=BOTH, machines=machines), 120)
    assert "19.8M parameters, 7.42M for a token" in text
    assert "0.0B" not in text
    assert "$0.00 " not in text
    assert "$0.0003 per million tokens" in text


def test_the_page_stands_alone(grok):
    text = install_page(grok)
    assert text.count("<!doctype html>") == 1
    assert text.count("plotly.js v") == 1
    assert 'src="' not in text.split("<script>")[0]
    assert "What it would take to install grok-1" in text
    figures = [part.split("</script>")[0] for part in text.split('<script type="application/json"')[1:]]
    assert len(figures) == 5
    for figure in figures:
        assert json.loads(figure.split(">", 1)[1])["data"]


# Money.


def test_hours_of_machines():
    assert amortised_hour(26_298, 3) == pytest.approx(1.0)
    assert energy_hour(2000, 0.15) == pytest.approx(0.3)
    assert per_million_tokens(3.6, 1.0) == pytest.approx(1000.0)
    assert per_million_tokens(1.0, 0.0) == 0
    machine = Machine(
        name="it", cores=8, host_memory_bytes=1e9, host_bandwidth=1e9, price=26_298, power_watts=1000, rent=0.9
    )
    found = machine_hour(machine)
    assert found.bought == pytest.approx(1.15)
    assert found.lowest == 0.9
    assert found.way == "rent"
    assert HourPrice(bought=0, rented=0).way == ""
    assert HourPrice(bought=1, rented=0).way == "buy"


def test_hours_of_clusters():
    machine = Machine(name="it", cores=8, host_memory_bytes=1e9, host_bandwidth=1e9, power_watts=1000)
    fabric = Fabric(name="net", source="made up", bandwidth=50e9, latency=1e-6)
    cluster = Cluster(name="many", machine=machine, nodes=10, fabric=fabric, ports=1, price_per_device=35_064)
    assert device_watts(cluster) == pytest.approx(1200)
    assert device_hour_price(cluster) == pytest.approx(1 + 1.2 * 0.08)
    assert cluster_hour_price(cluster) == pytest.approx(10 * (1 + 1.2 * 0.08))
    assert cluster_hour_price(cluster.model_copy(update={"price_per_device_hour": 2.0}), devices=3) == 6
    run = run_cost(cluster, 100.0)
    assert run.energy_mwh == pytest.approx(1.2)
    assert run.dollars == pytest.approx(100 * cluster_hour_price(cluster))
    assert run.energy_dollars < run.dollars
    assert cluster_hour_price(cluster.model_copy(update={"price_per_device": 0.0})) == 0


def test_every_cluster_of_the_catalogue_has_a_power():
    for cluster in catalog_clusters().values():
        assert device_watts(cluster) >= 0
        assert cluster_hour_price(cluster) >= 0


# Words and the command line.


def test_numbers_have_no_more_digits_than_a_prediction_deserves():
    assert [number(value) for value in (0, 0.0042, 0.123, 5.44, 12.34, 13_765)] == [
        "-",
        "0.004",
        "0.12",
        "5.4",
        "12",
        "14,000",
    ]
    assert interval_text(Figure.around(6.0, 1.5)) == "6 (4-9)"
    assert interval_text(Figure.around(0.0, 1.5)) == "-"
    assert [dollars(value) for value in (0, 1.5, 9499)] == ["-", "$1.50", "$9,499"]
    assert [dollars(value) for value in (0.00041, 0.0096, 1e-12, 3e20)] == ["$0.0004", "$0.01", "$1e-12", "$3e+20"]
    assert [count_text(value) for value in (19.84e6, 315.7e9, 1.04e12, 512)] == ["19.8M", "315.7B", "1.04T", "512"]
    assert [size_text(value) for value in (178.6e9, 1.5e12, 3e6, 12)] == ["179 GB", "1.5 TB", "3 MB", "12 B"]


def test_the_command_prints_json_and_writes_a_page(tmp_path):
    out = tmp_path / "plan.html"
    words = ["--on", "mac-studio-m3-ultra-512gb", "--precision", "int4", "--batch", "12", "--json", "--html", str(out)]
    found = invoke("install", "grok-1", *words)
    assert found.exit_code == 0, found.output
    plan = InstallPlan.model_validate_json(found.output)
    assert [row.machine for row in plan.rows] == ["mac-studio-m3-ultra-512gb"]
    assert [speed.offered for speed in plan.rows[0].speeds] == [1, 8, 12, 32, 256]
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_command_prints_tables():
    found = invoke("install", "mixtral-8x7b", "--budget", "5000", "--precision", "int8,int4")
    assert found.exit_code == 0, found.output
    assert "Cheapest ways" in found.output
    nothing = invoke("install", "llama-3.1-405b", "--budget", "2500", "--precision", "bf16")
    assert nothing.exit_code == 0
    assert "no machine holds it" in nothing.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["install", "grok"], "did you mean 'grok-1'"),
        (["install", "grok-1", "--on", "mac-studio"], "unknown machine 'mac-studio'"),
        (["install", "grok-1", "--precision", "int5"], "unknown precision 'int5' (nearest: int"),
        (["install", "grok-1", "--budget", "-3"], "more than 0 dollars"),
        (["install", "grok-1", "--budget", "nan"], "must be a number, more than 0 dollars (got nan)"),
        (["install", "grok-1", "--budget", "inf"], "must be a number, more than 0 dollars (got inf)"),
        (["install", "grok-1", "--context", "9000"], "between 1 and 8,192"),
        (["machines", "dgx-h10"], "did you mean 'dgx-h100'"),
        (["machines", "nope"], "unknown machine or cluster 'nope' (nearest: "),
        (["machines", "nope"], "; without a name all are listed)"),
    ],
)
def test_mistakes_are_answered_in_one_line(words, message):
    found = invoke(*words)
    assert isinstance(found.exception, SpecError)
    assert message in str(found.exception)
    assert "\n" not in str(found.exception)


def test_a_page_that_cannot_be_written_is_an_error(tmp_path):
    found = invoke("install", "grok-1", "--on", "dgx-h100", "--html", str(tmp_path))
    assert isinstance(found.exception, SpecError)
    assert "cannot be written" in str(found.exception)


def test_here_measures_and_tells(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lindos.kernels.probe", lambda disk: here())
    found = invoke("install", "pebble", "--here", "--on", "desktop-96gb")
    assert found.exit_code == 0, found.output
    assert "Some Processor" in found.output
    assert "fp32:" in found.output


def test_machines_are_listed_and_explained():
    listed = invoke("machines")
    assert listed.exit_code == 0, listed.output
    assert set(catalog_machines()) | set(catalog_clusters()) <= set(listed.output.split())
    explained = invoke("machines", "dgx-h100")
    assert "h100-sxm" in explained.output
    assert "source:" in explained.output
    assert json.loads(invoke("machines", "dgx-h100", "--json").output)["dgx-h100"]["accelerators"] == 8


@pytest.mark.parametrize("width", [40, 80])
def test_machines_keep_their_names_on_narrow_terminals(monkeypatch, width):
    monkeypatch.setattr(report, "wide_console", lambda: Console(width=width))
    words = invoke("machines").output.split()
    assert set(catalog_machines()) | set(catalog_clusters()) <= set(words)


def test_a_machine_named_twice_is_listed_once(tmp_path):
    own = tmp_path / "box.toml"
    own.write_text('accelerator = "rtx-4090"\naccelerators = 2\nhost_link = 32e9\n')
    words = [word for name in ("dgx-h100", str(own), "dgx-h100", str(own)) for word in ("--on", name)]
    found = invoke("install", "mixtral-8x7b", *words, "--precision", "int4", "--json")
    plan = InstallPlan.model_validate_json(found.output)
    assert sorted(row.machine for row in plan.rows) == ["box", "dgx-h100"]


def test_planning_an_install_needs_neither_torch_nor_scipy():
    code = (
        "import sys, lindos.cli.plan_install, lindos.plan.install.install, lindos.plan.report.install_page;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'plotly')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
