"""From published rows to predictions: nothing in a cell does more than refuse its row."""

from __future__ import annotations

import contextlib
import csv
import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.plan.constants import level_name, parse_constants, shipped_constants, write_constants
from lindos.plan.replay import replay
from lindos.plan.replay.inferred import Refused, case_of_row
from lindos.plan.replay.published import NEEDED, Row, parse_rows, read_rows
from lindos.plan.replay.replay import replayable
from lindos.plan.replay.scoreboard import validate
from lindos.plan.step import step
from lindos.specs import SpecError

ROWS = read_rows()
FULL = Row(0, {**ROWS[138].columns, "precision": "bf16"})
"""A row that leaves nothing open."""
CELLS = st.one_of(
    st.sampled_from(
        ["", "0", "-1", "1e400", "nan", "inf", "1e308", "9007199254740991", "1e-320", "1.5", "٣", "4096", "fp8", "full",
         "fits 0 microbatches", "measured only 0.000 of 1 tflop", "0 gbps node-node", "000w", "fsdp", "interleaved",
         "tf32", "H100 NVL", "V100", "L40S", "1,024", "n/a", "fp4", "no"]
    ),
    st.text(max_size=12),
    st.integers(-10, 1 << 60).map(str),
)  # fmt: skip


def damaged(index: int, changes: dict[str, str], place: int = 0) -> Row:
    return Row(place, {**ROWS[index].columns, **changes})


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(ROWS) - 1), st.dictionaries(st.sampled_from(sorted(ROWS[0].columns)), CELLS, max_size=3))
def test_damaged_rows_are_refused_or_predicted_and_never_anything_else(index, changes):
    row = damaged(index, changes)
    with contextlib.suppress(Refused):
        case_of_row(row)
    board = validate([row], shipped_constants())
    entry = board.rows[0]
    assert entry.refused is None or (entry.refused and "\n" not in entry.refused)
    assert (entry.refused is None) == (entry.predicted_step_s is not None)
    if entry.predicted_step_s is not None:
        assert 0 < (entry.low_s or 0) <= entry.predicted_step_s <= (entry.high_s or 0)
    board.model_dump_json()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_text_is_a_table_or_one_clear_line(lines):
    for text in ("\n".join(lines), "\r".join([",".join(NEEDED), *lines])):
        message = "some.csv: "
        try:
            parse_rows(text, "some.csv")
        except SpecError as error:
            message = str(error)
        assert message.startswith("some.csv: ")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\xff\xfe\x00", b"\x00\x01\x02" * 100, b"a,b\n1,2\n", b""])
