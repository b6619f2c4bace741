"""The evaluation sets: what is asked, and how scores become a figure.

BLiMP: of two sentences the right one must be likelier. ARC-easy and PIQA: of several answers the right one must be
likelier, summed as it is and divided by its length in characters (what the evaluation harness calls acc and acc_norm).
LAMBADA: the last word of a passage must be the likeliest at each of its tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lindos.data.files import read_rows
from lindos.evaluate.intervals import wilson
from lindos.evaluate.record import Figure, TaskResult
from lindos.evaluate.scoring import EvaluationError, Progress, Request, Score, score
from lindos.model import Transformer
from lindos.text import Tokenizer


@dataclass(frozen=True)
class Item:
    """One question: `choices` after `prompt`, of which `gold` is right; `group` is what figures are broken down by."""

    prompt: str
    choices: tuple[str, ...]
    gold: int
    group: str = ""


@dataclass(frozen=True)
class Task:
    """An evaluation set: where it lies under the data root, how a row is read, and how it is judged."""

    name: str
    title: str
    path: str
    read: Callable[[dict[str, Any]], Item]
    judge: Callable[[Sequence[Item], Sequence[Sequence[Score]]], TaskResult]


def load_items(task: Task, root: Path, limit: int | None = None) -> list[Item]:
    """The task's questions; with `limit`, only the first so many of each group. Raises EvaluationError, DataError."""
    path = root / task.path
    if not path.is_file():
        raise EvaluationError(f"{path}: no such file, which the task {task.name} reads; is --root right?")
    items: list[Item] = []
    seen: dict[str, int] = defaultdict(int)
    for number, row in enumerate(read_rows(path), 1):
        try:
            item = task.read(row)
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(f"{path}, row {number}: is no question of {task.name}: {error!r}") from None
        seen[item.group] += 1
        if limit is None or seen[item.group] <= limit:
            items.append(item)
    if not items:
        raise EvaluationError(f"{path}: holds no questions")
    return items


def run_task(
    task: Task, model: Transformer, tokenizer: Tokenizer, items: Sequence[Item], progress: Progress | None = None
) -> TaskResult:
    """Score every choice of every question and judge them."""
    start = (tokenizer.bos,) if tokenizer.starts_with_bos and tokenizer.bos is not None else ()
    requests = [_request(start, item.prompt, choice, tokenizer) for item in items for choice in item.choices]
    scores = score(model, requests, progress=progress)
    grouped: list[list[Score]] = []
    at = 0
    for item in items:
        grouped.append(scores[at : at + len(item.choices)])
        at += len(item.choices)
    return task.judge(items, grouped)


def _request(start: tuple[int, ...], prompt: str, choice: str, tokenizer: Tokenizer) -> Request:
    words = tuple(tokenizer.encode(prompt + choice))
    if prompt:
        # Encoded together and cut, as the evaluation harness does: a tokenizer may put a space before a text by itself.
        cut = len(tokenizer.encode(prompt))
        return Request(start + words[:cut], words[cut:])
    # Without a start token the first token of a sentence can only be given, not predicted.
    return Request(start, words) if start else Request(words[:1], words[1:])


def accuracy(name: str, hits: Sequence[bool], chance: float, groups: dict[str, list[bool]] | None = None) -> Figure:
    """A share with its interval; with groups, the value is the mean over them and each is told."""
    low, high = wilson(sum(hits), len(hits))
    shares = {group: sum(each) / len(each) for group, each in (groups or {}).items()}
    value = sum(shares.values()) / len(shares) if shares else sum(hits) / len(hits)
    return Figure(name=name, value=value, low=low, high=high, count=len(hits), chance=chance, groups=shares)


def _likeliest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _judge_pairs(items: Sequence[Item], scores: Sequence[Sequence[Score]]) -> TaskResult:
    groups: dict[str, list[bool]] = defaultdict(list)
    for item, (good, bad) in zip(items, scores, strict=True):
        # A tie counts half in expectation; here it is a miss, so that a model that says nothing scores nothing.
        groups[item.group].append(good.logprob > bad.logprob)
    hits = [hit for each in groups.values() for hit in each]
    return TaskResult(task="blimp", figures=(accuracy("accuracy", hits, 0.5, dict(groups)),))


def _judge_choices(task: str) -> Callable[[Sequence[Item], Sequence[Sequence[Score]]], TaskResult]:
    def judge(items: Sequence[Item], scores: Sequence[Sequence[Score]]) -> TaskResult:
        raw, normal = [], []
        for item, each in zip(items, scores, strict=True):
            lengths = [max(len(choice.strip()), 1) for choice in item.choices]
            raw.append(_likeliest([one.logprob for one in each]) == item.gold)
            shared = [one.logprob / length for one, length in zip(each, lengths, strict=True)]
            normal.append(_likeliest(shared) == item.gold)
        chance = sum(1 / len(item.choices) for item in items) / len(items)
        figures = (accuracy("accuracy", raw, chance), accuracy("accuracy, length-normalised", normal, chance))
        return TaskResult(task=task, figures=figures)

    return judge


def _judge_last_words(items: Sequence[Item], scores: Sequence[Sequence[Score]]) -> TaskResult:
    each = [one for (one,) in scores]
    nats = -sum(one.logprob for one in each) / len(items)
    perplexity = math.exp(min(nats, 700.0))
    return TaskResult(
        task="lambada",
        figures=(
            accuracy("accuracy", [one.greedy for one in each], 0.0),
            Figure(name="perplexity", value=perplexity, count=len(items)),
        ),
    )


def _pair(row: dict[str, Any]) -> Item:
    return Item("", (str(row["sentence_good"]), str(row["sentence_bad"])), 0, f"{row['linguistics_term']}/{row['UID']}")


def _choices(row: dict[str, Any]) -> Item:
    choices = tuple(f" {str(choice).strip()}" for choice in row["choices"])
    gold = int(row["gold"])
    if not 0 <= gold < len(choices) or len(choices) < 2:
        raise ValueError(f"gold {gold} of {len(choices)} choices")
    return Item(f"{str(row['query']).rstrip()}\nAnswer:", choices, gold)


def _passage(row: dict[str, Any]) -> Item:
    return Item(str(row["context"]), (f" {str(row['continuation']).strip()}",), 0)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("blimp", "BLiMP", "eval/blimp/blimp.jsonl.zst", _pair, _judge_pairs),
        Task("arc-easy", "ARC-easy", "eval/gauntlet/arc_easy.jsonl.zst", _choices, _judge_choices("arc-easy")),
        Task("piqa", "PIQA", "eval/gauntlet/piqa.jsonl.zst", _choices, _judge_choices("piqa")),
        Task("lambada", "LAMBADA", "eval/gauntlet/lambada_openai.jsonl.zst", _passage, _judge_last_words),
    )
}
