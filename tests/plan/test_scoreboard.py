"""`lindos plan validate`: the JSON, the tables, the page, other people's files, and mistakes."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from lindos.cli import plan_validate as command
from lindos.plan.constants import shipped_constants
from lindos.plan.replay.published import NEEDED, Row, read_rows
from lindos.plan.replay.scoreboard import Scoreboard, validate
from lindos.plan.replay.scores import Miss, score
from lindos.plan.report.scoreboard_page import scoreboard_page
from lindos.plan.report.scoreboard_report import percent, print_scoreboard
from lindos.specs import SpecError

ROWS = read_rows()
app = typer.Typer()
app.command("validate")(command.validate)
app.command("fit")(command.fit)


def invoke(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def board() -> Scoreboard:
    return validate(ROWS, shipped_constants())


def table(path: Path, rows: list[dict[str, str]], columns: list[str] | None = None) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_every_row_is_there_in_order_and_predicted_or_refused(board: Scoreboard):
    assert [entry.row for entry in board.rows] == list(range(len(ROWS)))
    for entry in board.rows:
        assert (entry.refused is None) == (entry.predicted_step_s is not None)
        if entry.predicted_step_s is not None:
            assert 0 < (entry.low_s or 0) <= entry.predicted_step_s <= (entry.high_s or 0)
            assert 0 < (entry.low_memory_gib or 0) <= (entry.predicted_memory_gib or 0) <= (entry.high_memory_gib or 0)
    assert board.stated_predicted >= 0.9 * board.stated > 400
    assert sum(board.refusals.values()) == sum(entry.refused is not None for entry in board.rows)


def test_the_shipped_table_keeps_its_predicted_and_refused_rows(board: Scoreboard):
    assert sum(entry.refused is None for entry in board.rows) == 476
    assert sum(entry.refused is not None for entry in board.rows) == 56
    assert not any("=" in reason for reason in board.refusals), "no shipped cell is a mistake"


@pytest.mark.parametrize("terminal", [True, False])
def test_long_work_shows_a_bar_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, terminal: bool):
    errors = io.StringIO()
    monkeypatch.setattr(command, "Console", lambda stderr: Console(file=errors, force_terminal=terminal))
    monkeypatch.setattr(command, "PATIENCE", 3600.0)
    with command._late_progress("replaying") as tell:
        tell(0, 1000)
    assert "replaying" not in errors.getvalue()
    monkeypatch.setattr(command, "PATIENCE", -1.0)
    with command._late_progress("replaying") as tell:
        tell(0, 1000)
        tell(64, 1000)
    assert ("replaying" in errors.getvalue()) == terminal


def test_progress_leaves_the_json_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "PATIENCE", -1.0)
    assert len(json.loads(invoke("validate", "--json").stdout)["rows"]) == len(ROWS)


def test_rows_without_a_published_time_are_predicted(board: Scoreboard):
    untimed = [e for e in board.rows if e.refused is None and e.measured_step_s is None]
    assert len(untimed) >= 5


def test_the_tables_leave_doubtful_rows_out_and_count_groups_once(board: Scoreboard):
    lines = {line.name: line for line in board.summary[0].lines}
    both = lines["dense"].shown.groups + lines["mixture of experts"].shown.groups
    assert lines["all"].shown.groups == both
    assert lines["all"].shown.rows > lines["all"].shown.groups
    assert lines["doubtful rows"].shown.rows == sum(
        e.doubtful and bool(e.measured_step_s) and e.refused is None for e in board.rows
    )
    unseen = lines["dense"].unseen_publisher
    assert unseen is not None
    assert (lines["dense"].shown.median or 1) < (unseen.median or 0)
    for part in board.tables:
        assert sum(line.shown.rows for line in part.lines) == lines["all"].shown.rows, part.title
    memory = board.summary[1].lines[0].shown
    assert (memory.p90 or 1) < 0.05


def test_scores_of_groups():
    few = score("few", [Miss("a", 0.1, True), Miss("a", -0.1, False), Miss("b", 0.2)])
    assert (few.groups, few.rows) == (2, 3)
    assert few.coverage == 0.5
    assert few.median == pytest.approx(0.1107, abs=1e-3)
    assert score("none", []).median is None


def test_the_json_names_what_the_documents_promise():
    done = invoke("validate", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert len(found["rows"]) == len(ROWS)
    for name in ("row", "measured_step_s", "predicted_step_s", "low_s", "high_s", "refused"):
        assert name in found["rows"][0]


def test_extra_columns_and_another_order_change_nothing(tmp_path: Path, board: Scoreboard):
    columns = [*ROWS[0].columns, "my notes", "colour"]
    random.Random(5).shuffle(columns)
    rows = [{**row.columns, "my notes": "a, b", "colour": 'say "red"'} for row in ROWS[:80]]
    done = invoke("validate", "--json", "--rows", str(table(tmp_path / "mine.csv", rows, columns)))
    assert done.exit_code == 0, done.output
    for entry, known in zip(json.loads(done.stdout)["rows"], board.rows, strict=False):
        assert entry["predicted_step_s"] == pytest.approx(known.predicted_step_s)
        assert entry["refused"] == known.refused


def test_columns_that_may_be_missing_may_be_missing(tmp_path: Path):
    file = table(tmp_path / "bare.csv", [row.columns for row in ROWS[:20]], list(NEEDED))
    found = json.loads(invoke("validate", "--json", "--rows", str(file)).stdout)
    assert sum(entry["predicted_step_s"] is not None for entry in found["rows"]) >= 15


def test_runs_that_are_new_are_judged_as_new():
    changed = [
        Row(i, {**row.columns, "source": "Some Lab, report of 2026", "same_as_group": ""})
        for i, row in enumerate(ROWS[:30])
    ]
    new = validate(changed, shipped_constants())
    for entry in new.rows:
        assert not entry.seen
        assert entry.unseen_publisher_s is None
        assert entry.level in (1.0, None)
    assert new.summary[0].lines[0].unseen_publisher is None


def test_a_table_of_rows_that_are_all_refused_says_so(tmp_path: Path):
    file = table(tmp_path / "poor.csv", [{**row.columns, "layers": ""} for row in ROWS[:3]])
    done = invoke("validate", "--rows", str(file), "--html", str(tmp_path / "page.html"))
    assert done.exit_code == 0, done.output
    assert "No row can be predicted" in done.output
    assert "layers is not stated" in done.output
    assert "layers is not stated" in (tmp_path / "page.html").read_text(encoding="utf-8")
    found = json.loads(invoke("validate", "--json", "--rows", str(file)).stdout)
    assert [entry["refused"] for entry in found["rows"]] == ["layers is not stated"] * 3


def test_absurd_figures_are_refused_with_their_reason():
    huge = Row(0, {**ROWS[0].columns, "vocab": "9007199254740991", "hidden": "1000000000"})
    assert "absurd" in (validate([huge], shipped_constants()).rows[0].refused or "")
    long = Row(0, {**ROWS[0].columns, "step_time_s": "1e300"})
    assert "hardly measured" in (validate([long], shipped_constants()).rows[0].refused or "")


@pytest.mark.parametrize("content", [",".join(NEEDED) + "\n", "a,b\n1,2\n", ""])
@pytest.mark.parametrize("verb", ["validate", "fit"])
def test_mistakes_are_one_clear_line(tmp_path: Path, content: str, verb: str):
    file = tmp_path / "wrong.csv"
    file.write_text(content, encoding="utf-8")
    done = invoke(verb, "--rows", str(file))
    assert isinstance(done.exception, SpecError)
    assert "\n" not in str(done.exception)
    assert "wrong.csv" in str(done.exception)


def test_a_page_that_cannot_be_written_is_one_clear_line(tmp_path: Path):
    done = invoke("validate", "--html", str(tmp_path / "none" / "page.html"))
    assert isinstance(done.exception, SpecError)
    assert "cannot be written" in str(done.exception)


def test_the_page_has_its_plots_and_escapes_names(board: Scoreboard):
    strange = Row(0, {**ROWS[0].columns, "model": "<script>alert(1)</script>", "source": "<b>bold</b>"})
    text = scoreboard_page(validate([strange, *ROWS[1:40]], shipped_constants()))
    assert "<script>alert" not in text
    assert "<b>bold" not in text
    whole = scoreboard_page(board)
    assert whole.count('data-for="figure-') >= 2
    assert "model unseen" in whole


def test_the_report_fits_its_terminal(board: Scoreboard):
    console = Console(width=100, record=True, file=io.StringIO())
    print_scoreboard(board, console)
    text = console.export_text()
    assert "…" not in text
    assert "publisher unseen" in text
    assert max(map(len, text.splitlines())) <= 100


def test_percent():
    assert percent(None) == "-"
    assert percent(0.0531) == "5.3%"
    assert percent(0.05, sign=True) == "+5.0%"
    assert percent(25.0) == "25x"
