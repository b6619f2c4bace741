"""The page from a laptop to a cluster: what it says to do works, from top to bottom."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lindos.train import Journal, RunFile

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"


def blocks() -> list[tuple[str, str]]:
    """(language, text) of every fenced block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_works_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(PAGE.parent, tmp_path / "docs", ignore=shutil.ignore_patterns("images"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = 0
    for language, text in blocks():
        first = text.splitlines()[0]
        if language == "toml":
            (tmp_path / first.removeprefix("# ")).write_text(text)
            continue
        script = ["bash", *(["-n"] if first.startswith("# on a cluster") else ["-euo", "pipefail"]), "-c", text]
        done = subprocess.run(
            script, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, text + done.stdout[-3000:] + done.stderr[-3000:]
        ran += not first.startswith("# on a cluster")
    assert ran >= 5
    lines = Journal.read(tmp_path / "demo" / "out" / "metrics.jsonl")
    assert [line["processes"] for line in lines if line["kind"] == "leg"] == [1, 2, 1]
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(60))
    assert (tmp_path / "demo" / "out" / "run.svg").stat().st_size > 1000
    assert (tmp_path / "demo" / "memory.svg").stat().st_size > 1000
    assert (tmp_path / "demo" / "out" / "model").is_dir()
    monkeypatch.chdir(tmp_path)
    watch = (tmp_path / "demo" / "watch.toml").read_text()
    (tmp_path / "demo" / "watched.toml").write_text((tmp_path / "demo" / "run.toml").read_text() + watch)
    assert RunFile.load(tmp_path / "demo" / "watched.toml").watch.on_spike == "rewind"
