"""The thirty fixed questions, and what a model says to them: greedily, so that anyone gets the same, and unedited."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

import torch

from lindos.evaluate.record import Answer
from lindos.evaluate.scoring import EvaluationError, Progress
from lindos.model import KVCache, Transformer
from lindos.specs import Message, Spec
from lindos.text import ChatTemplate, Tokenizer, chat_template

Finish = Literal["stop", "length"]

SYSTEM = "You are Lindos. Be direct and funny."


class Question(Spec):
    """A fixed question and what it is meant to show."""

    kind: str
    ask: str


def fixed_questions(path: Path | None = None) -> tuple[Question, ...]:
    """The questions of the model card, or those of a file of the same shape. Raises EvaluationError, SpecError."""
    where = str(path or "questions.toml")
    try:
        text = (
            resources.files("lindos.evaluate").joinpath("questions.toml").read_text(encoding="utf-8")
            if path is None
            else path.read_text(encoding="utf-8")
        )
        rows = tomllib.loads(text).get("question", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise EvaluationError(f"{where}: cannot be read as a list of questions: {error}") from None
    return tuple(Question.parse(row, where=f"{where}, question {number}") for number, row in enumerate(rows, 1))


def answers(
    model: Transformer,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    *,
    system: str = SYSTEM,
    most_tokens: int = 120,
    progress: Progress | None = None,
) -> tuple[Answer, ...]:
    """The answer to each question in a conversation of its own; at every token the likeliest one is taken."""
    template = chat_template(tokenizer, model.spec.kind)
    told: list[Answer] = []
    for question in questions:
        messages = [Message(role="system", content=system)] if system else []
        prompt = template.prompt([*messages, Message(role="user", content=question.ask)])
        words, finish = _continued(model, tokenizer, template, prompt, most_tokens)
        text = _cut(tokenizer.decode(words), template.stop_strings)
        told.append(Answer(kind=question.kind, ask=question.ask, answer=text, tokens=len(words), finish=finish))
        if progress:
            progress(len(told), len(questions))
    return tuple(told)


@torch.inference_mode()
def _continued(
    model: Transformer, tokenizer: Tokenizer, template: ChatTemplate, prompt: list[int], most: int
) -> tuple[list[int], Finish]:
    prompt = prompt[-(model.spec.sequence - 1) :]
    most = min(most, model.spec.sequence - len(prompt))
    weights = model.embedding
    cache = KVCache(model.spec, 1, len(prompt) + most, dtype=weights.dtype, device=weights.device)
    feed = torch.tensor([prompt], device=weights.device)
    words: list[int] = []
    while len(words) < most:
        x_BTD, _ = model.hidden(feed, cache=cache)
        token = int(model.logits(x_BTD[:, -1]).argmax())
        if token in template.stop_tokens:
            return words, "stop"
        words.append(token)
        if template.stop_strings and _cut(tokenizer.decode(words), template.stop_strings) != tokenizer.decode(words):
            return words, "stop"
        feed = torch.tensor([[token]], device=weights.device)
    return words, "length"


def _cut(text: str, stops: Sequence[str]) -> str:
    ends = [text.find(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else text
