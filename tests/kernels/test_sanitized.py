"""The kernels' tests once more, with kernels that AddressSanitizer and UndefinedBehaviorSanitizer watch: as they are,
and with AVX-512 computed by SIMDe and AMX's tiles by loops, so that their kernels are tested on processors without
them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "src/lindos/kernels/native"

RUN = """
import sys, importlib.util
import lindos.kernels
spec = importlib.util.spec_from_file_location("lindos.kernels._native", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["lindos.kernels._native"] = module
spec.loader.exec_module(module)
assert not sys.argv[2:] or all(map(module.runs, sys.argv[2:])), "not built"
import pytest
chosen = ["tests/kernels/test_products.py", "tests/kernels/test_network.py", "-k", "not without_the_compiled"]
sys.exit(pytest.main(["-q", "-s", "-p", "no:cacheprovider", *chosen]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("emulated", [False, True], ids=["native", "emulated"])
def test_the_kernels_touch_nothing_they_should_not(tmp_path: Path, emulated: bool):
    wanted = [name for name in ("cmake", "g++") if shutil.which(name) is None]
    if emulated and not Path("/usr/include/simde/x86/avx512.h").exists():
        wanted.append("SIMDe (Debian: libsimde-dev)")
    if wanted:
        missing = f"missing: {', '.join(wanted)}"
        pytest.fail(missing) if os.environ.get("LINDOS_NO_SKIP") else pytest.skip(missing)
    options = ["-DLINDOS_SANITIZE=ON", f"-DLINDOS_EMULATE={'ON' if emulated else 'OFF'}"]
    configure = ["cmake", "-S", NATIVE, "-B", tmp_path, f"-DPython_EXECUTABLE={sys.executable}", *options]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path, "--parallel", "2"], check=True, capture_output=True)
    (library,) = tmp_path.glob("_native*.so")
    # The sanitizer's runtime must come first, and after it the one whose exceptions it wraps.
    preloaded = " ".join(_library(name) for name in ("libasan.so", "libstdc++.so"))
    watched = {"LD_PRELOAD": preloaded, "ASAN_OPTIONS": "detect_leaks=0"}  # Python leaks on purpose at its end
    done = subprocess.run(
        [sys.executable, "-c", RUN, library, *(["amx", "vnni"] if emulated else [])],
        cwd=ROOT,
        env={**os.environ, **watched},
        capture_output=True,
        text=True,
    )
    report = (done.stderr or done.stdout)[:3000]  # the first that is found ends it
    assert done.returncode == 0, report
    assert done.stdout.count(".") > 30, done.stdout


def _library(name: str) -> str:
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()