def test_files_that_are_no_tables_are_refused_in_one_line(tmp_path: Path, content: bytes):
    file = tmp_path / "some.csv"
    file.write_bytes(content)
    with pytest.raises(SpecError) as error:
        read_rows(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(SpecError, match="cannot be read"):
            read_rows(path)


def test_the_order_of_rows_changes_no_prediction():
    some = ROWS[::7]
    mixed = random.Random(3).sample(some, len(some))
    first = {e.row: e for e in validate(some, shipped_constants()).rows}
    second = {e.row: e for e in validate(mixed, shipped_constants()).rows}
    assert first.keys() == second.keys()
    for row, entry in first.items():
        other = second[row]
        assert entry.refused == other.refused
        assert entry.nearest == other.nearest
        for name in ("predicted_step_s", "low_s", "high_s", "predicted_memory_gib"):
            assert (getattr(other, name) or 0) == pytest.approx(getattr(entry, name) or 0, rel=1e-12)


def test_levels_are_for_their_publishers_only():
    runs = replayable(ROWS[::5])
    plain = step(runs.case, shipped_constants()).seconds
    constants = shipped_constants().with_levels({"NVIDIA": 2.0})
    nvidia = np.array([row.publisher == "NVIDIA" for row in runs.rows])
    assert nvidia.any()
    assert not nvidia.all()
    assert runs.predicted(constants) == pytest.approx(plain * np.where(nvidia, 2.0, 1.0))
    assert runs.predicted(dict(constants)) == pytest.approx(runs.predicted(constants))


def test_constants_survive_being_written():
    strange = shipped_constants().with_levels({'A "quoted"\\ name\x7f é': 1.25})
    again = parse_constants(write_constants(strange))
    assert list(again) == list(strange)
    name = level_name('A "quoted"\\ name\x7f é')
    assert again[name] == 1.25
    assert again.entries[name].meaning == strange.entries[name].meaning
    for key in strange:
        assert again[key] == pytest.approx(strange[key], rel=1e-3)
        assert again.entries[key].source == strange.entries[key].source
    assert write_constants(again) == write_constants(strange)
    assert "install_spread" in again
    assert "no such" not in again
    with pytest.raises(SpecError, match="no 'no such'"):
        again.changed({"no such": 1.0})


def changed(changes: dict[str, str]) -> Row:
    return Row(0, {**FULL.columns, **changes})


def told(changes: dict[str, str]) -> tuple[str | None, tuple[str, ...]]:
    """Why the row is refused, or None, and the defaults it is predicted with."""
    entry = validate([changed(changes)], shipped_constants()).rows[0]
    return entry.refused, entry.defaults


def stands(changes: dict[str, str], name: str) -> str:
    """What a name of the layout is taken as."""
    return getattr(case_of_row(changed(changes)).layout.layout(0), name)


@pytest.mark.parametrize(
    ("column", "cell"),
    [("pp", "-2"), ("pp", "1.5"), ("pp", "x"), ("cp", "inf"), ("ep", "-3"), ("vpp", "-1"), ("micro_batch", "-1"),
     ("micro_batch", "0"), ("tp", "0"), ("dp", "two"), ("layers", "abc"), ("num_gpus", "0"), ("vocab", "1,02"),
     ("kv_heads", "1e400"), ("topk", "2 of 8")],
)  # fmt: skip
def test_cells_that_are_no_counts_refuse_their_row(column: str, cell: str):
    assert told({column: cell})[0] == f"{column} = '{cell}' is no count"


@pytest.mark.parametrize("cell", ["", " ", "-", "n/a", "N/A", "none", "nan", "NULL", "?"])
def test_placeholders_are_empty_cells(cell: str):
    refused, defaults = told({"pp": cell, "micro_batch": cell, "precision": cell})
    assert refused is None
    assert {"pp", "micro_batch", "precision"} <= set(defaults)
    assert told({"layers": cell})[0] == "layers is not stated"
    assert told({"gpu": cell})[0] == "gpu is not stated"


def test_counts_may_be_written_as_people_write_them():
    plain = FULL.columns
    cells = {c: f"{int(plain[c]):,}" for c in ("vocab", "hidden", "seq_len")} | {"num_gpus": f"{plain['num_gpus']}.0"}
    assert any("," in cell for cell in cells.values())
    first, second = validate([FULL, Row(1, {**FULL.columns, **cells})], shipped_constants()).rows
    assert (second.refused, second.predicted_step_s) == (None, first.predicted_step_s)
    assert second.gpus == first.gpus
    assert told({"vpp": "0", "cp": "0", "ep": "0", "experts": "0", "dense_layers": "0"})[0] is None


@pytest.mark.parametrize(
    ("cell", "kind"),
    [(cell, "weights") for cell in ("zero-3", "ZeRO 3", "zero stage 3", "HSDP", "fully sharded", "FULL_SHARD", "fsdp1",
                                    "FSDP2", "fsdp2(zero3)", "ZeRO-Stage-3")]
    + [(cell, "gradients") for cell in ("zero-2", "zero 2", "ZeRO2", "zero_stage_2", "SHARD_GRAD_OP")]
    + [(cell, "optimizer") for cell in ("zero-1", "zero 1", "Distributed Optimizer", "zero1(dist-opt)", "")]
    + [(cell, "none") for cell in ("ddp", "none", "No", "none(DDP)", "zero-0")],
)  # fmt: skip
def test_spellings_of_sharding(cell: str, kind: str):
    assert stands({"dp_sharding": cell}, "sharding") == kind
    assert ("dp_sharding" in told({"dp_sharding": cell})[1]) == (cell == "")


def test_sharding_nobody_knows_is_a_default_and_says_so():
    assert "dp_sharding" in told({"dp_sharding": "some new way"})[1]


@pytest.mark.parametrize(
    ("cell", "kind"),
    [(cell, "none") for cell in ("no", "Off", "false", "0", "none", "no recompute")]
    + [(cell, "full") for cell in ("yes", "True", "on", "1", "full", "full activation checkpointing")]
    + [(cell, "selective") for cell in ("selective", "selective:mlp", "attention only")],
)
def test_spellings_of_recompute(cell: str, kind: str):
    assert stands({"recompute": cell}, "recompute") == kind
    assert "recompute" not in told({"recompute": cell})[1]


@pytest.mark.parametrize(
    ("gpu", "cell", "kind"),
    [("H100", "bfloat16", "bf16"), ("H100", "amp_bf16", "bf16"), ("H100", "float16", "fp16"), ("H100", "FP32", "fp32"),
     ("H100", "FP8-CS (FP8-MX)", "fp8"), ("H100", "amp_fp8", "fp8"), ("B200", "MXFP4", "fp4"), ("B200", "nvfp4", "fp4"),
     ("A100", "FP16/BF16", "bf16"), ("V100", "", "fp16"), ("V100", "bf16", "fp16"), ("V100", "fp32", "fp32")],
)  # fmt: skip
def test_spellings_of_precision(gpu: str, cell: str, kind: str):
    assert stands({"gpu": gpu, "precision": cell}, "precision") == kind


@pytest.mark.parametrize(
    ("gpu", "cell", "reason"),
    [("H100", "int8", "precision = 'int8' is none"), ("H100", "TF32", "precision = 'TF32' is none"),
     ("H100", "fp6", "precision = 'fp6' is none"), ("H100", "fp64", "precision = 'fp64' is none"),
     ("H100", "fp128", "precision = 'fp128' is none"), ("H100", "good", "precision = 'good' is none"),
     ("A100-80GB", "FP8", "A100-80GB has no 8-bit float units"), ("H100", "nvfp4", "H100 has no 4-bit float units"),
     ("V100", "mxfp8", "V100 has no 8-bit float units")],
)  # fmt: skip
def test_precisions_no_run_can_have_are_refused(gpu: str, cell: str, reason: str):
    assert (told({"gpu": gpu, "precision": cell})[0] or "").startswith(reason)


@pytest.mark.parametrize(
    ("gpu", "gib", "link"),
    [("L40S", 45, 1), ("NVIDIA GeForce RTX 4090", 24, 1), ("V100", 32, 8), ("V100-SXM2-16GB", 16, 8), ("MI300", 192, 8),
     ("MI300X", 192, 8), ("MI325X", 256, 8), ("H100 NVL", 94, 2), ("H100 PCIe HBM2e", 80, 2), ("H100 (NVLink)", 80, 8),
     ("A100-80GB PCIe", 80, 2), ("A800", 80, 8), ("8xH200", 140, 8)],
)  # fmt: skip
def test_names_of_accelerators(gpu: str, gib: int, link: int):
    hardware = case_of_row(changed({"gpu": gpu, "precision": ""})).hardware
    assert hardware.memory_bytes[0] / 2**30 == pytest.approx(gib, rel=0.02)
    assert hardware.domain[0] == link
    assert hardware.link_bandwidth[0] > 0
    assert told({"gpu": gpu, "precision": ""})[0] is None


@pytest.mark.parametrize("gpu", ["H20", "GH200", "MI300A", "MI355X", "RTX 4090D", "T4", "TPU v5p"])
def test_accelerators_that_resemble_no_known_one_are_refused(gpu: str):
    assert told({"gpu": gpu})[0] == f"no efficiencies are fitted for '{gpu}'"


@pytest.mark.parametrize(
    ("gpu", "note"),
    [("L40S", "efficiencies borrowed from ampere"), ("RTX 4090", "efficiencies borrowed from ampere"),
     ("V100", "fp16, as the accelerator has no bf16 units"), ("MI300", "efficiencies borrowed from hopper"),
     ("A800", "A800 taken as an A100-80GB with NVLink at 200 GB/s")],
)  # fmt: skip
def test_borrowed_figures_are_among_the_defaults(gpu: str, note: str):
    assert note in told({"gpu": gpu})[1]
    assert not any("borrowed" in d or "taken" in d or "bf16" in d for d in told({"gpu": "H100"})[1])


def test_an_a800_has_slower_links_than_an_a100():
    a800, a100 = (case_of_row(changed({"gpu": gpu})).hardware for gpu in ("A800", "A100-80GB"))
    assert (a800.link_bandwidth[0], a100.link_bandwidth[0]) == (200e9, 300e9)


def written(records: list[list[str]], ending: str = "\n") -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows(records)
    return file.getvalue()


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("inside", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r", "\n", "\r\n", '"', ","])
def test_a_cell_may_hold_what_ends_lines_elsewhere(tmp_path: Path, inside: str, ending: str):
    columns = [*NEEDED, "notes"]
    records = [[FULL.text(c) for c in NEEDED] + [f"a{inside}b"] for _ in range(3)]
    file = tmp_path / "some.csv"
    file.write_bytes(written([columns, *records], ending).encode())
    rows = read_rows(file)
    assert [row.index for row in rows] == [0, 1, 2]
    assert [row.columns["notes"] for row in rows] == [f"a{inside}b"] * 3
    assert all(entry.refused is None for entry in validate(rows, shipped_constants()).rows)


def test_columns_that_stand_twice_are_named():
    with pytest.raises(SpecError, match=r"^some.csv: columns stand more than once: pp, notes$"):
        parse_rows(",".join([*NEEDED, "notes", " pp", "notes", "", ""]), "some.csv")


def test_equal_rows_are_inferred_once_and_other_rows_are_not_confused(monkeypatch: pytest.MonkeyPatch):
    asked: list[Row] = []
    monkeypatch.setattr(replay, "case_of_row", lambda row: asked.append(row) or case_of_row(row))
    some = [ROWS[i] for i in (0, 5, 90, 200, 300)]
    rows = [Row(i, {**some[i % 5].columns, "step_time_s": str(1 + i)}) for i in range(50)]
    done: list[tuple[int, int]] = []
    runs = replayable(rows, timed=False, tell=lambda *counts: done.append(counts))
    assert len(asked) == 5
    assert done[-1] == (49, 50)
    single = {row.index: replayable([row], timed=False) for row in rows}
    seconds = np.array([single[row.index].predicted(shipped_constants())[0] for row in runs.rows])
    assert runs.predicted(shipped_constants()) == pytest.approx(seconds, rel=1e-12)
    assert runs.refused == {i: r for part in single.values() for i, r in part.refused.items()}
