"""The engine's benchmark runs, end to end on a tiny model, and its parts do what they say."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmarks.engine.__main__ import main, parsed
from benchmarks.engine.asking import Contender, ContenderError, tokens
from benchmarks.engine.limits import LimitError, MemoryLimit, forget_files
from benchmarks.engine.models import gguf_model
from benchmarks.engine.picture import draw
from benchmarks.engine.results import Figure, Record, Side
from benchmarks.engine.shapes import SHAPES
from benchmarks.engine.tuning import tune_llamacpp
from benchmarks.pairs import Ratio
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.timeout(600)
def test_quick_measures_lindos_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = tmp_path / "report.json"
    arguments = ["--quick", "--only", "decode,loading", "--json", str(report), "--plot", str(tmp_path / "plot.svg")]
    main([*arguments, "--folder", str(tmp_path / "work")])
    found = json.loads(report.read_text())
    assert [figure["at"] for figure in found["figures"]] == [
        *(f"tiny, int4, {count} together" for count in (1, 8, 32)),
        "tiny, bf16, 1 alone",
        "tiny, int8, 1 alone",
        "tiny, int4",
    ]
    for figure in found["figures"][:3]:
        more = figure["more"]
        assert figure["sides"][0]["median"] > 0
        assert 0.5 < more["evenness of the routers' load (1 is even)"] <= 1
        assert more["choices repeated from the step before"] < 0.9
    spec = SHAPES["tiny"]
    touched = [figure["more"]["experts touched a step"] for figure in found["figures"][:3]]
    assert touched[0] == spec.layers * spec.experts_per_token < touched[1] <= touched[2] <= spec.layers * spec.experts
    assert found["figures"][-1]["more"]["peak of memory"] > 0
    assert {verdict["met"] for verdict in found["verdicts"][:5]} == {None}, "without a peer there is no verdict"
    assert "not measured" in capsys.readouterr().out
    assert not (tmp_path / "plot.svg").exists(), "there is no ratio to draw"


@pytest.mark.parametrize("wrong", ["--only=decode,prefil", "--sizes=11b", "--rounds=0", "--threads=-1"])
def test_mistakes_on_the_command_line_are_refused(wrong: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parsed([wrong])
    assert wrong.split("=")[1].split(",")[-1] in capsys.readouterr().err


def test_a_contender_that_fails_or_dies_says_so(tmp_path: Path):
    with Contender("side", "benchmarks.engine.lindos_side", log=tmp_path / "log") as side:
        with pytest.raises(ContenderError, match="could not load: FormatError"):
            side.ask("load", model=str(tmp_path / "nothing"))
        usage = side.ask("usage")
        assert usage["peak"] > 1 << 20
        assert usage["processor"] >= 0
        side.process.kill()
        with pytest.raises(ContenderError, match="killed by signal 9 when asked to usage"):
            side.ask("usage")


def test_a_group_limits_memory_or_says_why_it_cannot(tmp_path: Path):
    try:
        limit = MemoryLimit("test", 64 << 20)
    except LimitError as refused:
        words = str(refused)
        assert "control group" in words or "memory cannot be limited" in words
        return
    with limit:
        with (
            Contender("side", "benchmarks.engine.lindos_side", group=limit.path, log=tmp_path / "log") as side,
            pytest.raises(ContenderError, match="signal 9"),
        ):
            side.ask("usage")  # importing PyTorch alone takes more
        assert limit.kills >= 1
        assert limit.peak <= 64 << 20
    assert not limit.path.exists()


@given(st.integers(1, 300), st.integers(2, 100_000), st.integers(0, 1000))
def test_streams_of_tokens_leave_padding_out(count: int, vocabulary: int, seed: int):
    stream = tokens(count, vocabulary, seed)
    assert stream == tokens(count + 5, vocabulary, seed)[:count]
    assert all(1 <= token < vocabulary for token in stream)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1))
def test_ratios_lie_between_their_rounds(pairs: list[tuple[float, float]]):
    ratio = Ratio.of(pairs)
    assert ratio.low <= ratio.median <= ratio.high
    assert ratio.low == min(theirs / mine for mine, theirs in pairs)
    swapped = Ratio.of([(theirs, mine) for mine, theirs in pairs])
    assert swapped.high == pytest.approx(1 / ratio.low)


def test_files_are_forgotten_without_harm(tmp_path: Path):
    (tmp_path / "weights").write_bytes(b"1234" * 5000)
    forget_files(tmp_path)
    forget_files(tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == b"1234" * 5000


def test_the_table_and_the_picture_tell_met_from_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    record = Record()
    sides = [Side.of("Lindos", 10, [1.0, 2.0, 4.0]), Side.of("llama.cpp", 10, [2.0, 5.0, 6.0])]
    assert (sides[0].low, sides[0].median, sides[0].high) == (2.5, 5.0, 10.0)
    for wanted in (1.5, 3.0):
        record.figure(Figure("decode", f"at {wanted}", sides, Ratio(2.0, 1.5, 2.5), wanted, {"bytes": 12345}))
    assert "ratio 2.00 (1.50 to 2.50); bytes 12,345" in capsys.readouterr().out
    for met, word in ((True, "met"), (False, "missed"), (None, "not measured")):
        record.verdict("decode", "here", "3 times", "2.00", met)
        assert record.table().splitlines()[-1].split("|")[-2].strip() == word
    draw(record, tmp_path / "plot.svg", "a machine")
    picture = (tmp_path / "plot.svg").read_text()
    assert "decode, at 1.5" in picture
    assert "#3b7a57" in picture, "the bar of a met target"
    assert "#b8860b" in picture, "the bar of a missed one"


@pytest.mark.peers
def test_llama_cpp_is_asked_the_same(tmp_path: Path):
    if find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    model, vocabulary = str(gguf_model(tmp_path, "tiny", "int4")), SHAPES["tiny"].vocabulary
    with Contender("llama.cpp", "benchmarks.engine.llamacpp_side", python=sys.executable) as side:
        flags = tune_llamacpp(side, model, "tiny", 64, 2)
        side.ask("settings", sequences=8, context=64, **flags.of("decode 8"))
        side.ask("begin", sequences=8, prompt=16, steps=4, vocabulary=vocabulary)
        assert side.ask("decode", steps=4)["seconds"] > 0
        side.ask("settings", sequences=1, context=64, **flags.of("prefill"))
        assert side.ask("prefill", length=32, vocabulary=vocabulary, seed=0)["seconds"] > 0
