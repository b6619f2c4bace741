"""Answers held to a grammar, with byte-level and SentencePiece tokenizers, by walks that only the grammar guides."""

from __future__ import annotations

import io
import json
import random
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from lindos.engine import RequestError
from lindos.engine.constraint import Constraint, GrammarCompiler, GrammarTokenizer
from lindos.engine.sampling import Grammar
from lindos.text import SentencePieceTokenizer, Tokenizer, load_tokenizer
from tests.conftest import TINY_TEXT

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kinds": {"type": "array", "items": {"enum": ["boat", "bird"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMA = Grammar("json_schema", json.dumps(PERSON))


def trained(**options: Any) -> SentencePieceTokenizer:
    """A SentencePiece model of 420 pieces that puts a space before every text, as Grok-1's does."""
    model = io.BytesIO()
    lines = [*TINY_TEXT.splitlines(), '{"name": "Ann", "age": 3, "kinds": ["boat", "bird"]}'] * 5
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=420,
        model_type="bpe",
        minloglevel=2,
        **{"byte_fallback": True, **options},
    )
    return SentencePieceTokenizer(model.getvalue())


@pytest.fixture(scope="module", params=["bytes", "pieces", "normalising", "grok"])
def tokenizer(request: pytest.FixtureRequest, tiny_tokenizer_dir: Path) -> Tokenizer:
    match request.param:
        case "bytes":
            return load_tokenizer(tiny_tokenizer_dir)
        case "pieces":
            return trained(normalization_rule_name="identity", remove_extra_whitespaces=False)
        case "normalising":
            return trained(normalization_rule_name="nmt_nfkc_cf", remove_extra_whitespaces=True)
        case _:
            return load_tokenizer(request.getfixturevalue("shared") / "golden" / "grok1-tokenizer.model")


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    assert tokenizer.eos is not None
    return GrammarCompiler(tokenizer, {tokenizer.eos})


def walk(constraint: Constraint, tokenizer: Tokenizer, seed: int, *, vocabulary: int, short: bool = True) -> list[int]:
    """Tokens by chance among those allowed, the shortest more often, until the answer is complete."""
    chance, said = random.Random(seed), []
    while not constraint.complete:
        allowed = np.flatnonzero(constraint.allowed(vocabulary)).tolist()
        assert allowed, constraint.fault
        if tokenizer.eos in allowed and (len(said) > 40 or chance.random() < 0.3):
            allowed = [tokenizer.eos]
        elif short and len(said) > 20:
            allowed = sorted(allowed, key=lambda token: len(tokenizer.token_bytes(token)))[:4]
        said.append(chance.choice(allowed))
        constraint.accept(said[-1])
        assert len(said) < 500
    assert constraint.fault is None
    return said


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_said_fits_the_schema(compiler: GrammarCompiler, tokenizer: Tokenizer, seed: int) -> None:
    # A model often has more rows than its tokenizer has tokens.
    said = walk(compiler.compile(SCHEMA), tokenizer, seed, vocabulary=tokenizer.vocabulary + 100)
    person = json.loads(b"".join(map(tokenizer.token_bytes, said)))
    assert person.keys() - {"kinds"} == {"name", "age"}
    assert 0 <= person["age"] <= 150
    assert isinstance(person["name"], str)
    assert set(person.get("kinds", [])) <= {"boat", "bird"}


@pytest.mark.parametrize("text", ['{"name": "Ann", "age": 3}', '{"name":"x","age":150,"kinds":["bird","bird"]}'])
def test_what_fits_can_be_said_byte_by_byte_and_ends_with_it(
    compiler: GrammarCompiler, tokenizer: Tokenizer, text: str
) -> None:
    constraint, data = compiler.compile(SCHEMA), text.encode()
    while data:
        allowed = np.flatnonzero(constraint.allowed(tokenizer.vocabulary)).tolist()
        fitting = [n for n in allowed if tokenizer.token_bytes(n) and data.startswith(tokenizer.token_bytes(n))]
        assert fitting, f"nothing leads to {data!r}"
        token = max(fitting, key=lambda n: len(tokenizer.token_bytes(n)))
        assert tokenizer.eos not in allowed
        assert not constraint.complete
        constraint.accept(token)
        data = data[len(tokenizer.token_bytes(token)) :]
    assert constraint.complete


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", r"[a-c]{3}-[0-9]{2,}"), r"[a-c]{3}-[0-9]{2,}"),
        (Grammar("regex", r"the harbour of (Lindos|Rhodes)"), r"the harbour of (Lindos|Rhodes)"),
        (Grammar("lark", 'start: "yes" | "no" (" " "never")~0..3'), r"yes|no( never){0,3}"),
    ],
)
def test_other_grammars(compiler: GrammarCompiler, tokenizer: Tokenizer, grammar: Grammar, pattern: str) -> None:
    for seed in range(3):
        said = walk(compiler.compile(grammar), tokenizer, seed, vocabulary=tokenizer.vocabulary)
        text = b"".join(map(tokenizer.token_bytes, said)).decode()
        assert re.fullmatch(pattern, text), text


