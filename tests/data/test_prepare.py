"""From a mix file to a data set, with real files and real processes."""

import io
import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import zstandard
from rich.console import Console

from lindos.cli.data import app
from lindos.data import BatchPlan, DataError, TokenDataset, load_mix, prepare
from lindos.data.files import read_rows
from lindos.data.prepare import data_root
from lindos.data.readers import READERS
from lindos.specs import SpecError
from tests.text.conftest import sentences

SECRET = "Which of these nine planets is the largest one in our own solar system today?"
STORY = "Once upon a time there was a {} who lived in a {} beside the {} and was never {} again."
THINGS = [
    "fox",
    "king",
    "girl",
    "castle",
    "cave",
    "river",
    "sea",
    "forest",
    "sad",
    "alone",
    "hungry",
    "tired",
    "cold",
    "bear",
]


def story(rng: random.Random) -> str:
    return " ".join(STORY.format(*rng.sample(THINGS, 4)) for _ in range(4))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources: stories with an evaluation question, an unwanted word and a copy among them; and plain text."""
    folder = tmp_path_factory.mktemp("root")
    rng = random.Random(1)
    rows = [{"text": story(rng), "title": f"t{n}"} for n in range(300)]
    rows[7]["text"] += " " + SECRET.upper()
    rows[9]["text"] += " You " + "ass" + "hole."
    rows[11]["text"] = rows[10]["text"]
    rows[13]["text"] = "short"
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "stories.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(data))
    (folder / "plain.txt").write_text("\n\n".join(sentences(400)))
    (folder / "eval" / "quiz").mkdir(parents=True)
    (folder / "eval" / "quiz" / "q.jsonl").write_text(
        json.dumps({"query": f"Question: {SECRET}\nAnswer:", "gold": 1}) + "\n"
    )
    return folder


MIX = """
name = "tiny"
heldout = 0.1
document_characters = 400
[tokenizer]
vocabulary = 420
sample_megabytes = 0.1
[keep_out]
words = 10
[[source]]
name = "stories"
group = "tales"
reader = "text"
path = "stories.jsonl.zst"
epochs = 1.5
licence = "CC0"
[[source]]
name = "plain"
reader = "text"
path = "plain.txt"
join = 300
least = 10
"""


def made(root: Path, out: Path, text: str = MIX, **how: Any) -> TokenDataset:
    (out.parent / f"{out.name}.toml").write_text(text)
    quiet = Console(file=io.StringIO())
    prepare(load_mix(out.parent / f"{out.name}.toml"), out, root, base=out.parent, console=quiet, **how)
    return TokenDataset.open(out, verify=True)


@pytest.fixture(scope="module")
def dataset(root: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenDataset:
    return made(root, tmp_path_factory.mktemp("out") / "set")


def texts(dataset: TokenDataset, name: str) -> list[str]:
    part = dataset.part(name)
    return [dataset.tokenizer.decode(part.document(n).tolist()) for n in range(part.documents)]


def test_documents_come_through_and_unwanted_ones_do_not(dataset: TokenDataset):
    heldout = TokenDataset.open(dataset.folder, split="heldout")
    told = texts(dataset, "stories") + texts(heldout, "heldout-tales")
    assert all(text.startswith("Once upon a time") for text in told)
    assert len(told) == len(set(told)) == 300 - 4
    assert not any("planets" in text.lower() for text in told)
    joined = " ".join(texts(dataset, "plain") + texts(heldout, "heldout-text"))
    assert len(joined.split()) > 0.9 * len(" ".join(sentences(400)).split())
    assert 0 < heldout.part("heldout-tales").documents < 60


def test_documents_are_framed(dataset: TokenDataset):
    tokens = dataset.part("stories").document(3).tolist()
    assert (tokens[0], tokens[-1]) == (1, 2)
    assert not {0, 1, 2} & set(tokens[1:-1])


def test_the_report_counts(dataset: TokenDataset):
    report = dataset.report()
    first = report["sources"][0]
    assert report["overlaps"] == {"quiz/q": 1}
    assert first["dropped"] == {
        "unwanted words": 1, "shares text with an evaluation": 1, "paragraphs seen before": 1, "too short": 1
    }  # fmt: skip
    assert (first["tokens"], first["licence"]) == (dataset.part("stories").tokens, "CC0")
    assert first["documents"] + first["heldout_documents"] == 296
    assert dataset.part("stories").text_bytes == sum(len(text.encode()) for text in texts(dataset, "stories"))


def test_the_same_again_with_other_workers(root: Path, dataset: TokenDataset, tmp_path: Path):
    assert made(root, tmp_path / "set", workers=2).fingerprint == dataset.fingerprint


def test_batches_come_out(dataset: TokenDataset):
    plan = BatchPlan(dataset, sequence=32, batch=4, seed=1)
    assert plan.batch(3).tokens.max() < dataset.vocabulary


def test_a_size_limit_and_a_given_tokenizer(root: Path, dataset: TokenDataset, tmp_path: Path):
    text = MIX.replace("vocabulary = 420", f"path = {str(dataset.folder)!r}").replace(
        "epochs = 1.5", "megabytes = 0.02"
    )
    small = made(root, tmp_path / "set", text)
    assert small.meta.tokenizer_sha256 == dataset.meta.tokenizer_sha256
    bytes_kept = small.part("stories").text_bytes + TokenDataset.open(small.folder, split="heldout").parts[0].text_bytes
    assert 15_000 < bytes_kept <= 20_000


def test_rows_can_be_left_out(root: Path, tmp_path: Path):
    text = MIX.replace("epochs = 1.5", 'leave_out = ["t1"]\nkeep_only = ["2"]')
    kept = made(root, tmp_path / "set", text).report()["sources"][0]
    wanted = [n for n in range(300) if "2" in f"t{n}" and "t1" not in f"t{n}"]
    assert kept["documents"] + kept["heldout_documents"] == len(wanted)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs = 1.5", "epoch = 1.5", "unknown field; did you mean 'epochs'"),
        ('reader = "text"', 'reader = "texts"', "unknown reader 'texts'; did you mean 'text'"),
        ('name = "plain"', 'name = "stories"', "listed twice"),
        ('name = "plain"', 'name = "heldout"', "take another name"),
        ('name = "plain"', 'name = "../x"', "pattern"),
        ("epochs = 1.5", "epochs = 0", "greater than 0"),
        ('name = "tiny"', "name = ", "cannot be read"),
    ],
)
def test_mistakes_in_a_mix_are_named(tmp_path: Path, old: str, new: str, said: str):
    path = tmp_path / "mix.toml"
    path.write_text(MIX.replace(old, new))
    with pytest.raises(SpecError, match=said):
        load_mix(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("plain.txt", "nowhere.txt", "no such file .source 'plain'"),
        ("least = 10", "least = 100000", "no document is left of source 'plain'"),
        ("words = 10", 'folder = "none"', "holds no evaluations"),
        ("vocabulary = 420", "vocabulary = 8192", "give more text"),
        ("vocabulary = 420", 'path = "none"', "holds no tokenizer"),
    ],
)
def test_what_cannot_be_prepared_leaves_nothing(root: Path, tmp_path: Path, old: str, new: str, said: str):
    with pytest.raises((DataError, SpecError), match=said):
        made(root, tmp_path / "set", MIX.replace(old, new))
    assert [path.name for path in tmp_path.iterdir()] == ["set.toml"]


def test_damage_in_a_worker_names_file_and_line(root: Path, tmp_path: Path):
    (tmp_path / "stories.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(b'{"text": "a"}\n{"tex\n'))
    for name in ("plain.txt", "eval"):
        (tmp_path / name).symlink_to(root / name)
    with pytest.raises(DataError, match=r"stories\.jsonl\.zst, line 2: is no JSON"):
        made(tmp_path, tmp_path / "set", workers=2)


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LINDOS_SHARED", str(tmp_path))
    assert data_root(None) == tmp_path / "data"
    assert data_root(Path("x")) == Path("x")
    monkeypatch.delenv("LINDOS_SHARED")
    with pytest.raises(DataError, match="--root"):
        data_root(None)


def test_the_bundled_mix_is_understood():
    mix = load_mix(Path(__file__).parents[2] / "runs" / "pebble-data.toml")
    assert mix.tokenizer.vocabulary == 8192
    assert all(source.licence and source.attribution for source in mix.source)


def test_sources_of_the_bundled_mix_give_text(shared: Path):
    for source in load_mix(Path(__file__).parents[2] / "runs" / "pebble-data.toml").source:
        path = shared / "data" / source.path
        if not path.exists():
            pytest.skip("the reference texts are not here")
        rows = islice(read_rows(path), 120 if source.name == "task-texts" else 8)
        assert any(True for row in rows for _ in READERS[source.reader](row, 5000)), source.name


def test_commands(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mix = tmp_path / "mix.toml"
    mix.write_text(MIX)
    out = str(tmp_path / "set")
    app(["prepare", str(mix), "--out", out, "--root", str(root), "--workers", "1"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "quiz/q" in printed
    assert "stories" in printed
    app(["show", out, "--part", "stories", "--samples", "2", "--verify"], standalone_mode=False)
    assert capsys.readouterr().out.count("Once upon a time") >= 2


def test_the_tokenizer_suits_the_mix(dataset: TokenDataset):
    part = dataset.part("stories")
    assert part.text_bytes / part.tokens > 3
