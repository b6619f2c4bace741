"""The model card: everything recorded is in it, nothing in an answer can break it, and what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from lindos.data import DatasetWriter
from lindos.evaluate import (
    Answer,
    BitsResult,
    Evaluation,
    EvaluationError,
    Figure,
    TaskResult,
    draw_losses,
    published,
    read_run,
    write_model_card,
)

HOSTILE = "# Heading\n<script>alert(1)</script> | a | b | ![x](y) `code` *bold* [link](http://x)\n- list"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [
        {
            "kind": "leg",
            "step": 0,
            "environment": {"threads": 2},
            "run": {
                "name": "tiny",
                "data": {"batch": 4, "sequence": 32},
                "optimizer": {"kind": "adamw", "lr": 0.001},
            },
        },
        *({"kind": "step", "step": n, "tokens": 128 * (n + 1), "loss": 6 - n / 50, "seconds": 0.5} for n in range(100)),
        {"kind": "evaluation", "step": 99, "tokens": 12800, "loss": 4.4},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "step", "st'
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path: Path, tiny_tokenizer) -> Path:
    source = {"source": "tales", "documents": 12, "tokens": 3456, "epochs": 2.0}
    source |= {"licence": "CC BY-SA 4.0", "attribution": "A | teller of *tales*"}
    report = {
        "mix": {"keep_out": {"words": 10}, "questions": "questions.toml"},
        "sources": [source],
        "overlaps": {"gauntlet/arc_easy": 3},
        "dropped": {"shares text with an evaluation": 3, "unwanted words": 2},
    }
    with DatasetWriter(tmp_path / "set", name="stories", vocabulary=tiny_tokenizer.vocabulary) as writer:
        shard = writer.part("tales")
        shard.add([1, 5, 2], text_bytes=4)
        writer.keep(shard.close(name="tales", group="stories", split="train"))
        writer.finish(tiny_tokenizer.source, report)
    return tmp_path / "set"


def evaluation(spec) -> Evaluation:
    pairs = Figure(
        name="accuracy",
        value=0.625,
        low=0.6,
        high=0.65,
        count=67000,
        chance=0.5,
        groups={"island/a": 0.5, "npi/b": 0.75},
    )
    words = (Figure(name="accuracy", value=0.05, low=0.04, high=0.06, count=5153, chance=0.0),)
    return Evaluation(
        model=spec,
        tasks=(
            TaskResult(task="blimp", figures=(pairs,)),
            TaskResult(task="lambada", figures=(*words, Figure(name="perplexity", value=1234.5, count=5153))),
        ),
        bits=(BitsResult(data="stories", group="all", bits_per_byte=1.5, nats_per_token=3.2, tokens=1000),),
        answers=(
            Answer(kind="self", ask="Who is there?", answer=HOSTILE, tokens=9, finish="length"),
            Answer(kind="self", ask="And now?", answer="", tokens=0, finish="stop"),
        ),
        system="You are Lindos.",
    )


def test_the_card_tells_everything(tmp_path: Path, tiny_spec, run: Path, data: Path):
    out = tmp_path / "model"
    out.mkdir()
    path = write_model_card(out, evaluation(tiny_spec), runs=[run], data=[data], made_by=["lindos train tiny.toml"])
    text = path.read_text(encoding="utf-8")
    for wanted in (
        f"{tiny_spec.parameters:,}",
        "12,800 tokens in 100 steps",
        "lindos train tiny.toml",
        "CC BY-SA 4.0",
        "share-alike",
        "gauntlet/arc\\_easy 3",
        "60.0% to 65.0%",
        "62.5%",
        "1,234.5",
        "Pythia-70m",
        "1.500",
        "What it cannot do",
        "kept out of its training conversations",
        "Apache-2.0" if "Apache" in tiny_spec.licence else "Not stated",
    ):
        assert wanted in text, wanted
    assert (out / "loss.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_an_answer_cannot_break_the_page(tmp_path: Path, tiny_spec):
    path = write_model_card(tmp_path, evaluation(tiny_spec))
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(path.read_text(encoding="utf-8"))
    assert "<script>" not in html
    assert "<h1>Heading" not in html
    assert html.count("<h1>") == 1
    assert "<img" not in html  # no run was given, so no picture either
    assert "http://x)" in html
    assert "(nothing)" in html
    assert "(cut off)" in html


def test_what_is_missing_is_said(tmp_path: Path, tiny_spec):
    text = write_model_card(tmp_path, Evaluation(model=tiny_spec)).read_text(encoding="utf-8")
    assert "No record of its training" in text
    assert "No report of its data" in text
    assert "No task was measured" in text
    assert not (tmp_path / "loss.svg").exists()


def test_the_same_run_gives_the_same_picture(tmp_path: Path, run: Path):
    record = read_run(run)
    assert record.name == "tiny"
    assert record.hours == pytest.approx(100 * 0.5 / 3600)
    for name in ("a.svg", "b.svg"):
        draw_losses([record, record], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    draw_losses([record], tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["", "nonsense\n", '{"kind": "sample"}\n', "[1, 2]\n"])
def test_a_journal_without_steps_is_refused(tmp_path: Path, text: str):
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match="no training steps"):
        read_run(tmp_path)


def test_published_figures_name_their_sources():
    table = published()
    assert set(table.chance) == {"blimp", "arc-easy", "piqa", "lambada"}
    for model in table.model:
        assert model.source
        for name, value in model.figures.items():
            assert value > 1 if name.endswith("perplexity") else 0 < value < 1
