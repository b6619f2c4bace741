"""The house rules: who imports whom, how long a file may be, what the command line promises, what the docs name."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_origin

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "lindos"
ROOMS = sorted(p.parent.name for p in SOURCE.glob("*/__init__.py"))
LINE_BUDGET = 64_000
"""Lines of Python in src. Raised on purpose, in a commit that says why."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_rooms_import_only_what_the_design_allows():
    linter = Path(sys.executable).with_name("lint-imports")
    done = run(str(linter))
    assert done.returncode == 0, done.stdout


def test_files_stay_short_and_the_house_within_its_budget():
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCE.rglob("*.py")}
    assert {str(p): n for p, n in lengths.items() if n > 400} == {}
    assert sum(lengths.values()) < LINE_BUDGET


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_face(room):
    module = importlib.import_module(f"lindos.{room}")
    assert module.__doc__
    assert len(module.__doc__.split()) >= 10, f"lindos.{room} says too little about itself"
    assert module.__all__ == sorted(module.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    for name in module.__all__:
        thing = getattr(module, name)
        # Aliases and constants carry their words beside them, where Python does not keep them.
        assert not callable(thing) or get_origin(thing) or thing.__doc__, f"lindos.{room}.{name} has no docstring"


@pytest.mark.parametrize(
    "module",
    [
        "lindos.server",
        "lindos.knowledge",
        "lindos.engine.client",
        "lindos.cli.plan",
        "lindos.data",
        "lindos.text",
        "lindos.plan",
        "lindos.kernels",
    ],
)
def test_light_rooms_never_import_torch(module):
    done = run(sys.executable, "-c", f"import sys, {module}; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr or f"{module} imports torch"


def verbs() -> list[str]:
    from lindos.cli.main import VERBS

    return list(VERBS)


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_explains_itself_and_is_documented(verb):
    done = run(sys.executable, "-m", "lindos", verb, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    texts = "".join(p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert f"lindos {verb}" in texts, f"no document mentions `lindos {verb}`"


def documented_commands() -> list[str]:
    """Every `lindos ...` line in the fenced blocks of what people read."""
    found: list[str] = []
    for document in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "ARCHITECTURE.md",
        *(ROOT / "docs").glob("*.md"),
    ]:
        for block in re.findall(r"^```\w*\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            found += re.findall(r"^(?:[A-Z_]+=\S+ )*(lindos .*)$", block, re.MULTILINE)
    return sorted(set(found))


@pytest.mark.parametrize("line", documented_commands())
def test_commands_in_the_documents_are_understood(line):
    from lindos.cli.main import app

    command: Any = typer.main.get_command(app)
    rest = shlex.split(line, comments=True)[1:]
    name = "lindos"
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(command.context_class(command), rest)
    command.make_context(name, rest)


def test_the_documents_have_commands():
    assert len(documented_commands()) >= 15


def test_mistakes_on_the_command_line_are_answered_in_one_message():
    wrong = run(sys.executable, "-m", "lindos", "trian")
    assert wrong.returncode == 2
    assert "did you mean 'train'" in wrong.stderr
    unknown = run(sys.executable, "-m", "lindos", "models", "grok")
    assert unknown.returncode == 1
    assert "did you mean 'grok-1'" in unknown.stderr.replace("\n", " ")
    assert "Traceback" not in unknown.stderr


def test_models_are_listed_and_explained():
    assert "315.7B" in run(sys.executable, "-m", "lindos", "models").stdout
    explained = run(sys.executable, "-m", "lindos", "models", "grok-1").stdout
    assert "315,684,820,992" in explained
    assert "83,756,587,008" in explained
    assert '"kv_bytes_per_token": 262144' in run(sys.executable, "-m", "lindos", "models", "grok-1", "--json").stdout


def test_documents_link_to_what_exists():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_no_file_names_a_path_of_one_machine():
    listed = run("git", "ls-files")
    if listed.returncode:
        pytest.skip("not a git checkout")
    wrong = re.compile(r"(?<![\w.~-])/(?:work|root|farm)/[a-z]")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".js", ".css", ".html", ".yaml", ""} and os.path.isfile(path):
            assert not wrong.search(path.read_text(encoding="utf-8", errors="replace")), name


def test_the_bundled_model_is_small_and_made_by_run_files_that_are_here():
    from lindos.assistant import bundled_model
    from lindos.data import load_mix
    from lindos.data.conversations import load_chat_mix
    from lindos.model.formats import check_directory
    from lindos.train import RunFile

    files = list(bundled_model().iterdir())
    assert sum(path.stat().st_size for path in files) < 48 << 20
    assert {"MODEL_CARD.md", "loss.svg", "tokenizer.json", "config.json"} <= {path.name for path in files}
    assert check_directory(bundled_model()) >= 3
    for name in ("pebble", "pebble-chat"):
        assert RunFile.load(ROOT / "runs" / f"{name}.toml").spec.name == "pebble"
    assert load_mix(ROOT / "runs" / "pebble-data.toml").keep_out is not None
    assert load_chat_mix(ROOT / "runs" / "pebble-chat-data.toml").keep_out is not None
