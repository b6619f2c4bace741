"""The quantised directory: what it stands for, how it lies on disk, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from lindos.kernels.packing import packed_bytes
from lindos.kernels.quantising import packed, weights_of
from lindos.model import Transformer, initialise
from lindos.model.formats import convert, load_model, save_model
from lindos.model.formats.opening import open_source
from lindos.model.formats.packedfiles import ALIGNMENT, PackedSource
from lindos.model.formats.source import FormatError
from lindos.specs import ModelSpec

SPEC = ModelSpec(
    name="odd",
    layers=3,
    width=48,
    vocabulary=70,
    sequence=64,
    heads=6,
    kv_heads=2,
    head_size=10,
    experts=5,
    experts_per_token=2,
    expert_width=72,
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "plain"
    model = Transformer(SPEC)
    initialise(model, seed=3)
    save_model(model, folder)
    return folder


@pytest.fixture(params=["int4", "int8", "bf16"])
def quantised(request: pytest.FixtureRequest, plain: Path, tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / request.param
    report = convert(plain, folder, quantise=request.param, shard_bytes=40_000)
    assert report.comparison is not None
    assert report.comparison.kind == "logits"
    return folder, request.param


def test_every_weight_is_the_sources_rounded(plain: Path, quantised: tuple[Path, str]):
    folder, format = quantised
    before, after = load_model(plain, dtype=torch.float32), load_model(folder, dtype=torch.float32)
    for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        if old.ndim == 3:
            expected = torch.stack([weights_of(packed(matrix.t(), format)).t() for matrix in old])  # type: ignore[arg-type]
        elif name == "embedding":
            expected = weights_of(packed(old, "bf16" if format == "bf16" else "int8"))
        elif old.ndim == 2 and "router" not in name:
            expected = weights_of(packed(old.t(), format)).t()  # type: ignore[arg-type]
        else:
            expected = old
        torch.testing.assert_close(new, expected, rtol=0, atol=0, msg=name)


def test_the_safetensors_library_reads_it_and_each_expert_is_one_aligned_read(quantised: tuple[Path, str]):
    folder, _ = quantised
    source = open_source(folder)
    assert isinstance(source, PackedSource)
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 1
    by_library = {name: array for file in files for name, array in load_file(file).items()}
    for layer in range(SPEC.layers):
        parts = [source.matrices(f"layers.{layer}.experts.{part}") for part in ("gate", "up", "down")]
        for gate, up, down in zip(*parts, strict=True):
            place = source.place(gate)
            assert place.offset % ALIGNMENT == 0
            assert source.place(up).path == source.place(down).path == place.path
            assert source.place(up).offset == place.offset + gate.bytes
            assert source.place(down).offset == source.place(up).offset + up.bytes
            assert (source.place(down).offset + source.place(down).shape[0]) % ALIGNMENT == 0
            with place.path.open("rb") as file:
                file.seek(place.offset)
                read = file.read(gate.bytes + up.bytes + down.bytes)
            assert read == b"".join(by_library[m.name].tobytes()[: m.bytes] for m in (gate, up, down))


def test_it_converts_back(quantised: tuple[Path, str], tmp_path: Path):
    folder, _ = quantised
    convert(folder, tmp_path / "back", dtype="fp32")
    once, again = load_model(folder, dtype=torch.float32), load_model(tmp_path / "back", dtype=torch.float32)
    for old, new in zip(once.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=0)


def test_it_takes_the_room_that_it_says(quantised: tuple[Path, str]):
    folder, format = quantised
    bits = {"int4": 4.5, "int8": 8.5, "bf16": 16}[format]
    assert packed_bytes(format, 64, 6144) * 8 == 64 * 6144 * bits  # type: ignore[arg-type]
    assert json.loads((folder / "config.json").read_text())["weights"] == format


def test_blocks_of_an_embedding_are_whole_strips(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lindos.model.formats.source.BLOCK_BYTES", 4 * SPEC.width * 21)
    convert(plain, tmp_path / "small", quantise="int8")
    before, after = load_model(plain, dtype=torch.float32), load_model(tmp_path / "small", dtype=torch.float32)
    torch.testing.assert_close(after.embedding, weights_of(packed(before.embedding, "int8")), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("layout", 2, "layout 2"),
        ("format", "lindos-packed-9", "lindos-packed-9"),
        ("weights", "int3", "weights"),
        ("spec", None, "spec"),
    ],
)
def test_what_cannot_be_read_is_refused(plain: Path, tmp_path: Path, key: str, value: object, said: str):
    convert(plain, tmp_path / "bad", quantise="int4")
    config = tmp_path / "bad/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))
    with pytest.raises(FormatError, match=said):
        open_source(tmp_path / "bad")


def test_a_description_of_another_size_is_refused(plain: Path, tmp_path: Path):
    convert(plain, tmp_path / "bad", quantise="int4")
    config = tmp_path / "bad/config.json"
    table = json.loads(config.read_text())
    for field, value in (("expert_width", 4096), ("experts", 6), ("layers", 4), ("experts_per_token", 9)):
        config.write_text(json.dumps(table | {"spec": table["spec"] | {field: value}}))
        with pytest.raises(Exception, match=r"missing|not \[|experts_per_token"):
            open_source(tmp_path / "bad")
