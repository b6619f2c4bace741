"""Foreign files that are damaged or hostile: an error that names them, or exactly what they say; never more."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import struct
import tempfile
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.model.formats import FormatError, convert, open_source, save_model
from lindos.model.formats.arrays import QuantizedRef
from lindos.model.formats.fields import read_table
from lindos.model.formats.pickles import read_pickle
from lindos.model.formats.tensorfiles import read_header
from lindos.specs import LindosError, RopeScaling
from tests.model.checkpoints import (
    QuantizedWeight8bit,
    arrays_of,
    as_release,
    pickled,
    quantised,
    random_model,
    tiny_spec,
    write_official,
)
from tests.model.grok2 import grok2_spec

# Mutations


@st.composite
def mutations(draw, data: bytes):
    """A few bytes flipped, cut, doubled or put in; half of them near the start, where the structure is."""
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        far = draw(st.sampled_from([64, 400, max(1, len(damaged))]))
        at = draw(st.integers(0, max(0, min(far, len(damaged)) - 1)))
        match draw(st.sampled_from(["flip", "set", "cut", "drop", "insert"])):
            case "flip" if damaged:
                damaged[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if damaged:
                damaged[at] = draw(st.integers(0, 255))
            case "cut":
                del damaged[at:]
            case "drop":
                del damaged[at : at + draw(st.integers(1, 9))]
            case "insert":
                damaged[at:at] = draw(st.binary(min_size=1, max_size=9))
    return bytes(damaged)


RNG = np.random.default_rng(0)
PICKLES = [
    pickled(RNG.normal(size=(5, 3)).astype(np.float32)),
    pickled(quantised(RNG.normal(size=(2, 16, 6)), 8)),
    pickled(np.asfortranarray(RNG.normal(size=(4, 6)).astype(ml_dtypes.bfloat16))),
    pickled(quantised(RNG.normal(size=(8, 4)), 1), protocol=3),
]


RECONSTRUCT = np.zeros(0).__reduce__()[0]


class Reference(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Python's own unpickler, in Python, with nothing to import but arrays."""

    def find_class(self, module: str, name: str):
        if name == "QuantizedWeight8bit":
            return QuantizedWeight8bit
        if (module, name) == ("ml_dtypes", "bfloat16"):
            return ml_dtypes.bfloat16
        if name in {"_reconstruct", "ndarray", "dtype"} and module.startswith("numpy"):
            return {"_reconstruct": RECONSTRUCT, "ndarray": np.ndarray, "dtype": np.dtype}[name]
        raise AssertionError(f"{module}.{name} was accepted")


def reference(data: bytes) -> list[np.ndarray] | None:
    """What Python makes of it; None where it stumbles."""
    try:
        value = Reference(io.BytesIO(data)).load()
        arrays = [value.weight, value.scales] if isinstance(value, QuantizedWeight8bit) else [value]
        # numpy divides by what a damaged state says of its numbers' size and alignment, and takes the process along.
        if any(array.dtype.itemsize < 1 or array.dtype.alignment < 1 for array in arrays):
            return None
        return [np.asarray(array).astype(np.float32) for array in arrays]
    except AssertionError:
        raise
    except Exception:  # noqa: BLE001 - it may fail in any way; then there is nothing to compare with
        return None


def names(error: Exception, file: str) -> None:
    assert file in str(error)


def check_pickle(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensor00000_000"
        path.write_bytes(data)
        try:
            found = read_pickle(path)
            refs = [found.weight, found.scales] if isinstance(found, QuantizedRef) else [found]
            arrays = [ref.read().float().numpy() for ref in refs]
        except FormatError as error:
            names(error, "tensor00000_000")
            return
    expected = reference(data)
    if expected is not None:
        for array, wanted in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(array, wanted)


# numpy's own state of a damaged dtype may be broken enough to complain when it is freed; that is the reference's part.
numpy_may_complain = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@numpy_may_complain
@settings(max_examples=120, deadline=None)
@given(st.sampled_from(PICKLES).flatmap(mutations))
def test_damaged_pickles(data):
    check_pickle(data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@numpy_may_complain
@settings(max_examples=5_000, deadline=None)
@given(st.sampled_from(PICKLES).flatmap(mutations))
def test_damaged_pickles_at_length(data):
    check_pickle(data)


@functools.cache
def sample_safetensors() -> bytes:
    tensors = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.bfloat16), "c": torch.zeros(2, 2)}
    return safetensors.torch.save(tensors, {"format": "pt"})


