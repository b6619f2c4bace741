"""Conversion between formats: what it leaves, what it compares, what it refuses; and the command for it."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
import sentencepiece
import torch
from typer.testing import CliRunner

from lindos.cli.main import app
from lindos.model.formats import FormatError, check_directory, convert, detect, load_model, open_source, save_model
from lindos.model.formats.compare import compare, probe_tokens
from lindos.model.formats.sinks import OwnSink
from lindos.model.formats.tensorfiles import Entry, ShardWriter
from lindos.model.formats.workspace import Workspace
from tests.conftest import TINY_TEXT
from tests.model.checkpoints import as_release, mini, random_model, same_weights, tiny_spec, write_official


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """The smallest golden checkpoint as the release would have stored it, int8 and all."""
    arrays, config, _, _ = mini()
    stored = {name: as_release(name, array) for name, array in arrays.items()}
    return write_official(tmp_path_factory.mktemp("mini") / "mini", stored, config)


# What a conversion leaves


def test_own_format_keeps_the_releases_int8_without_loss(official, tmp_path):
    report = convert(official, tmp_path / "own")
    assert report.comparison is not None
    assert (report.comparison.kind, report.comparison.difference, report.comparison.rounding) == ("logits", 0.0, 0.0)
    stored = open_source(tmp_path / "own").tensors["layers.0.experts.down"]
    assert (stored.storage, stored.scale_shape) == ("int8", (4, 8, 32))
    same_weights(*(load_model(folder, dtype=torch.float32) for folder in (official, tmp_path / "own")))
    assert check_directory(tmp_path / "own") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize("to", ["own", "sglang", "keyfan"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_every_target_and_type(official, tmp_path, to, dtype):
    report = convert(official, tmp_path / "it", to=to, dtype=dtype)
    assert detect(tmp_path / "it") == to
    assert report.comparison is not None
    assert report.comparison.difference < 1e-5
    assert (report.comparison.rounding > 0) == (dtype == "bf16")
    source, result = open_source(official), open_source(tmp_path / "it")
    assert result.spec == source.spec
    for name, info in result.tensors.items():
        fp32 = dtype == "fp32" or "norm" in name or name.endswith("router")
        assert info.storage == ("fp32" if fp32 else "bf16"), name


def test_int8_is_only_for_the_own_format(official, tmp_path):
    report = convert(official, tmp_path / "small", dtype="int8")
    assert report.comparison is not None
    assert report.comparison.difference < 1e-5
    assert open_source(tmp_path / "small").tensors["embedding"].scale_shape == (96, 1)
    with pytest.raises(FormatError, match="int8 is for Lindos's own format"):
        convert(official, tmp_path / "foreign", to="sglang", dtype="int8")
    with pytest.raises(FormatError, match="only read"):
        convert(official, tmp_path / "foreign", to="official")


def test_tokenizer_and_card_come_along(tmp_path, tiny_tokenizer_dir):
    (tmp_path / "tokenizer.json").write_text('{"a": 1}')
    save_model(random_model(tiny_spec(vocabulary=600)), tmp_path / "one", tokenizer=tmp_path, card="# one\n")
    convert(tmp_path / "one", tmp_path / "two", to="keyfan")
    assert (tmp_path / "two" / "tokenizer.json").read_text() == '{"a": 1}'
    assert (tmp_path / "two" / "MODEL_CARD.md").read_text() == "# one\n"
    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TINY_TEXT] * 9), model_writer=pieces, vocab_size=120, minloglevel=2
    )
    (tmp_path / "other.model").write_bytes(pieces.getvalue())
    convert(tmp_path / "one", tmp_path / "three", tokenizer=tmp_path / "other.model")
    assert (tmp_path / "three" / "tokenizer.model").read_bytes() == pieces.getvalue()
    assert not (tmp_path / "three" / "tokenizer.json").exists()
    convert(tmp_path / "one", tmp_path / "four", tokenizer=tiny_tokenizer_dir)
    assert (tmp_path / "four" / "tokenizer.json").read_bytes() == (tiny_tokenizer_dir / "tokenizer.json").read_bytes()
    for wrong, message in (
        (tmp_path / "none.json", "no such tokenizer"),
        (tmp_path / "tokenizer.json", "cannot be used as a tokenizer"),
        (tmp_path / "three" / "config.json", "cannot be used as a tokenizer"),
    ):
        with pytest.raises(FormatError, match=message):
            convert(tmp_path / "one", tmp_path / "five", tokenizer=wrong)
        assert not (tmp_path / "five").exists()


def test_the_tokenizer_of_a_stopped_run_does_not_stay(tmp_path, tiny_tokenizer_dir):
    save_model(random_model(tiny_spec(vocabulary=600)), tmp_path / "one", card="# one\n")

    def stop(what: str, *_: int) -> None:
        if what.startswith("comparing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "one", tmp_path / "two", tokenizer=tiny_tokenizer_dir, progress=stop)
    convert(tmp_path / "one", tmp_path / "two")
    assert not (tmp_path / "two" / "tokenizer.json").exists()


def test_an_occupied_destination_is_left_as_it_is(official, tmp_path):
    busy = tmp_path / "busy"
    busy.mkdir()
    (busy / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="exists already and is left as it is"):
        convert(official, busy)
    assert listing(busy) == {"thesis.txt": b"mine"}
    theirs = {"state.json": b'{"job": "theirs"}', "lock": b""}
    for name, content in theirs.items():
        (busy / name).write_bytes(content)
    with pytest.raises(FormatError, match="exists already and is left as it is"):
        convert(official, busy)
    assert listing(busy) == {"thesis.txt": b"mine", **theirs}
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="in the way"):
        convert(official, tmp_path / "other")
    assert listing(tmp_path / "other.partial") == {"thesis.txt": b"mine"}
    with pytest.raises(FormatError, match="in the source directory"):
        convert(official, official / "inside")
    (tmp_path / "empty").mkdir()
    assert convert(official, tmp_path / "empty").files == 1


def test_checksums_find_what_changed(official, tmp_path):
    convert(official, folder := tmp_path / "it", shard_bytes=30_000)
    assert check_directory(folder) == len(list(folder.iterdir())) - 1
    shard = next(folder.glob("model-00002-of-*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FormatError, match=r"model-00002.*contents have changed"):
        check_directory(folder)
    shard.write_bytes(data[:-1])
    with pytest.raises(FormatError, match=r"model-00002.*bytes, expected"):
        check_directory(folder)
    shard.unlink()
    with pytest.raises(FormatError, match=r"model-00002.*is missing"):
        check_directory(folder)
    with pytest.raises(FormatError, match=r"no checksums\.json"):
        check_directory(official)
    (folder / "checksums.json").write_text('{"files": {"../x": {}}}')
    with pytest.raises(FormatError, match="is not a file's name"):
        check_directory(folder)


# Comparing


def test_a_result_that_says_something_else_is_found(tmp_path):
    one, other = random_model(tiny_spec()), random_model(tiny_spec(), seed=1)
    save_model(one, tmp_path / "one")
    save_model(other, tmp_path / "other")
    source, result = (open_source(tmp_path / name) for name in ("one", "other"))
    for memory in (None, 0):
        with pytest.raises(FormatError, match="more than rounding explains"):
            compare(source, result, OwnSink("keep"), memory)


def test_where_memory_is_short_samples_are_compared_and_it_says_so(official, tmp_path):
    report = convert(official, tmp_path / "it", to="sglang", dtype="bf16", memory=1 << 20)
    assert report.comparison is not None
    assert (report.comparison.kind, report.comparison.compared) == ("samples", 26)
    assert "does not fit in memory" in str(report.comparison)


@pytest.mark.parametrize("changes", [{}, {"vocabulary": 1, "pad_token": None}, {"sequence": 1}, {"vocabulary": 3}])
def test_probe_tokens_are_in_the_vocabulary(changes):
    spec = tiny_spec(**changes)
    tokens = probe_tokens(spec)
    assert tokens
    assert len(tokens) <= spec.sequence
    assert all(0 <= token < spec.vocabulary for token in tokens)


# Trouble with the disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said_and_the_work_kept(official, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="No space") as found, ShardWriter(Path("/dev/full"), []):
        pass
    assert found.value.errno == errno.ENOSPC
    real = Workspace.draft
    monkeypatch.setattr(
        Workspace,
        "draft",
        lambda self, shard: Path("/dev/full") if "00003" in shard.file[:11] else real(self, shard),
    )
    with pytest.raises(FormatError, match=r"it\.partial: the disk is full; make room"):
        convert(official, tmp_path / "it", shard_bytes=30_000)
    assert not (tmp_path / "it").exists()
    monkeypatch.undo()
    assert convert(official, tmp_path / "it", shard_bytes=30_000).reused == 2


def test_too_little_room_is_said_before_anything_is_written(official, tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(FormatError, match="are still to be written, but the disk has 1,000 free"):
        convert(official, tmp_path / "it")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_refuses_to_leave_holes(tmp_path):
    with (
        pytest.raises(ValueError, match="8 bytes were not written"),
        ShardWriter(tmp_path / "it", [Entry("a", "fp32", (4,))]) as writer,
    ):
        writer.put("a", 0, torch.zeros(2))
    with (
        pytest.raises(ValueError, match="does not belong"),
        ShardWriter(tmp_path / "it", [Entry("a", "fp32", (4,))]) as writer,
    ):
        writer.put("a", 0, torch.zeros(4, dtype=torch.bfloat16))


# The command


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_converts_and_checks(official, tmp_path):
    result = invoke("convert", official, tmp_path / "it", "--to", "sglang", "--dtype", "bf16")
    assert result.exit_code == 0, result.output
    assert "from official" in result.output
    assert "logits of 8 tokens equal the source's" in result.output
    assert "fewer bits" in result.output
    result = invoke("convert", "--check", tmp_path / "it")
    assert result.exit_code == 0, result.output
    assert "2 files, all as they were written" in result.output
    result = invoke("convert", official, tmp_path / "two", "--no-verify", "--spec", official / "config.json")
    assert "not compared" in result.output


def test_the_command_says_what_is_missing(official, tmp_path):
    assert "say where the result goes" in invoke("convert", official).output
    assert "one directory" in invoke("convert", "--check", official, tmp_path / "it").output
    assert "'onnx'" in invoke("convert", official, tmp_path / "it", "--to", "onnx").output
    result = invoke("convert", tmp_path / "nothing", tmp_path / "it")
    assert isinstance(result.exception, FormatError)
