"""The benchmark of posts runs, and its posts are what it says they are."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from benchmarks.posts.__main__ import main
from benchmarks.posts.timeline import questions, timeline

from lindos.knowledge.words import words


def test_it_measures_inserts_and_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = tmp_path / "report.json"
    main(["--posts", "3000", "--rounds", "1", "--json", str(report), "--folder", str(tmp_path)])
    found = json.loads(report.read_text())
    assert found["inserting"]["inserts a second"] > 0
    assert [row["count"] for row in found["asking"]] == [100, 100, 100, 100, 400]
    for row in found["asking"]:
        assert 0 < row["p50 (ms)"] <= row["p95 (ms)"] <= row["max (ms)"]
        assert row["answered"] > 0.5
    assert "with common words" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [report]


def test_its_posts_are_the_same_each_time_and_follow_zipf():
    made = list(chain.from_iterable(timeline(2000, seed=3)))
    assert made == list(chain.from_iterable(timeline(2000, seed=3, batch=300)))
    assert [one.seen_at for one in made] == sorted(one.seen_at for one in made)
    counts = Counter(chain.from_iterable(set(words(one.text)) for one in made))
    assert counts["the"] > 0.4 * len(made)
    assert 0.02 < counts["election"] / len(made) < 0.1
    assert 10 < sum(len(words(one.text)) for one in made) / len(made) < 30


def test_its_questions_are_two_hundred_different_ones():
    parts = questions()
    assert [len(part) for part in parts.values()] == [100, 100]
    assert len(set(chain.from_iterable(parts.values()))) == 200


def test_mistakes_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--posts", "0"])
    assert "at least 1" in capsys.readouterr().err
