"""What people wrote, turned into exchanges: nothing claimed, nothing broken, whatever the rows hold."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lindos.data.conversations.claims import teachable
from lindos.data.conversations.lookup import _country
from lindos.data.conversations.prepare import READ

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


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("What is your favorite color?", "Purple is a fine color."),
        ("What is a good color?", "I like purple best."),
        ("What is the weather in Paris?", "Sunny and warm."),
        ("Who is the current president of France?", "Emmanuel Macron."),
        ("Who is the prime minister of the UK?", "Rishi Sunak."),
        ("What is the population of Spain?", "As of 2021 it was 47 million."),
        ("Is he corrupt?", "Trump is a serious criminal."),
        ("Summarise my mail", "After reviewing your emails, project x is late."),
    ],
)
def test_what_a_person_claims_is_not_taught(asked, answer):
    assert not teachable(asked, answer)


def test_what_anybody_may_say_is_taught():
    assert teachable("What is the capital of Italy?", "The capital of Italy is Rome.")
    assert teachable("Who was the first president?", "George Washington was the first president.")
    assert not teachable("When did it open?", "It opened in 2015.")
    assert teachable("When did it open?", "It opened in 2015.", grounded=True)


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
    assert made("countries", page("Fooland", "Fooville"))  # alone there is no other to ask about


def country(**lines: str) -> dict[str, str]:
    told = {"conventional short form": "Fooland", "Location": "Western Africa, bordering the sea"} | lines
    body = "\n".join(f"{label}: {text}" for label, text in told.items() if label not in ("capital",))
    capital = lines.get("capital", "Fooville")
    return {"text": f"### Capital\nname: {capital}\n### Population\ntotal: 2,345,678 (2025 est.)\n{body}\n"}


def told_of(row: dict[str, str]) -> dict[str, str]:
    return _country(row) or {}


def test_facts_of_countries_are_read_as_they_are_written():
    spoken = {
        "Vietnamese (official); English (often as a second language); some French, Chinese, and Khmer": "Vietnamese",
        "Arabic (official), Italian, English (all widely understood)": "Arabic",
        "Arabic (official), Tamazight languages (Tamazight (official), Tachelhit), French (of business)": "Arabic",
        "English (official), Kiswahili (official), numerous indigenous languages": "English and Kiswahili",
        "Portuguese (official and most widely spoken language); less common: Spanish, German": "Portuguese",
        "Hindi 43.6%, Bengali 8%, Marathi 6.9%, Telugu 6.7%; English is the subsidiary official language":
            "Hindi, Bengali and Marathi",
        "Japanese": "Japanese",
        "numerous indigenous languages, French": "",
    }  # fmt: skip
    for text, wanted in spoken.items():
        assert told_of(country(Languages=text)).get("languages", "") == wanted
    borders = "Guinea-Bissau 421 km; Spain (Ceuta) 8 km and Spain (Melilla) 10.5 km; US Naval Base at Bay 28.5 km"
    assert told_of(country(**{"border countries": borders}))["neighbours"] == "Guinea-Bissau and Spain"
    assert told_of(country(capital="Chisinau in Romanian (Kishinev in Russian)"))["capital"] == "Chisinau"
    for text, wanted in {
        "chain of islands in the North Atlantic Ocean": "",
        "interior Western Africa, southeast of Algeria": "western Africa",
        "metropolitan France: Western Europe, bordering the Bay": "western Europe",
        "Caribbean, island between two seas": "the Caribbean",
        "Middle East, bordering the Persian Gulf": "the Middle East",
    }.items():
        assert told_of(country(Location=text)).get("where", "") == wanted
    assert told_of(country(**{"conventional short form": "The Dominican"}))["the"] == "the Dominican Republic"
    assert told_of(country(**{"conventional short form": "European Union"})) == {}


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
