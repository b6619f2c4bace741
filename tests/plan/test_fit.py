"""The fit: weights, levels, and what the shipped residuals say about runs it had not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lindos.cli import plan_validate as command
from lindos.plan.constants import level_name, parse_constants, shipped_constants
from lindos.plan.replay.fit import fit, held_out, row_weights
from lindos.plan.replay.inferred import case_of_row
from lindos.plan.replay.intervals import LARGEST, interval, memory_interval
from lindos.plan.replay.published import Row, read_rows
from lindos.plan.replay.refit import refit, sensible
from lindos.plan.replay.replay import replayable
from lindos.plan.replay.residuals import parse_residuals, shipped_residuals, write_residuals
from lindos.plan.replay.scores import left_out
from lindos.plan.report.scoreboard_report import markdown_tables
from lindos.specs import SpecError

ROWS = read_rows()
app = typer.Typer()
app.command("validate")(command.validate)
app.command("fit")(command.fit)


def invoke(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def few():
    """About sixty runs of three publishers."""
    chosen = [row for row in ROWS if row.publisher in {"NVIDIA", "MosaicML", "MooreThreads"} and row.step_seconds]
    return replayable(chosen[::7])


def test_a_group_of_repeats_weighs_as_much_as_one_run(few):
    weights = row_weights(few)
    by_publisher: dict[str, dict[str, float]] = {}
    for row, weight in zip(few.rows, weights, strict=True):
        if not row.doubtful:
            groups = by_publisher.setdefault(row.publisher, {})
            groups[row.group] = groups.get(row.group, 0.0) + weight
    assert sum(map(len, by_publisher.values())) < len(few.rows)
    for groups in by_publisher.values():
        assert np.ptp(list(groups.values())) == pytest.approx(0, abs=1e-12)


def test_a_quick_fit_gives_levels_of_the_publishers_it_saw(few):
    fitted = fit(few, shipped_constants())
    for name in ("NVIDIA", "MosaicML", "MooreThreads"):
        assert 0.7 < fitted[level_name(name)] < 1.4
    assert level_name("Meta") not in fitted
    for name in fitted:
        if name.startswith(("install_", "engine_")):
            assert fitted[name] == shipped_constants()[name]
    out = np.array([row.publisher == "NVIDIA" for row in few.rows])
    without = fit(few.take(~out), shipped_constants())
    assert level_name("NVIDIA") not in without
    assert few.take(out).levels(without) == pytest.approx(1.0)
    before = np.abs(np.log(few.predicted(shipped_constants().prior()) / few.measured))
    after = np.abs(np.log(few.predicted(fitted) / few.measured))
    assert np.median(after) < np.median(before)


def test_a_fit_does_not_depend_on_the_values_it_starts_with(few):
    some = few.take(np.arange(0, len(few.rows), 3))
    other = shipped_constants().changed({"product_hopper": 0.2, "straggler": 0.3}).with_levels({"NVIDIA": 3.0})
    first, second = fit(some, shipped_constants()), fit(some, other)
    assert dict(first) == pytest.approx(dict(second))


def test_one_publisher_alone_is_held_out_against_what_was_expected():
    runs = replayable([row for row in ROWS if row.publisher == "MooreThreads"][::4])
    predicted = held_out(runs, shipped_constants(), "publisher").predicted
    assert predicted == pytest.approx(runs.predicted(shipped_constants().prior()))


def test_the_shipped_residuals_belong_to_the_shipped_table():
    residuals = shipped_residuals()
    assert len(residuals) >= 460
    for residual in residuals:
        row = ROWS[residual.index]
        assert (row.group, row.publisher, row.family) == (residual.group, residual.publisher, residual.family)
    text = write_residuals(residuals)
    assert write_residuals(parse_residuals(text)) == text
    with pytest.raises(SpecError):
        parse_residuals("index,group\n1,a\n")


def test_errors_on_unseen_publishers_and_models_are_within_the_targets():
    for by in ("publisher", "model"):
        dense, large, mixture = left_out(shipped_residuals(), by).kinds
        assert (dense.median or 1) <= 0.07
        assert (large.p90 or 1) <= 0.15
        assert (mixture.median or 1) <= 0.12


@pytest.mark.parametrize("by", ["publisher", "model"])
def test_intervals_hold_what_they_promise_on_unseen_runs(by):
    dense, _, mixture = left_out(shipped_residuals(), by).kinds
    assert 0.75 <= (dense.coverage or 0) <= 0.90
    assert 0.75 <= (mixture.coverage or 0) <= 0.90


def test_peak_memory_of_complete_rows_is_within_five_percent():
    errors = [
        abs(np.expm1(r.error_memory))
        for r in shipped_residuals()
        if not r.doubtful and r.error_memory == r.error_memory
    ]
    assert len(errors) >= 30
    assert max(errors) <= 0.05
    low, high = memory_interval()
    assert 0.9 < low < 1 < high < 1.1


def test_intervals_widen_beyond_the_largest_published_runs():
    columns = next(
        row for row in ROWS if row.publisher == "NVIDIA" and row.count("pp") == 1 and not row.count("experts")
    ).columns
    widths = []
    for gpus in (LARGEST, 2 * LARGEST, 16 * LARGEST):
        row = Row(0, {**columns, "num_gpus": str(gpus), "tp": "1", "cp": "1", "micro_batch": "1"})
        found = interval(case_of_row(Row(0, {**row.columns, "global_batch_seqs": str(gpus)})))
        assert bool(found.extrapolated[0]) == (gpus > LARGEST)
        assert found.low_ratio[0] == pytest.approx(1 / found.high_ratio[0])
        assert len(found.nearest[0]) == 5
        widths.append(float(np.log(found.high_ratio[0])))
    assert widths[1] > 1.3 * widths[0]
    assert widths[2] > 2.5 * widths[0]


def test_intervals_do_without_residuals_and_leave_out_who_is_excluded():
    case = case_of_row(ROWS[0])
    bare = interval(case, residuals=())
    assert bare.nearest == [()]
    assert 1.2 < bare.high_ratio[0] < 2
    residuals = shipped_residuals()
    nobody = interval(case, exclude=np.ones((1, len(residuals)), bool))
    assert nobody.high_ratio[0] == pytest.approx(bare.high_ratio[0])
    known = interval(case, known=True)
    assert known.high_ratio[0] > 1


def test_a_table_that_nothing_can_be_fitted_to_is_refused():
    with pytest.raises(SpecError, match="no row can be fitted to"):
        refit([Row(0, {**ROWS[0].columns, "layers": ""})], shipped_constants())
    absurd = Row(0, {**ROWS[0].columns, "step_time_s": "1e300"})
    assert sensible([absurd], shipped_constants()) == []
    with pytest.raises(SpecError, match="absurd"):
        refit([absurd], shipped_constants())


def test_the_fit_command_writes_what_the_planner_reads(tmp_path: Path):
    table = tmp_path / "few.csv"
    _write_table(table, [row for row in ROWS if row.publisher == "MooreThreads"][::5])
    out = tmp_path / "new" / "folder"
    done = invoke("fit", "--rows", str(table), "--write", str(out), "--markdown", str(tmp_path / "fit.md"))
    assert done.exit_code == 0, done.output
    constants = parse_constants((out / "constants.toml").read_text(encoding="utf-8"))
    assert level_name("MooreThreads") in constants
    assert set(shipped_constants().fitted) == set(constants.fitted)
    assert parse_residuals((out / "residuals.csv").read_text(encoding="utf-8"))
    assert {path.name for path in out.iterdir()} == {"constants.toml", "residuals.csv"}
    text = (tmp_path / "fit.md").read_text(encoding="utf-8")
    assert "Each publisher left out in turn:" in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| product")}
    assert widths == {5}
    assert "moorethreads" in done.output


def test_a_folder_that_cannot_be_written_is_found_before_the_fit(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    done = invoke("fit", "--write", str(file / "below"))
    assert isinstance(done.exception, SpecError)
    assert "\n" not in str(done.exception)


def _write_table(path: Path, rows: list[Row]) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0].columns))
        writer.writeheader()
        writer.writerows(row.columns for row in rows)


@pytest.mark.slow
def test_the_shipped_constants_and_residuals_are_those_of_the_whole_fit():
    whole = refit(ROWS, shipped_constants())
    for name in whole.constants:
        assert whole.constants[name] == pytest.approx(shipped_constants()[name], rel=0.01), name
    assert len(whole.residuals) == len(shipped_residuals())
    for new, old in zip(whole.residuals, shipped_residuals(), strict=True):
        for field in ("error_publisher", "error_model", "error_memory"):
            assert getattr(new, field) == pytest.approx(getattr(old, field), abs=0.01, nan_ok=True)
    assert "NVIDIA, mixture of experts" in markdown_tables(whole)
