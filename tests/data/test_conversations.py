"""From a conversations file to a data set: masks, the token of quoted posts, what is kept out, the same every time."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lindos.cli.data import app
from lindos.data import DataError, TokenDataset
from lindos.data.conversations import load_chat_mix, prepare_conversations
from lindos.data.conversations.filter import Filter, Made, Phrases, plain
from lindos.data.conversations.voice import SYSTEM
from lindos.data.gather import Tally
from lindos.specs import Message, SpecError
from lindos.text import load_tokenizer

GLOSSARY = [
    {"term": "venule", "meaning": "a small vessel leading from the capillaries to the veins of the body"},
    {"term": "atom", "meaning": "the smallest piece of an element that can take part in a reaction"},
    {"term": "lever", "meaning": "a stiff bar that turns about a point and makes heavy loads easier to lift up"},
    {"term": "bad link", "meaning": "a page that was seen at www.example.com some time ago"},
]

CONFIG = """
name = "chat"
seed = {seed}
heldout = 0.2
longest_answer = 400
longest = 1000
questions = "questions.toml"

[keep_out]
folder = "eval"
words = 8

[[source]]
name = "own"
group = "voice"
maker = "own"
count = 60

[[source]]
name = "quoted"
group = "voice"
maker = "quoted"
count = 12

