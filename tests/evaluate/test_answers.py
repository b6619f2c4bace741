"""The fixed questions, and answers that anyone gets again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from lindos.evaluate import EvaluationError, answers, fixed_questions
from lindos.specs import Message, SpecError
from lindos.text import chat_template
from lindos.text.chat import RoleTokens


def test_there_are_thirty_questions_of_many_kinds():
    questions = fixed_questions()
    assert len(questions) == 30
    assert len({question.ask for question in questions}) == 30
    assert {"self", "greeting", "fact", "sum", "joke", "story", "refusal", "unknown"} <= {q.kind for q in questions}


def test_answers_are_greedy_and_the_same_again(tiny_model, tiny_tokenizer):
    questions = fixed_questions()[:3]
    first = answers(tiny_model, tiny_tokenizer, questions, most_tokens=12)
    assert first == answers(tiny_model, tiny_tokenizer, questions, most_tokens=12)
    template = chat_template(tiny_tokenizer, "chat")
    prompt = template.prompt(
        [
            Message(role="system", content="You are Lindos. Be direct and funny."),
            Message(role="user", content=questions[0].ask),
        ]
    )
    words: list[int] = []
    with torch.inference_mode():
        while len(words) < 12:
            token = int(tiny_model(torch.tensor([prompt + words]))[0, -1].argmax())
            if token in template.stop_tokens:
                break
            words.append(token)
    assert first[0].answer == tiny_tokenizer.decode(words)
    assert first[0].finish == ("length" if len(words) == 12 else "stop")


def test_a_question_longer_than_the_model_is_cut_not_refused(tiny_model, tiny_tokenizer):
    [long] = [fixed_questions()[0].model_copy(update={"ask": "why " * 400})]
    [told] = answers(tiny_model, tiny_tokenizer, [long], most_tokens=5)
    assert told.tokens <= 5


def test_a_file_of_questions_that_is_none(tmp_path: Path):
    path = tmp_path / "q.toml"
    path.write_text("[[question", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"q\.toml"):
        fixed_questions(path)
    path.write_text('[[question]]\nkind = "a"\nasked = "b"\n', encoding="utf-8")
    with pytest.raises(SpecError, match="ask"):
        fixed_questions(path)


def test_the_longest_answer_fills_the_model(tiny_model, tiny_tokenizer, monkeypatch):
    template = chat_template(tiny_tokenizer, "chat")
    assert isinstance(template, RoleTokens)
    template.stop_tokens = frozenset()  # so that only the model's sequence ends it
    monkeypatch.setattr(sys.modules[answers.__module__], "chat_template", lambda *_: template)
    question = fixed_questions()[0]
    prompt = template.prompt([Message(role="user", content=question.ask)])
    [told] = answers(tiny_model, tiny_tokenizer, [question], system="", most_tokens=10_000)
    assert (told.tokens, told.finish) == (tiny_model.spec.sequence - len(prompt), "length")
