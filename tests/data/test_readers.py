"""Every reader: what it makes of a typical row, and that no row breaks it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.data.clean import normalise
from lindos.data.readers import READERS

PROSE = "The old man walked slowly down to the river, and his small dog ran after him. "


def read(reader: str, row: dict[str, Any], size: int = 1000) -> list[str]:
    return list(READERS[reader](row, size))


def test_books_lose_their_furniture():
    text = "\n\n".join(
        (
            *(
                "PREFACE",
                PROSE * 2,
                "# CHAPTER I",
                "_Really_, " + PROSE * 4,
                "[Illustration: a dog]",
                "* * *",
                PROSE * 3,
            ),
            *("O wind,\nO wild\nO west wind", "## CHAPTER II", PROSE * 8 + "[3]", "Transcriber's note: spelling kept."),
        )
    )
    first, second = read("book", {"text": text}, 2000)
    assert first == "\n\n".join(["Really, " + (PROSE * 4).strip(), (PROSE * 3).strip()])
    assert second == (PROSE * 8).strip()


def test_plays_are_left_out():
    assert read("book", {"text": "\n\n".join([f"HAMLET. {PROSE}", f"GHOST. {PROSE}"] * 8)}) == []


def test_short_stories_keep_their_title():
    assert read("short-story", {"title": "A dog", "text": f"One.{PROSE}\n{PROSE * 3}##"})[0].startswith(
        "A dog\n\nOne. The old"
    )


def test_five_sentences():
    row = {
        "input": "Sentence1: Gina sat. Sentence2: She ate. Sentence3: It was good. Sentence4: She slept.",
        "output": "The end.",
    }
    assert read("five-sentences", row) == ["Gina sat. She ate. It was good. She slept. The end."]
    assert read("five-sentences", {"input": "Sentence1: Gina sat.", "output": "x"}) == []


def test_textbooks_keep_what_explains():
    text = "\n\n".join(
        (
            *("# Rivers", "### Learning Objectives", "- Explain rivers, all of them", "### HOW RIVERS FLOW", PROSE * 6),
            "shows it. Water runs down as shown in. Rain falls on hills, and in some time it is a very wide river.",
            *("$$x=1$$", "### Review Questions", "What is a river made of, and why is it made of that?"),
        )
    )
    (found,) = read("textbook", {"title": "Rivers", "text": text})
    assert found.split("\n\n") == [
        "How rivers flow",
        (PROSE * 6).strip(),
        "Rain falls on hills, and in some time it is a very wide river.",
    ]


def test_glossary_and_dictionary():
    (found,) = read("glossary", {"term": "river", "meaning": "(also, stream) water that flows in a bed"})
    assert "river" in found.lower()
    assert "ater that flows in a bed." in found
    row = {
        "pos": "n",
        "words": ["river", "stream"],
        "definition": "water that flows",
        "examples": ["the river was wide"],
    }
    (found,) = read("dictionary", row)
    assert "water that flows." in found
    assert '"stream"' in found
    assert found.endswith("The river was wide.")


def test_dialogues_are_written_in_turns():
    said = ["Hello, how are you today?", "I am fine, thanks.", "Do you like rivers at all?", "yes, I like them a lot."]
    row = {"turns": [{"role": "AB"[n % 2], "text": text} for n, text in enumerate(said)]}
    for reader in ("turns", "goal-dialogue"):
        (found,) = read(reader, row)
        lines = found.split("\n")
        assert len(lines) == 4
        assert lines[3].rstrip('"').endswith("Yes, I like them a lot.")
    assert read("turns", {"turns": [{"role": "A", "text": "lol"}] * 9}) == []


def test_government_pages_lose_navigation():
    text = f"Next to Booking travel >\n\n{PROSE * 6}\n\n## About **rivers**\n\n{PROSE}\n\n* {PROSE}\n* {PROSE}\n"
    (found,) = read("government", {"title": "Page", "text": text}, 5000)
    assert found.startswith(f"Page\n\n{(PROSE * 6).strip()}\n\nAbout rivers\n\n")
    assert found.count("- The old man") == 2
    assert "Booking" not in found


def test_country_facts_without_figures():
    text = (
        "## Geography\nArea: 12 sq km\nTerrain: mostly high hills with many small rivers (2023 est.) and lakes "
        + "there " * 30
    )
    (found,) = read("country-facts", {"name": "Utopia", "text": text})
    assert found.startswith("Utopia: Geography\n\nTerrain: mostly high hills with many small rivers and lakes")


def test_commands():
    text = "# ls\n\n> List files.\n> More information: <https://x.org>.\n\n- List all:\n\n`ls --all {{path}}`"
    assert read("program-docs", {"src": "tldr", "text": text}) == ["ls: List files.\nList all: `ls --all path`"]


def test_contexts_and_tasks():
    assert read("contexts", {"instruction": "Why?", "context": PROSE * 4, "response": "x"}) == [(PROSE * 4).strip()]
    assert read("contexts", {"instruction": "Why?", "context": "", "response": PROSE * 3})[0].startswith(
        "Why?\n\nThe old"
    )
    row = {"task": "task033_winogrande_answer_generation", "input": "The cup fits as the _ is small.", "output": "cup"}
    assert read("task-texts", row) == ["The cup fits as the cup is small."]
    assert read("task-texts", {**row, "task": "task1_unknown"}) == []


def test_plain_text_is_cut_to_size():
    found = read("text", {"text": "\n\n".join([PROSE] * 40)}, 500)
    assert all(len(text) <= 500 for text in found)
    assert "".join(found).count("dog") == 40


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["role", "text", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = [
    "text",
    "title",
    "input",
    "output",
    "turns",
    "words",
    "definition",
    "examples",
    "pos",
    "term",
    "meaning",
    "name",
]
NAMES += ["src", "task", "context", "response", "instruction"]


@pytest.mark.parametrize("reader", READERS)
@given(row=st.dictionaries(st.sampled_from(NAMES), values, max_size=8), size=st.integers(200, 5000))
@settings(max_examples=40, deadline=None)
def test_no_row_breaks_a_reader(reader: str, row: dict[str, Any], size: int):
    for text in read(reader, row, size):
        assert isinstance(text, str)


MARKS = st.sampled_from(
    ["# ", "- ", "_", "**", "\n\n", "\n", "```", "[a](b)", "> ", "`", ": ", PROSE, "|", "{{", "$", '"']
)


@pytest.mark.parametrize("reader", ["book", "textbook", "government", "program-docs", "country-facts", "text"])
@given(text=st.lists(MARKS, max_size=60).map("".join))
@settings(max_examples=40, deadline=None)
def test_what_readers_give_is_clean(reader: str, text: str):
    for src in ("tldr", "rust-book"):
        for found in read(reader, {"text": text, "title": "t", "name": "n", "src": src}):
            assert found.strip() == found
            assert normalise(found, dashes=False) == found