def test_the_end_is_allowed_only_where_the_answer_may_end(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    constraint = compiler.compile(Grammar("regex", "[0-9]+"))
    assert not constraint.allowed(tokenizer.vocabulary)[tokenizer.eos]
    constraint.accept(int(np.flatnonzero(constraint.allowed(tokenizer.vocabulary))[0]))
    assert constraint.allowed(tokenizer.vocabulary)[tokenizer.eos]
    assert not constraint.complete
    assert tokenizer.eos is not None
    constraint.accept(tokenizer.eos)
    assert constraint.complete


def test_one_grammar_may_guide_many_answers(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    first, second = compiler.compile(SCHEMA), compiler.compile(SCHEMA)
    alone = walk(compiler.compile(SCHEMA), tokenizer, 1, vocabulary=tokenizer.vocabulary)
    for token in alone[:5]:
        first.accept(token)
    assert walk(second, tokenizer, 1, vocabulary=tokenizer.vocabulary) == alone


def test_tokens_that_are_not_allowed_are_a_fault(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    constraint = compiler.compile(SCHEMA)
    forbidden = int(np.flatnonzero(~constraint.allowed(tokenizer.vocabulary))[5])
    constraint.accept(forbidden)
    assert constraint.fault
    assert not constraint.complete


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (Grammar("json_schema", "{"), "EOF"),
        (Grammar("json_schema", "[]"), "object schema"),
        (Grammar("json_schema", '{"type": "king"}'), "king"),
        (Grammar("json_schema", '{"not": {}}'), "not"),
        (Grammar("json_schema", '{"not": {}, "x-guidance": {"lenient": true}}'), "not"),
        (Grammar("json_schema", '{"$ref": "http://elsewhere.example/schema"}'), "elsewhere"),
        (Grammar("json_schema", '{"anyOf": []}'), "anyOf"),
        (Grammar("json_schema", '{"allOf":[' * 3000 + "{}" + "]}" * 3000), "recursion"),
        (Grammar("regex", "(a"), "unclosed"),
        (Grammar("regex", "(?=a)b"), "look-around"),
        (Grammar("regex", "(" * 9000), "regular expression cannot be used"),
        (Grammar("lark", "start: nothing"), "nothing"),
    ],
)
def test_what_cannot_be_compiled_is_refused(compiler: GrammarCompiler, grammar: Grammar, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        compiler.compile(grammar)
    assert caught.value.param == "response_format"
    assert len(str(caught.value)) < 400


def test_forced_text_is_encoded_without_the_space_that_texts_begin_with(tokenizer: Tokenizer) -> None:
    adapted = GrammarTokenizer(tokenizer, [2])
    for text in ('{"name":', "name", " name", "two  spaces", "ﬁ Ⅳ", "K", "né"):
        data = text.encode()
        assert b"".join(map(tokenizer.token_bytes, adapted(data))) == data
    if tokenizer.drops_first_space:
        assert b"".join(map(tokenizer.token_bytes, tokenizer.encode("name"))) != b"name", "else this shows nothing"


def test_a_tokenizer_without_an_end_will_do(tiny_tokenizer_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    compiler = GrammarCompiler(tokenizer, [])
    tokenizer.eos = None
    said = walk(compiler.compile(SCHEMA), tokenizer, 3, vocabulary=tokenizer.vocabulary)
    assert json.loads(tokenizer.decode(said))["age"] >= 0


def test_a_vocabulary_that_cannot_write_it_is_told() -> None:
    without_bytes = trained(byte_fallback=False)
    compiler = GrammarCompiler(without_bytes, [2])
    with pytest.raises(RequestError, match="no token of this model can begin it"):
        compiler.compile(Grammar("regex", "東+"))


def test_compiling_leaves_the_other_threads_running(tiny_tokenizer_dir: Path) -> None:
    """A schema near the limit of size; meanwhile another thread, as the steps are, is never held up for long."""
    properties = {f"p{n}": {"type": "string", "pattern": f"a{n}.*b"} for n in range(1100)}
    grammar = Grammar("json_schema", json.dumps({"type": "object", "properties": properties}))
    compiler, pauses, done = GrammarCompiler(load_tokenizer(tiny_tokenizer_dir), [2]), [0.0], threading.Event()

    def watch() -> None:
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            pauses.append(now - last)
            last = now

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.perf_counter()
    compiler.compile(grammar)
    took = time.perf_counter() - started
    done.set()
    watching.join()
    assert len(pauses) > 10
    assert max(pauses) < max(0.1, took / 2)


def test_masks_of_a_large_vocabulary_are_cheap(shared: Path) -> None:
    """Against what a step of such a model takes, which is hundreds of milliseconds where it runs at all."""
    grok = load_tokenizer(shared / "golden" / "grok1-tokenizer.model")
    constraint = GrammarCompiler(grok, [2]).compile(Grammar("json_schema", '{"type": "object"}'))
    chance, seconds = random.Random(1), []
    for _ in range(60):
        started = time.perf_counter()
        allowed = constraint.allowed(grok.vocabulary)
        seconds.append(time.perf_counter() - started)
        if constraint.complete:
            break
        constraint.accept(chance.choice(np.flatnonzero(allowed).tolist()))
    assert float(np.median(seconds)) < 0.005
