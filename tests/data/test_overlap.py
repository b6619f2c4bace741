"""Shared runs of words are found exactly where a plain search finds them."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.data import DataError
from lindos.data.overlap import Overlaps, index_evaluations

words = st.lists(
    st.sampled_from(["the", "Cat", "sat", "on", "mat", "don't", "is", "9", "naïve", "--", "it."]), max_size=25
)
texts = words.map(" ".join)


def index(folder: Path, sets: dict[str, list[str]], length: int = 4) -> Overlaps:
    for name, held in sets.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"deep": [{"query": text}]}) + "\n" for text in held))
    return index_evaluations(folder, length)


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    found = re.findall(r"[^\W_]+", text.lower().replace("'", ""))
    return {tuple(found[n : n + length]) for n in range(len(found) - length + 1)}


@given(st.lists(texts, min_size=1, max_size=4), st.lists(texts, min_size=1, max_size=4), st.lists(texts, max_size=6))
@settings(max_examples=60, deadline=None)
def test_against_a_plain_search(tmp_path_factory: pytest.TempPathFactory, a: list[str], b: list[str], asked: list[str]):
    found = index(tmp_path_factory.mktemp("eval"), {"a": a, "b": b}).find(asked)
    for text, names in zip(asked, found, strict=True):
        wanted = [n for n, held in (("a", a), ("b", b)) if any(runs(text, 4) & runs(one, 4) for one in held)]
        assert list(names) == wanted


def test_case_and_signs_do_not_hide_a_run(tmp_path: Path):
    overlaps = index(tmp_path, {"x": ["Which of these is the largest planet in our solar system?"]}, 10)
    assert overlaps.find(["so: WHICH of these is, the largest planet (in our) solar system", "nothing"]) == [("x",), ()]


def test_prompts_words_and_last_words(tmp_path: Path):
    row = {"context": "Question: one two three\nAnswer:", "continuation": "four"}
    (tmp_path / "l.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "t.csv").write_text('Question,Best\n"alpha beta gamma delta","x"\n')
    overlaps = index_evaluations(tmp_path, 4)
    assert overlaps.find(["say one two three four", "alpha beta gamma delta"]) == [("l",), ("t",)]


def test_saved_and_loaded(tmp_path: Path):
    overlaps = index(tmp_path, {"x": ["a b c d e f"]})
    overlaps.save(tmp_path / "o.npz")
    assert Overlaps.load(tmp_path / "o.npz").find(["z b c d e"]) == [("x",)]


def test_an_empty_folder_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="holds no evaluations"):
        index_evaluations(tmp_path)


def test_short_questions_are_found_whole_and_survive_a_file(tmp_path):
    (tmp_path / "eval").mkdir()
    rows = [
        {"query": "Question: What are genes composed of?\nAnswer:", "choices": ["DNA", "fat"]},
        {"context": "Q: Who wrote the little book?\nA:"},
        {"sentence": "The cat sat there."},
    ]
    (tmp_path / "eval" / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "eval" / "truth.csv").write_text("Type,Question\nx,Can pigs really fly high?\n")
    index_evaluations(tmp_path / "eval").save(tmp_path / "index.npz")
    overlaps = Overlaps.load(tmp_path / "index.npz")
    texts = [
        "Cells are small. What are genes composed of? Of DNA.",
        "Question: Who wrote the little book?",
        "Can pigs really fly high?",
        "The cat sat there.",
        "What are genes made of?",
    ]
    assert overlaps.find(texts) == [("quiz",), ("quiz",), ("truth",), (), ()]


def test_damaged_evaluations_are_one_clear_error(tmp_path):
    (tmp_path / "bad.csv").write_bytes(b"Question\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"bad\.csv: cannot be read"):
        index_evaluations(tmp_path)
