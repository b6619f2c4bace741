"""`lindos data prepare`, killed without warning: never half a data set, and no litter once it ran to its end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lindos.data import TokenDataset
from tests.data.test_prepare import MIX, root

__all__ = ["root"]


def start(mix: Path, out: Path, root: Path) -> subprocess.Popen[bytes]:
    """The real command in a process group of its own: its workers die with it."""
    command = [sys.executable, "-m", "lindos", "data", "prepare", str(mix), "--out", str(out), "--root", str(root)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.slow
def test_killed_at_any_moment_there_is_a_whole_data_set_or_none(root: Path, tmp_path: Path):
    mix, out, moments = tmp_path / "mix.toml", tmp_path / "sets" / "set", random.Random(0)
    mix.write_text(MIX)
    out.parent.mkdir()
    began = time.monotonic()
    assert start(mix, tmp_path / "whole", root).wait() == 0
    duration, expected = time.monotonic() - began, TokenDataset.open(tmp_path / "whole").fingerprint
    kills = 0
    while kills < 12:
        process = start(mix, out, root)
        try:
            process.wait(duration * moments.uniform(0.3, 1.05))
        except subprocess.TimeoutExpired:
            kills += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if out.exists():
            assert TokenDataset.open(out, verify=True).fingerprint == expected
    assert start(mix, out, root).wait() == 0
    assert TokenDataset.open(out, verify=True).fingerprint == expected
    assert os.listdir(out.parent) == ["set"]