[[source]]
name = "glossary"
group = "knowledge"
maker = "glossary"
path = "glossary.jsonl"
count = 10
licence = "CC BY 4.0"
"""


def written(tmp_path: Path) -> Path:
    """A conversations file with everything it names beside it."""
    rows = "".join(json.dumps(row) + "\n" for row in GLOSSARY)
    (tmp_path / "glossary.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "eval").mkdir()
    question = {"question": "Which stiff bar turns about a point and makes heavy loads easier to lift?", "answer": "x"}
    (tmp_path / "eval" / "exam.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
    (tmp_path / "questions.toml").write_text('[[question]]\nkind = "self"\nask = "Who are you?"\n', encoding="utf-8")
    path = tmp_path / "chat.toml"
    path.write_text(CONFIG.format(seed=3), encoding="utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_dir: Path) -> TokenDataset:
    return made(written(tmp_path_factory.mktemp("chat")), tiny_tokenizer_dir)


def made(config: Path, tokenizer: Path, name: str = "out") -> TokenDataset:
    quiet = Console(quiet=True)
    prepare_conversations(config, config.parent / name, tokenizer, config.parent, console=quiet)
    return TokenDataset.open(config.parent / name)


def test_only_the_assistants_words_count(data: TokenDataset, tiny_tokenizer_dir: Path):
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    assistant, end = tokenizer.special("<|assistant|>"), tokenizer.special("<|end|>")
    part = data.part("own")
    assert part.masked
    assert part.packing == "whole"
    for number in range(part.documents):
        start = int(part.starts[number])
        tokens = part.document(number)
        counted = part.read_mask(start, len(tokens))
        assert tokens[0] == tokenizer.bos
        speaking = False
        for token, counts in zip(tokens.tolist(), counted.tolist(), strict=True):
            assert counts == speaking
            speaking = token == assistant or (speaking and token != end)


def test_quoted_posts_have_their_own_token_and_nothing_else_does(data: TokenDataset, tiny_tokenizer_dir: Path):
    source = load_tokenizer(tiny_tokenizer_dir).special("<|source|>")
    quoted, own = data.part("quoted"), data.part("own")
    for number in range(quoted.documents):
        assert np.count_nonzero(quoted.document(number) == source) >= 1
    assert not np.any(own.read(0, own.tokens) == source)


def test_the_same_file_gives_the_same_set_and_another_seed_another(
    config: Path, data: TokenDataset, tiny_tokenizer_dir: Path
):
    assert made(config, tiny_tokenizer_dir).fingerprint == data.fingerprint
    config.write_text(CONFIG.format(seed=4), encoding="utf-8")
    assert made(config, tiny_tokenizer_dir, "other").fingerprint != data.fingerprint


def test_evaluations_links_and_kept_questions_stay_out(data: TokenDataset):
    report = data.report()
    [glossary] = [row for row in report["sources"] if row["source"] == "glossary"]
    assert glossary["overlaps"] == {"exam": 1}
    assert glossary["dropped"]["web address"] == 1
    assert glossary["documents"] + glossary["heldout_documents"] == 2
    assert report["overlaps"]["exam"] >= 1
    for split in (data, TokenDataset.open(data.folder, split="heldout")):
        for part in split.parts:
            text = data.tokenizer.decode(part.read(0, part.tokens).tolist()).lower()
            assert "who are you?" not in text
    held = TokenDataset.open(data.folder, split="heldout")
    assert {part.group for part in held.parts} <= {"voice", "knowledge"}
    assert sum(part.documents for part in held.parts) > 0


def test_the_persona_texts_are_the_products(data: TokenDataset):
    part = data.part("own")
    text = data.tokenizer.decode(part.read(0, part.tokens).tolist())
    assert SYSTEM["direct"] in text
    assert SYSTEM["sober"] in text
    from lindos.assistant.persona import personas

    assert {persona.system for persona in personas().values()} == set(SYSTEM.values())


def conversation(*said: str) -> Made:
    roles = ("user", "assistant")
    return Made([Message(role=roles[n % 2], content=text) for n, text in enumerate(said)], "test")


def test_faults_are_named():
    check = Filter(None, Phrases(["what is the largest moon"]), Phrases([plain("Who are you?")]))
    assert check.fault(conversation("Hi", "Hello.")) == ""
    assert check.fault(conversation("who are you", "Me.")) == "a question kept for the model card"
    assert check.fault(conversation("What is the largest moon?", "Ganymede.")) == "a question of an evaluation"
    assert (
        check.fault(conversation("So, what is the largest moon, please?", "Ganymede.")) == "a question of an evaluation"
    )
    assert check.fault(conversation("Hi. Who are you again", "Me.")) == "a question kept for the model card"
    assert check.fault(conversation("Hi", "Das weiß ich nicht, und du auch nicht.")) == "not English"
    assert check.fault(conversation("Hi", "See https://a.b/c")) == "web address"
    assert check.fault(conversation("Hi", "| a | b |")) == "markup"
    assert check.fault(conversation("Hi <|end|>", "No.")) == "markup"
    assert check.fault(conversation("Привет, как дела?", "Хорошо.")) == "not English"
    assert check.fault(conversation("Hi", "")) == "empty turn"


def test_a_source_that_only_repeats_itself_is_an_error():
    check, tally = Filter(None, Phrases(()), Phrases(())), Tally("same", "voice", "", "", 1.0)
    with pytest.raises(DataError, match="ask for fewer"):
        list(check.kept((conversation("Hi", "Hello.") for _ in itertools.count()), tally, set()))


def test_the_products_own_questions_are_kept_out_by_the_run_file():
    run = Path(__file__).parents[2] / "runs" / "pebble-chat-data.toml"
    mix = load_chat_mix(run)
    assert (run.parent / mix.questions).is_file()
    assert mix.keep_out is not None
    assert mix.keep_out.words == 10
    assert all(source.licence and source.attribution for source in mix.source)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('maker = "quoted"', 'maker = "qoted"', "quoted"),
        ("count = 12", "count = 0", "count"),
        ("heldout = 0.2", "heldot = 0.2", "heldout"),
        ('path = "glossary.jsonl"', 'path = "missing.jsonl"', "missing.jsonl"),
        ('questions = "questions.toml"', 'questions = "nothing.toml"', "nothing.toml"),
    ],
)
def test_mistakes_in_the_file_are_named(config: Path, tiny_tokenizer_dir: Path, old: str, new: str, said: str):
    config.write_text(CONFIG.format(seed=3).replace(old, new), encoding="utf-8")
    with pytest.raises((SpecError, DataError), match=said):
        made(config, tiny_tokenizer_dir)
    assert not (config.parent / "out").exists()


def test_the_command_makes_the_set_and_tells_what_is_in_it(config: Path, data: TokenDataset, tiny_tokenizer_dir: Path):
    out = config.parent / "by-command"
    call = [
        "conversations",
        str(config),
        "--out",
        str(out),
        "--tokenizer",
        str(tiny_tokenizer_dir),
        "--root",
        str(config.parent),
    ]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert "quoted" in result.output
    assert data.fingerprint[:16] in result.output
