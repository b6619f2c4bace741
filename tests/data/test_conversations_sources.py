"""What people wrote, turned into exchanges: nothing claimed, nothing broken, whatever the rows hold."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lindos.data.conversations import READ

RNG = random.Random(0)


def made(name: str, *rows: dict[str, Any], seed: int = 1) -> list[list[tuple[str, str]]]:
    return list(READ[name](rows, random.Random(seed)))


def test_a_glossary_entry_becomes_a_question():
    [[(asked, answer)]] = made("glossary", {"term": "venule", "meaning": "a small vessel leading to veins"})
    assert "venule" in asked
    assert answer == "A venule is a small vessel leading to veins."
    assert not made("glossary", {"term": "x", "meaning": "$x=2$ and so on and on"})


def test_a_thread_loses_the_other_assistants_persona():
    turns = [{"role": "user", "text": "How tall is the tower?"}]
    good = {"turns": [*turns, {"role": "assistant", "text": "As an AI language model, the tower is 300 metres tall."}]}
    assert made("threads", good) == [[("How tall is the tower?", "The tower is 300 metres tall.")]]
    for text in ("I am Open Assistant, a language model.", "As an AI I cannot know. I was trained by LAION."):
        assert not made("threads", {"turns": [*turns, {"role": "assistant", "text": text}]})
    who = {"turns": [{"role": "user", "text": "Who made you?"}, {"role": "assistant", "text": "Some nice people did."}]}
    assert not made("threads", who)


def test_trivia_keeps_only_questions_that_stand_alone():
    row = {"category": "animals", "answer": "Sloth", "options": ["Mouse", "Sloth"]}
    assert not made("trivia", {**row, "question": "Which of these animals does not hibernate?"})
    [[(asked, answer)]] = made("trivia", {**row, "question": "Who wrote the book Emma?", "answer": "Jane Austen"})
    assert asked == "Who wrote the book Emma?"
    assert answer in ("Jane Austen wrote the book Emma.", "Jane Austen.")


def test_a_chat_in_which_the_answer_has_lived_is_left_out():
    def row(answer: str) -> dict[str, Any]:
        return {
            "turns": [
                {"role": "A", "text": "Have you seen the new film?"},
                {"role": "B", "text": answer},
                {"role": "A", "text": "It was quite good."},
                {"role": "B", "text": "Many people say the music is the best part."},
            ]
        }

    assert not made("chats", row("I saw it with my wife last week."))
    assert made("chats", row("It looks like a very long film."))


def test_countries_answer_from_their_page():
    def page(name: str, capital: str) -> dict[str, str]:
        text = (
            f"## Geography\nLocation: Western Europe, bordering the sea\n### Capital\nname: {capital}\n"
            f"### Population\ntotal: 12,345,678 (2025 est.)\nconventional short form: {name}\n"
            "border countries: Germany 4 km; Spain 12 km\nCurrency: euros (EUR) per US dollar -\n"
        )
        return {"name": name, "text": text}

    found = made("countries", page("Fooland", "Fooville"), page("Barland", "Barton"))
    flat = [exchange for exchanges in found for exchange in exchanges]
    assert any("capital" in asked and "Fooville" in answer for asked, answer in flat)
    assert any("12 million" in answer for _, answer in flat)
    assert any("Germany and Spain" in answer for _, answer in flat)


def test_a_story_is_told_whole_or_continued():
    sentences = [f"This is sentence {n}." for n in "abcd"]
    row = {"input": " ".join(f"Sentence{n}: {text}" for n, text in enumerate(sentences, 1)), "output": "The end came."}
    for seed in range(20):
        [[(asked, answer)]] = made("short-stories", row, seed=seed)
        assert answer.endswith("The end came.")
        told = f"{asked} {answer}" if "sentence a" in asked else answer
        assert all(text in told for text in sentences)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("role", "text")), inner, max_size=2),
    max_leaves=8,
)
names = "turns text term meaning words definition examples pos name question answer category options task input output"
rows = st.dictionaries(
    st.sampled_from([*names.split(), "instruction", "context", "response", "title"]), values, max_size=8
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rows, max_size=3))
def test_no_row_breaks_a_source(rows):
    for make in READ.values():
        for exchanges in make(rows, random.Random(0)):
            for asked, answer in exchanges:
                assert isinstance(asked, str)
                assert isinstance(answer, str)
