"""Reading arrays past the system's cache gives what reading them through it gives, at any place in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lindos.model.formats import arrays
from lindos.model.formats.arrays import ArrayRef
from lindos.model.formats.source import FormatError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "some.bin"
    path.write_bytes(np.random.default_rng(0).bytes(100_003))
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 9000), st.integers(1, 40), st.integers(1, 300), st.sampled_from(["i1", "f4", "f2"]), st.data())
def test_any_rows_from_any_place(
    file: Path, monkeypatch: pytest.MonkeyPatch, offset: int, rows: int, width: int, kind: Any, data: st.DataObject
):
    ref = ArrayRef(file, offset, (rows, width), kind)
    start = data.draw(st.integers(0, rows - 1))
    some = slice(start, data.draw(st.integers(start + 1, rows)))
    found = []
    for least in (1, 1 << 40):
        monkeypatch.setattr(arrays, "DIRECT_BYTES", least)
        found.append(ref.read(some).numpy())
    assert found[0].shape == (some.stop - some.start, width)
    np.testing.assert_array_equal(found[0].view(np.uint8), found[1].view(np.uint8))


@pytest.mark.parametrize("offset", [0, 4096, 99_000, 100_003, 300_000])
def test_a_file_that_ends_too_soon(file: Path, monkeypatch: pytest.MonkeyPatch, offset: int):
    monkeypatch.setattr(arrays, "DIRECT_BYTES", 1)
    with pytest.raises(FormatError, match="truncated"):
        ArrayRef(file, offset, (100_004,), "i1").read()
