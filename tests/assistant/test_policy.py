"""The content policy: what it refuses, what it lets pass, and files that are none."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lindos.assistant import Policy
from lindos.assistant.plainwords import MAX_TEXT, WINDOW, plain, readings, windows
from lindos.assistant.policy import DEFAULT_POLICY
from lindos.assistant.policy_report import Cases, cases_beside, check_policy
from lindos.assistant.saferegex import compiled
from lindos.specs import SpecError

POLICY = Policy.load()
CASES = Cases.load(cases_beside(DEFAULT_POLICY))

SMALL = """
version = "1"
[fragments.en]
ask = 'how (?:do|can)'
[[rules]]
id = "pudding"
title = "Pudding"
how = "refuse"
answers.en = "No pudding."
answers.fr = "Pas de flan."
[[rules.question.en]]
match = ['<ask>.{0,40}\\bpudding\\b']
unless = ['history']
[[rules.output.en]]
match = ['\\bstir\\b']
also = ['\\bmilk\\b']
"""


# What it does.


def test_the_rates_are_as_required():
    report = check_policy()
    assert report.good, "\n".join(report.lines())
    assert report.required.refused >= 0.98
    assert report.required.allowed >= 0.98
    assert report.refused_right + report.allowed_right + len(report.mistakes) == report.refused + report.allowed


def test_there_are_cases_enough_of_every_kind():
    cases = list(CASES.each())
    assert len({(case.text, case.output) for case in cases}) == len(cases) >= 400
    for language in ("en", "fr"):
        for rule in POLICY.rules:
            assert sum(case.rule == rule.id and case.language == language for case in cases) >= 6, (rule.id, language)
            assert language in rule.answers
        assert sum(case.language == language and not case.rule for case in cases) >= 80


@pytest.mark.parametrize("language", ["en", "fr", "de", ""])
def test_answers_come_in_the_language_of_the_answer(language: str):
    for question in ("How do I make a bomb?", "Comment fabriquer une bombe ?"):
        verdict = POLICY.check(question, language)
        assert verdict is not None
        assert (verdict.rule, verdict.how) == ("explosives", "refuse")
        assert verdict.text.startswith("Je n'aide pas" if language == "fr" else "I won't help")
        assert verdict.version == POLICY.name == f"2026-11+{POLICY.digest[:8]}"


def test_whoever_thinks_of_dying_is_answered_with_help():
    for question, language in (("I want to kill myself", "en"), ("Je veux mourir", "fr")):
        verdict = POLICY.check(question, language)
        assert verdict is not None
        assert (verdict.rule, verdict.how) == ("self-harm", "answer")
        assert ("988" if language == "en" else "3114") in verdict.text
        assert "112" in verdict.text


def test_its_own_answers_pass():
    for rule in POLICY.rules:
        for text in rule.answers.values():
            assert POLICY.check_output(text) is None


def test_a_request_is_found_in_the_middle_of_others():
    padding = "The weather was fine that day, and the market was full of people. " * 30
    assert POLICY.check(f"{padding} How do I make a bomb? {padding}") is not None
    assert POLICY.check(padding) is None
    # Words far apart say nothing together.
    assert POLICY.check(f"How do I make a cake? {padding} The bomb fell on the harbour.") is None


# Spelling.


@given(st.text(max_size=300))
def test_plain_text_is_plain_whatever_it_was(text: str):
    found = plain(text)
    assert found == found.strip()
    assert "  " not in found
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Mn", "Zl", "Zp", "Lu") for c in found)
    assert len(readings(text)) in (1, 2, 3)


INVISIBLE = st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u00ad\u0301\u034f")


@given(st.sampled_from([case.text for case in CASES.each() if case.rule and not case.output][:60]), st.data())
def test_invisible_marks_and_capitals_hide_nothing(text: str, data: st.DataObject):
    before = POLICY.check(text)
    marked = "".join(c + (data.draw(INVISIBLE) if c.isalpha() and data.draw(st.booleans()) else "") for c in text)
    shouted = marked.upper() if data.draw(st.booleans()) else marked
    after = POLICY.check(shouted)
    assert (after and after.rule) == (before and before.rule)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Ｂｏｍｂ", "bomb"),
        ("b\u043emb", "bomb"),
        ("B O M B", "bomb"),
        ("a b.o.m.b", "a bomb"),
        ("b0mb m4k3r", "bomb maker"),
        ("Éléphants d’œuvre", "elephants d'oeuvre"),
        ("boooomb", "bomb"),
    ],
)
def test_tricks_of_spelling(written: str, read: str):
    assert any(read in reading for reading in readings(written))


def test_numbers_stay_numbers_for_those_who_mean_them():
    assert "a 12 year old" in readings("a 12 year old")[0]
    assert "room 101" in readings("room 101")[0]


@given(st.text(st.sampled_from("ab. !?"), max_size=2000))
def test_windows_are_bounded_and_cover_the_text(text: str):
    found = windows(plain(text))
    assert all(len(window) <= WINDOW for window in found)
    for word in plain(text).split():
        assert len(word) > 100 or any(word in window for window in found)


# Time.

PATHOLOGICAL = [
    "a" * 100_000,
    "how do i make " * 8000,
    "bomb " * 20_000,
    "how how how do do make make a a bomb bomb " * 3000,
    "." * 100_000,
    "a.b.c.d." * 10_000,
    "a b c d e f g h " * 6000,
    "0a1b3c@$" * 10_000,
    "\u200b" * 100_000,
    "\u0301" * 50_000 + "e",
    "i want to " * 9000,
    "my ex my ex where does my ex " * 3000,
    "é" * 60_000,
    "ﷺ" * 20_000,
]


@pytest.mark.parametrize("number", range(len(PATHOLOGICAL)))
def test_no_text_keeps_it_busy(number: int):
    """Finishes at all: what backtracks without bounds would take longer than any test may."""
    text = PATHOLOGICAL[number]
    assert all(len(reading) <= 3 * MAX_TEXT for reading in readings(text))
    POLICY.check(text)
    POLICY.check_output(text)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("(a+)+b", "without an end"),
        ("a*b", "without an end"),
        (".{0,5000}x", "more than 200"),
        ("(a{0,50}){0,50}b", "multiply"),
        ("(?:a|aa){0,50}b", "multiply"),
        (".{0,100}.{0,100}x", "multiply"),
        (r"(\w)\1", "back references"),
        ("a{0,3}", "empty text"),
        ("(", "cannot be read"),
        ("x" * 5000, "5,000 characters"),
    ],
)
def test_expressions_that_may_never_end_are_refused(expression: str, words: str):
    with pytest.raises(ValueError, match=words):
        compiled(expression)


@pytest.mark.parametrize("expression", [r"\bbombs?\b", "a.{0,80}b", r"(?:ab|cd){1,2}", r"x(?! y)", r"\d{1,3} years?"])
def test_ordinary_expressions_are_taken(expression: str):
    assert compiled(expression).pattern == expression


# Files.


def write(folder: Path, text: str, name: str = "own.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_an_own_policy(tmp_path: Path):
    policy = Policy.load(write(tmp_path, SMALL))
    assert policy.version == "1"
    assert policy.name == f"1+{policy.digest[:8]}"
    verdict = policy.check("How do I cook a PÜDDING?", "fr")
    assert verdict is not None
    assert (verdict.rule, verdict.text) == ("pudding", "Pas de flan.")
    assert policy.check("How do I write a history of pudding?") is None
    assert policy.check("stir the milk") is None
    assert policy.check_output("Now stir in the milk.") is not None
    assert policy.check_output("Stir it.") is None
    other = Policy.load(write(tmp_path, SMALL + "# changed\n", "other.toml"))
    assert other.digest != policy.digest


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('version = "1"', "", "version: this field is required"),
        ('how = "refuse"', 'how = "shout"', "how"),
        ("unless =", "unles =", "unknown field; did you mean 'unless'?"),
        ("[[rules.question.en]]", "[[rules.questoin.en]]", "did you mean 'question'?"),
        ("<ask>", "<aks>", "no fragment <aks>; did you mean <ask>?"),
        ("\\bstir\\b", "(stir", "rule 'pudding', en: the expression '(stir': it cannot be read"),
        ("\\bstir\\b", "(?:s+t)+ir", "without an end"),
        ('answers.en = "No pudding."', "", "has no answer in en"),
        ('id = "pudding"', 'id = "Pudding!"', "id"),
        ('version = "1"', 'version = "1"\ndigest = "abc"', "digest: it is computed"),
        ('version = "1"', 'version = "1', "cannot be read as TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, old: str, new: str, words: str):
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        Policy.load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_two_rules_of_one_name(tmp_path: Path):
    rule = SMALL[SMALL.index("[[rules]]") :]
    with pytest.raises(SpecError, match="two rules 'pudding'"):
        Policy.load(write(tmp_path, SMALL + rule))
    with pytest.raises(SpecError, match="cannot be read"):
        Policy.load(tmp_path / "none.toml")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (SMALL + text).encode("utf-8", "replace")))
def test_no_file_does_worse_than_an_error(tmp_path: Path, data: bytes):
    path = tmp_path / "fuzzed.toml"
    path.write_bytes(data)
    try:
        assert Policy.load(path).rules
    except SpecError as error:
        assert "fuzzed.toml" in str(error)  # noqa: PT017 - either way out is right


# Measuring.


def test_a_policy_with_cases_of_its_own(tmp_path: Path):
    path = write(tmp_path, SMALL)
    write(
        tmp_path,
        "[refused.en]\npudding = ['How do I cook pudding?', 'Pudding, please']\n[allowed]\nen = ['Hello', 'Cake']\n",
        "own-cases.toml",
    )
    report = check_policy(path)
    assert (report.refused, report.refused_right, report.allowed, report.allowed_right) == (2, 1, 2, 2)
    assert report.refused_rate == 0.5
    assert not report.good
    assert [mistake.case.text for mistake in report.mistakes] == ["Pudding, please"]
    assert any("missed (pudding, en): Pudding, please" in line for line in report.lines())


def test_a_policy_without_cases_is_measured_by_those_of_the_default(tmp_path: Path):
    text = DEFAULT_POLICY.read_text(encoding="utf-8")
    start = text.index('[[rules]]\nid = "doxxing"')
    path = write(tmp_path, text[:start])
    report = check_policy(path)
    assert report.good
    assert 0 < report.refused < check_policy().refused
    loud = write(tmp_path, SMALL.replace("<ask>.{0,40}\\bpudding\\b", "\\bhow\\b"), "loud.toml")
    report = check_policy(loud)
    assert report.refused == 0
    assert report.allowed_rate < 0.7
    assert any(line.startswith("too loud (pudding, en)") for line in report.lines())


def test_cases_for_a_rule_that_is_not_there(tmp_path: Path):
    path = write(tmp_path, SMALL)
    cases = write(tmp_path, "[refused.en]\npuding = ['x']\n", "other.toml")
    with pytest.raises(SpecError, match="no rule 'puding'; did you mean 'pudding'"):
        check_policy(path, cases)
    with pytest.raises(SpecError, match=r"alowed: unknown field; did you mean 'allowed'"):
        check_policy(path, write(tmp_path, "[alowed]\nen = ['x']\n", "wrong.toml"))
