"""The evaluation sets: how rows are read and judged, and that a model that knows nothing scores what chance gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lindos.evaluate import TASKS, Evaluation, EvaluationError, Item, Score, evaluate, load_items, run_task


def figures(result):
    return {figure.name: figure for figure in result.figures}


def test_a_random_model_scores_chance(tiny_model, tiny_tokenizer, root):
    for name, chance in (("blimp", 0.5), ("arc-easy", 0.25), ("piqa", 0.5)):
        task = TASKS[name]
        for figure in run_task(task, tiny_model, tiny_tokenizer, load_items(task, root)).figures:
            assert figure.chance == chance
            # The sets are random, so the true rate is chance; 99.99% of such counts fall within four deviations.
            assert abs(figure.value - chance) < 4 * math.sqrt(chance * (1 - chance) / figure.count)
            assert figure.low is not None
            assert figure.high is not None
            assert 0 <= figure.low <= figure.high <= 1


def test_lambada_of_a_random_model(tiny_model, tiny_tokenizer, root):
    found = figures(run_task(TASKS["lambada"], tiny_model, tiny_tokenizer, load_items(TASKS["lambada"], root)))
    assert found["accuracy"].value < 0.2
    assert found["perplexity"].value > 50


def test_pairs_are_judged_by_paradigm_and_a_tie_is_a_miss():
    items = [Item("", ("a", "b"), 0, group) for group in ("t/one", "t/one", "t/two", "t/two")]
    scores = [[Score(x, False), Score(y, False)] for x, y in ((-1, -2), (-1, -2), (-2, -1), (-3, -3))]
    [figure] = TASKS["blimp"].judge(items, scores).figures
    assert figure.groups == {"t/one": 1.0, "t/two": 0.0}
    assert figure.value == 0.5


def test_choices_raw_and_normalised():
    items = [Item("q", (" ab", " abcdefgh"), 1)]
    scores = [[Score(-4.0, False), Score(-8.0, False)]]
    found = figures(TASKS["arc-easy"].judge(items, scores))
    assert found["accuracy"].value == 0.0
    assert found["accuracy, length-normalised"].value == 1.0


def test_prompts_are_those_of_the_harness(root):
    arc = load_items(TASKS["arc-easy"], root)[0]
    assert arc.prompt.startswith("Question: ")
    assert arc.prompt.endswith("\nAnswer:")
    assert all(choice.startswith(" ") for choice in arc.choices)
    piqa = load_items(TASKS["piqa"], root)[0]
    assert piqa.prompt.startswith("Question: ")
    assert piqa.prompt.endswith("\nAnswer:")
    assert piqa.prompt.count("\n") == 1
    assert all(choice.startswith(" ") for choice in piqa.choices)
    assert load_items(TASKS["lambada"], root)[0].choices[0].startswith(" ")
    assert load_items(TASKS["blimp"], root)[0].prompt == ""


def test_limit_is_by_group(root):
    assert len(load_items(TASKS["blimp"], root, limit=5)) == 20
    assert len(load_items(TASKS["piqa"], root, limit=5)) == 5


@pytest.mark.parametrize(
    "row",
    [{}, {"choices": ["a"], "query": "q", "gold": 0}, {"choices": ["a", "b"], "query": "q", "gold": 7}, {"choices": 3}],
)
def test_a_row_that_is_no_question_is_named(tmp_path: Path, row):
    path = tmp_path / TASKS["piqa"].path.removesuffix(".zst")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    import zstandard

    packed = path.with_name(path.name + ".zst")
    packed.write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
    with pytest.raises(EvaluationError, match="row 1"):
        load_items(TASKS["piqa"], tmp_path)


def test_a_missing_set_and_an_unknown_task_are_named(tmp_path: Path, tiny_model_dir: Path):
    with pytest.raises(EvaluationError, match="--root"):
        load_items(TASKS["blimp"], tmp_path)
    with pytest.raises(EvaluationError, match="did you mean 'blimp'"):
        evaluate(tiny_model_dir, tasks=["blim"], root=tmp_path)
    with pytest.raises(EvaluationError, match="LINDOS_SHARED"):
        evaluate(tiny_model_dir, tasks=["blimp"])
    for device in ("toaster", "cuda:99", "meta"):
        with pytest.raises(EvaluationError, match="device"):
            evaluate(tiny_model_dir, tasks=[], device=device)


def test_a_whole_evaluation_is_saved_and_added_to(tiny_model_dir: Path, root: Path, tmp_path: Path):
    first = evaluate(tiny_model_dir, tasks=["piqa", "answers"], root=root, limit=10, most_tokens=4)
    assert len(first.answers) == 30
    assert first.tasks[0].limit == 10
    path = tmp_path / "kept" / "figures.json"
    first.save(path)
    assert Evaluation.load(path) == first
    kept: list[Evaluation] = []
    both = first.merged(evaluate(tiny_model_dir, tasks=["lambada"], root=root, keep=kept.append))
    assert [[task.task for task in each.tasks] for each in kept] == [[], ["lambada"]]
    assert [task.task for task in both.tasks] == ["piqa", "lambada"]
    assert both.answers == first.answers
    with pytest.raises(EvaluationError, match="other weights"):
        first.merged(first.model_copy(update={"weights": "another"}))
    path.write_text("{", encoding="utf-8")
    with pytest.raises(EvaluationError, match="cannot be read"):
        Evaluation.load(path)
    path.write_text('{"format": "x"}', encoding="utf-8")
    with pytest.raises(EvaluationError, match="model"):
        Evaluation.load(path)


def test_the_real_sets_can_be_read(shared: Path):
    sizes = {"blimp": 67_000, "arc-easy": 2376, "piqa": 1838, "lambada": 5153}
    for name, size in sizes.items():
        items = load_items(TASKS[name], shared / "data")
        assert len(items) == size
    assert len({item.group for item in load_items(TASKS["blimp"], shared / "data")}) == 67
