"""The benchmark of the assistant runs, small; and its figures are what it says they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from benchmarks.assistant.__main__ import main
from benchmarks.assistant.streams import MIX, flow_of, planned
from benchmarks.assistant.world import OF_NAMES, QUESTION_KINDS, SMALL_TALK, asked, reply, world

from lindos.assistant.gate import ELLIPSIS

NOW = datetime(2031, 5, 4, 21, tzinfo=UTC)


def test_it_measures_first_words_and_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = tmp_path / "report.json"
    small = "--posts 500 --events 10 --asks 4 --live 20 --streams 20 --rate 20 --seconds 3 --ramp 0.5"
    main([*small.split(), "--json", str(report), "--folder", str(tmp_path)])
    found = json.loads(report.read_text())
    assert [(row["posts a second"], row["questions"]) for row in found["first"]] == [
        (live, kind) for live in ("0", "20") for kind in QUESTION_KINDS
    ]
    for row in found["first"]:
        assert row["count"] == 4
        assert row["bare p50 (ms)"] > 0
        assert row["added p50 (ms)"] <= row["added p95 (ms)"]
    held = {row["questions"]: row["words held back"] for row in found["first"]}
    assert held["small talk"] == 1
    assert held["about an event"] == 0
    streams = found["streams"]
    assert streams["faults"] == []
    assert {row["streams"]: row["count"] for row in streams["rows"]} == {**MIX, "all": 20}
    for row in streams["rows"]:
        assert 0 < row["rate min"] <= row["rate p50"]
        assert row["lag p50 (ms)"] <= row["lag p99"] <= row["lag max"]
    assert streams["server (cores)"] > 0
    assert "small talk" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [report]


def test_words_are_counted_past_what_was_cut_and_what_the_assistant_says_itself():
    said = ["One", "two", "three.", "Four", "five", "six.", "Seven", "eight."]
    pieces = [(9.0, "As of noon.\n\n"), (11.0, "One "), (12.0, f"two {ELLIPSIS}"), (18.0, " Seven eight.")]
    flow = flow_of("talk", pieces, said, began=8.0, pause=1.0)
    assert flow is not None
    assert flow.missing == 4
    assert flow.rate == pytest.approx(7 / 7)
    assert flow.gaps == [1.0]
    assert flow.held == [6.0]
    assert flow.lags == [1.0, 1.0, 1.0]
    assert flow_of("talk", pieces[:1], said, began=8.0, pause=1.0) is None


def test_its_world_and_its_words_are_the_same_each_time():
    assert world(12, NOW) == world(12, NOW)
    made = world(20, NOW)
    assert len({scenario.event.id for scenario in made.scenarios}) == 20
    assert all(post.seen_at < NOW for post in made.posts)
    assert [kind for kind, _ in planned(40, made.scenarios)].count("small talk") == 2 * MIX["small talk"]
    assert all(asked(kind, made.scenarios) for kind in (*QUESTION_KINDS, *MIX))
    for question in (SMALL_TALK[0], OF_NAMES[0], "Who won?"):
        assert reply(question, 50, 1) == reply(question, 50, 1) != reply(question, 50, 2)
        assert len(reply(question, 50, 1)) == 50


def test_mistakes_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--streams", "0"])
    assert "at least 1" in capsys.readouterr().err