def check_safetensors(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(data)
        try:
            found = {name: ref.read() for name, ref in read_header(path).items()}
        except FormatError as error:
            names(error, "model.safetensors")
            return
    expected = safetensors.torch.load(data)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(st.deferred(lambda: mutations(sample_safetensors())))
def test_damaged_safetensors(data):
    check_safetensors(data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=3_000, deadline=None)
@given(st.deferred(lambda: mutations(sample_safetensors())))
def test_damaged_safetensors_at_length(data):
    check_safetensors(data)


# Whole directories: whatever happens to one file, the destination appears whole or not at all


@pytest.fixture(scope="module")
def directories(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("samples")
    model = random_model(tiny_spec(layers=1))
    save_model(model, folder / "own", dtype="int8")
    convert(folder / "own", folder / "sglang", to="sglang", verify=False)
    stored = {name: as_release(name, array) for name, array in arrays_of(model).items()}
    write_official(folder / "official", stored, json.loads(model.spec.model_dump_json()))
    alike = {"norms_per_layer": 2, "attention_softcap": None, "embedding_multiplier": 1.0, "logit_multiplier": 1.0}
    alike |= {"renormalise_gates": True, "rope_scaling": RopeScaling(factor=4.0, original_sequence=8), "layers": 1}
    others = {"mixtral": tiny_spec(**alike), "qwen3-moe": tiny_spec(**alike, query_key_norms=True)}
    for to, spec in (others | {"sglang": grok2_spec(layers=1)}).items():
        save_model(random_model(spec), folder / f"own, {to}")
        convert(folder / f"own, {to}", folder / f"other, {to}", to=to, verify=False)
    return {path.name: path for path in folder.iterdir()}


def check_conversion(data: st.DataObject, directories: dict[str, Path]) -> None:
    original = directories[data.draw(st.sampled_from(sorted(directories)))]
    files = sorted(path for path in original.rglob("*") if path.is_file() and path.name != "checksums.json")
    target = data.draw(st.sampled_from(files))
    damaged = data.draw(mutations(target.read_bytes()))
    with tempfile.TemporaryDirectory() as name:
        copy, destination = Path(name) / "copy", Path(name) / "out"
        for path in files:
            place = copy / path.relative_to(original)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(damaged if path == target else path.read_bytes())
        try:
            convert(copy, destination, dtype="fp32")
        except LindosError as error:
            names(error, str(copy))
            assert sorted(path.name for path in Path(name).iterdir()) == ["copy"]
        else:
            same_or_readable(copy, destination)


def same_or_readable(one: Path, other: Path) -> None:
    left, right = open_source(one), open_source(other)
    assert left.spec == right.spec
    for name, info in left.tensors.items():
        for rows in info.blocks():
            assert torch.equal(left.read(name, rows).float(), right.read(name, rows).float())


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_directories(directories, data):
    check_conversion(data, directories)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_damaged_directories_at_length(directories, data):
    check_conversion(data, directories)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_strange_values_in_descriptions(directories, data):
    config = directories[data.draw(st.sampled_from(sorted(directories)))] / "config.json"
    table = json.loads(config.read_text())
    inner = table["spec"] if "spec" in table and data.draw(st.booleans()) else table
    inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(json_values)
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.json"
        spec.write_text(json.dumps(table))
        try:
            opened = open_source(config.parent, spec)
        except LindosError:
            return
        assert opened.spec.layers == 1


LONG = b"9" * 10_000
TABLES = [("config.json", text) for text in (b"", b"[1]", b'{"a":' * 100_000, b'{"n": ' + LONG + b"}")]
TABLES += [("spec.toml", text) for text in (b"n = " + LONG, b"a = " + b"[" * 100_000, b"=")]
TABLES += [(name, text) for name in ("config.json", "spec.toml") for text in (b"{", b"7", b"\xff\xfe")]


@pytest.mark.parametrize(("name", "text"), TABLES)
def test_tables_that_are_none(tmp_path, name, text):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(FormatError, match=name):
        read_table(tmp_path / name)


# Hostile pickles


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def glob(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


def array(shape: bytes, payload: bytes, kind: bytes = b"\x8c\x02f4") -> bytes:
    """The opcodes numpy writes for an array, with any shape (pushed by `shape`) and any data (by `payload`)."""
    make = glob("numpy._core.multiarray", "_reconstruct") + glob("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    dtype = glob("numpy", "dtype") + kind + b"\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return make + b"(K\x01" + shape + dtype + b"\x89" + payload + b"tb"


EXISTS = b"cposix\nsystem\n"
BIG = struct.pack("<Q", 1 << 60)
# A tuple of the one before, twice, sixty times over: small in memory, 2^60 long when written out.
DOUBLED = b"N" + b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(60))
HOSTILE = {
    "os.system by name": b"\x80\x04" + EXISTS + short("touch {mark}") + b"\x85R.",
    "os.system from the stack": b"\x80\x04" + glob("os", "system") + short("touch {mark}") + b"\x85R.",
    "builtins.eval": b"\x80\x04" + glob("builtins", "eval") + short("open('{mark}','w')") + b"\x85R.",
    "builtins.getattr": b"\x80\x04" + glob("builtins", "getattr") + b".",
    "numpy's own loader": b"\x80\x04" + glob("numpy", "load") + short("{mark}") + b"\x85R.",
    "torch": b"\x80\x04" + glob("torch", "load") + b".",
    "attributes of allowed names": b"\x80\x04" + glob("numpy", "ndarray.tofile") + b".",
    "dotted module": b"\x80\x04" + glob("numpy.core.multiarray.os", "system") + b".",
    "INST": b"(S'touch {mark}'\nios\nsystem\n.",
    "OBJ": b"\x80\x02(" + EXISTS + b"X\x04\x00\x00\x00true" + b"o.",
    "NEWOBJ_EX": b"\x80\x04" + glob("os", "system") + b")}\x92.",
    "NEWOBJ of ndarray": b"\x80\x04" + glob("numpy", "ndarray") + b"K\x7f\x85\x81.",
    "ndarray called with a size": b"\x80\x04" + glob("numpy", "ndarray") + b"J\xff\xff\xff\x7f\x85\x85R.",
    "dtype of objects": b"\x80\x04" + array(b"K\x01\x85", b"C\x08" + bytes(8), b"\x8c\x02O8") + b".",
    "structured dtype": b"\x80\x04" + array(b"K\x01\x85", b"C\x04" + bytes(4), short("f4,f4")) + b".",
    "persistent id": b"\x80\x02Pevil\n.",
    "binary persistent id": b"\x80\x02NQ.",
    "extension registry": b"\x80\x02\x82\x01.",
    "recursion by tuples": b"\x80\x04" + b"N" + b"\x85" * 100_000 + b".",
    "recursion by marks": b"\x80\x04" + b"(" * 100_000 + b".",
    "recursion by lists": b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "memo bomb": b"\x80\x04]\x94" + b"(" + b"h\x00" * 50_000 + b"e.",
    "doubling": b"\x80\x04N" + b"\x94h\x00\x86" * 50_000 + b".",
    "a type named by doubled tuples": b"\x80\x04" + glob("numpy", "dtype") + DOUBLED + b"\x85R.",
    "a shape of doubled tuples": b"\x80\x04" + array(DOUBLED, b"C\x04" + bytes(4)) + b".",
    "a byte order of doubled tuples": b"\x80\x04" + glob("numpy", "dtype") + short("f4") + b"\x85R("
    + b"K\x03" + DOUBLED + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
    "a type nested deeply": b"\x80\x04" + glob("numpy", "dtype") + b"N" + b"\x85" * 1900 + b"\x85R.",
    "a shape nested deeply": b"\x80\x04" + array(b"N" + b"\x85" * 1900, b"C\x04" + bytes(4)) + b".",
    "huge memo index": b"\x80\x04Nr\xff\xff\xff\xff.",
    "huge bytes": b"\x80\x04\x8e" + BIG + b".",
    "huge bytearray": b"\x80\x05\x96" + BIG + b".",
    "huge text": b"\x80\x04\x8d" + BIG + b".",
    "long text": b"\x80\x04X\xff\xff\xff\x7f.",
    "huge frame": b"\x80\x04\x95" + BIG + b"N.",
    "huge whole number": b"\x80\x04\x8b\xff\xff\xff\x7f.",
    "long whole number": b"\x80\x04\x8a\xff" + b"\xff" * 255 + b".",
    "huge shape": b"\x80\x04" + array(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"C\x04" + bytes(4)) + b".",
    "product wraps to the right size": b"\x80\x04"
    + array(b"\x8a\x08" + struct.pack("<q", 1 << 62) + b"K\x04\x86", b"C\x00") + b".",
    "negative shape": b"\x80\x04" + array(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", b"C\x04" + bytes(4)) + b".",
    "empty shape": b"\x80\x04" + array(b")", b"C\x04" + bytes(4)) + b".",
    "no elements": b"\x80\x04" + array(b"K\x00\x85", b"C\x00") + b".",
    "text as data": b"\x80\x04" + array(b"K\x01\x85", b"\x8c\x04abcd") + b".",
    "an array without its state": b"\x80\x04" + array(b"K\x01\x85", b"C\x04" + bytes(4))[:-2] + b"0.",
    "endless name": b"\x80\x04c" + b"a" * 100_000,
    "nothing at all": b"",
    "only a stop": b".",
    "an old text pickle": b"I1\n.",
    "a dictionary": b"\x80\x04}.",
    "a bare name": b"\x80\x04" + glob("numpy", "ndarray") + b".",
    "quantised without scales": b"\x80\x04" + glob("__main__", "QuantizedWeight8bit") + b")\x81}b.",
    "a quantised weight of itself": b"\x80\x04" + glob("__main__", "QuantizedWeight8bit")
    + b")\x81\x94}(\x8c\x06weighth\x00\x8c\x06scalesh\x00ub.",
    "bytes behind the end": b"\x80\x04" + array(b"K\x01\x85", b"C\x04" + bytes(4)) + b"." + b"x" * 9,
}  # fmt: skip


def test_the_array_of_these_tests_is_one(tmp_path):
    """Else the hostile ones below might be refused for the wrong reason."""
    path = tmp_path / "tensor00000_000"
    path.write_bytes(b"\x80\x04" + array(b"K\x02\x85", b"C\x08" + struct.pack("<2f", 1.5, -2)) + b".")
    ref = read_pickle(path)
    assert not isinstance(ref, QuantizedRef)
    assert ref.read().tolist() == [1.5, -2.0]


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pickles_are_refused_unexecuted_and_in_little_memory(tmp_path, kind):
    mark, path = tmp_path / "m", tmp_path / "tensor00000_000"
    path.write_bytes(HOSTILE[kind].replace(b"{mark}", str(mark).encode()))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="tensor00000_000"):
            read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    assert not mark.exists()


def test_a_refused_global_is_named_and_leaves_the_destination_alone(tmp_path):
    spec = tiny_spec()
    config = json.loads(spec.model_dump_json())
    folder = write_official(tmp_path / "it", arrays_of(random_model(spec)), config)
    evil = folder / "ckpt-0" / "tensor00017_000"
    evil.write_bytes(HOSTILE["os.system from the stack"].replace(b"{mark}", str(tmp_path / "mark").encode()))
    with pytest.raises(FormatError, match=r"tensor00017_000.*os\.system.*refused"):
        convert(folder, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["it"]


def test_values_that_are_no_numbers_are_damage(tmp_path):
    arrays = arrays_of(random_model(tiny_spec()))
    arrays["layers.1.experts.up"] = arrays["layers.1.experts.up"].copy()
    arrays["layers.1.experts.up"][2, 3, 4] = np.nan
    folder = write_official(tmp_path / "it", arrays, json.loads(tiny_spec().model_dump_json()))
    with pytest.raises(FormatError, match=r"layers\.1\.experts\.up.*tensor00016_000.*not finite"):
        convert(folder, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["it"]
