"""llama.cpp, built for this processor from the source package of llama-cpp-python, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

LLAMA_CPP = "llama-cpp-python==0.3.36"
FLAGS = "-DGGML_NATIVE=ON"


class PeerError(RuntimeError):
    """A peer that cannot be had here; the text says why and what to do."""


def llamacpp_python(folder: Path) -> Path:
    """The interpreter of the environment, which is made where it is missing. Raises PeerError."""
    environment = folder / ".venv"
    python, ready = environment / "bin" / "python", folder / f"{LLAMA_CPP}.ready"
    if ready.is_file() and python.exists():
        return python
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    print(
        f"building {LLAMA_CPP} from its source package in {environment} with {FLAGS}: once, some 15 minutes on two "
        f"cores; its words go to {log}",
        flush=True,
    )
    shutil.rmtree(environment, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    commands = [
        [sys.executable, "-m", "venv", str(environment)],
        [*pip, "--no-binary", "llama-cpp-python", "--no-cache-dir", LLAMA_CPP],
    ]
    with log.open("ab") as words:
        for command in commands:
            done = subprocess.run(command, stdout=words, stderr=words, env={**os.environ, "CMAKE_ARGS": FLAGS})
            if done.returncode:
                raise PeerError(f"{LLAMA_CPP} could not be built (a compiler and a package index?): see {log}")
    ready.touch()
    return python


def check_transformers() -> None:
    """Raises PeerError where this environment has no transformers; its version is pinned in constraints.txt."""
    if find_spec("transformers") is None:
        raise PeerError("transformers is not installed: pip install -c constraints.txt -e '.[peers]'")
