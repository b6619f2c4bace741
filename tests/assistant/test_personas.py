"""Personas: the built-in ones, a user's own, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lindos.assistant import DEFAULT_PERSONA, Persona, personas, told
from lindos.assistant.persona import personas_directory
from lindos.specs import Message, SpecError

PIRATE = 'title = "Pirate"\ndescription = "Arr."\nsystem = "You are Lindos, a pirate."\n'


def test_the_built_in_ones_speak_as_the_bundled_model_was_trained(tmp_path: Path):
    known = personas(tmp_path)
    assert list(known) == ["direct", "regular"]
    assert DEFAULT_PERSONA == "direct"
    assert known["direct"].system == "You are Lindos. Be direct and funny."
    assert known["regular"].system == "You are Lindos. Be clear and sober."
    assert all(persona.title and persona.description for persona in known.values())
    assert (known["direct"].humour, known["regular"].humour) == (True, False)
    assert known["direct"].system_in("en") == known["direct"].system_in("de") == known["direct"].system
    assert known["direct"].system_in("fr") == "Tu es Lindos. Sois direct et drôle."


def test_own_ones_are_added_and_may_replace(tmp_path: Path):
    (tmp_path / "pirate.toml").write_text(PIRATE)
    (tmp_path / "direct.toml").write_text('title = "Mine"\nsystem = ""\n')
    (tmp_path / "notes.txt").write_text("not a persona")
    known = personas(tmp_path)
    assert list(known) == ["direct", "regular", "pirate"]
    assert known["pirate"] == Persona(
        id="pirate", title="Pirate", description="Arr.", system="You are Lindos, a pirate."
    )
    assert known["direct"].title == "Mine"


def test_where_own_ones_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert personas_directory() == tmp_path / "lindos" / "personas"
    personas_directory().mkdir(parents=True)
    (personas_directory() / "pirate.toml").write_text(PIRATE)
    assert "pirate" in personas()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("broken", "title = ", "broken.toml: cannot be read as TOML"),
        ("typo", 'titel = "T"\n', "titel: unknown field; did you mean 'title'?"),
        ("untitled", 'title = "  "\n', "untitled.toml: title"),
        ("Upper Case", 'title = "T"\n', "Upper Case.toml: id"),
        ("other", 'title = "T"\nid = "elsewhere id"\n', "other.toml: id"),
        ("long", f'title = "{"T" * 300}"\n', "long.toml: title"),
        ("typed", "title = 5\n", "typed.toml: title"),
        ("humourless", 'title = "T"\nhumor = true\n', "humor: unknown field; did you mean 'humour'?"),
        ("half", 'title = "T"\nhumour = "a bit"\n', "half.toml: humour"),
        ("empty", 'title = "T"\n[system]\n', "system is an empty table"),
        ("tongues", 'title = "T"\nsystem.English = "x"\n', "tongues.toml: systems.English"),
        ("numbers", 'title = "T"\nsystem.en = 5\n', "numbers.toml: system"),
    ],
)
def test_an_unusable_file_is_named_with_its_fault(tmp_path: Path, name: str, text: str, words: str):
    (tmp_path / f"{name}.toml").write_text(text)
    with pytest.raises(SpecError) as caught:
        personas(tmp_path)
    assert words in str(caught.value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.just(b"a = " + b"[" * 5000))
def test_no_file_does_worse_than_an_error(tmp_path: Path, data: bytes):
    (tmp_path / "fuzzed.toml").write_bytes(data)
    try:
        assert personas(tmp_path)["fuzzed"].title
    except SpecError as error:
        assert "fuzzed.toml" in str(error)  # noqa: PT017 - either way out is right


def test_words_by_language(tmp_path: Path):
    (tmp_path / "mousse.toml").write_text(
        'title = "Mousse"\n[system]\nfr = "Tu es un pirate."\nen = "You are a pirate."\n'
    )
    (tmp_path / "seul.toml").write_text('title = "Seul"\nsystem.fr = "Parle peu."\n')
    known = personas(tmp_path)
    assert known["mousse"].system == "You are a pirate."
    assert [known["mousse"].system_in(language) for language in ("fr", "en", "es")] == [
        "Tu es un pirate.",
        "You are a pirate.",
        "You are a pirate.",
    ]
    assert known["seul"].system == known["seul"].system_in("en") == "Parle peu."
    assert not known["seul"].humour
    turns = [Message(role="user", content="Q")]
    assert told(known["mousse"], turns, "fr")[0] == Message(role="system", content="Tu es un pirate.")
    assert told(known["mousse"], turns)[0] == Message(role="system", content="You are a pirate.")


def test_what_a_model_is_told():
    turns = [
        Message(role="user", content="Q"),
        Message(role="assistant", content=""),
        Message(role="user", content="Q again"),
    ]
    persona = Persona(id="p", title="P", system="Be brief.")
    assert told(persona, turns) == [Message(role="system", content="Be brief."), turns[0], turns[2]]
    assert told(Persona(id="p", title="P"), turns[:1]) == turns[:1]
