"""Measuring the machine at hand: sane numbers, no torch, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from lindos.kernels import Probe, available_memory, probe, this_machine, usable_cores
from lindos.kernels.choosing import VARIABLE, chosen_kernels
from lindos.kernels.disk import in_memory, measure_disk
from lindos.kernels.probe import _instructions, _processor
from lindos.kernels.rates import ROWS, kernel_rates
from lindos.specs import Precision, SpecError


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Probe, Path]:
    folder = tmp_path_factory.mktemp("disk")
    return probe(folder, 0.5), folder


def test_numbers_are_sane_and_no_file_stays(measured):
    found, folder = measured
    assert 1e8 < found.memory_bandwidth < 1e13
    assert 1e8 < found.matrix_flops < 1e15
    assert 1e-8 < found.call_seconds < 1e-3
    assert found.cores == usable_cores()
    assert 0 < found.memory_available <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found.disk_bandwidth > 1e6 or "not measured" in found.disk_note
    assert list(folder.iterdir()) == []
    assert Probe.model_validate_json(found.model_dump_json()) == found


def test_kernels_are_measured_as_the_engine_uses_them(measured):
    found, _ = measured
    if chosen_kernels() == "torch":
        assert found.kernel_rates == ()
        return
    assert {(rate.precision, rate.rows) for rate in found.kernel_rates} == {
        (precision, rows) for precision in (Precision.INT8, Precision.INT4) for rows in ROWS
    }
    assert all(1e6 < rate.weights_per_second < 1e14 for rate in found.kernel_rates)


def test_without_kernels_there_is_nothing_to_measure(monkeypatch):
    for wanted in ("torch", "no-such-kernels"):
        monkeypatch.setenv(VARIABLE, wanted)
        assert kernel_rates(1, 1 << 30, 0.1) == ()


def test_it_is_a_machine_the_planner_knows(measured):
    found, _ = measured
    machine = this_machine(found)
    assert machine.kind == "this machine"
    assert machine.host_memory_bytes == found.memory_available
    assert machine.host_flops == {Precision.FP32: found.matrix_flops}


def test_a_probe_is_over_in_time():
    started = time.monotonic()
    found = probe(None, 0.1)
    assert time.monotonic() - started < 15
    assert found.disk_bandwidth == 0
    assert "no folder" in found.disk_note


@pytest.mark.parametrize("seconds", [0.0, -1.0, 100.0])
def test_a_probe_without_end_is_refused(seconds):
    with pytest.raises(SpecError, match=r"0\.1 to 15 seconds"):
        probe(None, seconds)


def test_probing_never_imports_torch():
    code = "import sys; from lindos.kernels import probe; probe(None, 0.1); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_a_folder_that_may_not_be_written_is_left_alone(tmp_path, monkeypatch):
    def refuse(path, flags, mode=0o777):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("lindos.kernels.disk.in_memory", lambda folder: False)
    monkeypatch.setattr("lindos.kernels.disk.os.open", refuse)
    found = measure_disk(tmp_path, 0.1)
    assert found.bandwidth == 0
    assert "Permission denied" in found.note
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_or_full_is_told_of(tmp_path, monkeypatch):
    assert "not measured" in measure_disk(tmp_path / "none", 0.1).note
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("lindos.kernels.disk.shutil.disk_usage", lambda folder: usage(10, 9, 1 << 20))
    assert "only 1 MB are free" in measure_disk(tmp_path, 0.1).note


def test_a_file_system_that_knows_no_direct_reads_is_read_through_the_cache(tmp_path, monkeypatch):
    opened = os.open
    direct = getattr(os, "O_DIRECT", 0)

    def plain(path, flags, mode=0o777):
        if direct and flags & direct:
            raise OSError(22, "Invalid argument", str(path))
        return opened(path, flags, mode)

    monkeypatch.setattr("lindos.kernels.disk.in_memory", lambda folder: False)
    monkeypatch.setattr("lindos.kernels.disk.os.open", plain)
    found = measure_disk(tmp_path, 0.1)
    assert found.bandwidth > 1e6
    assert "through the system's cache" in found.note
    assert list(tmp_path.iterdir()) == []


def test_memory_is_no_disk(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
    assert in_memory(tmp_path / "below", mounts)
    assert not in_memory(Path("/usr"), mounts)
    assert not in_memory(tmp_path, tmp_path / "missing")


def test_the_processor_and_its_units_are_read(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some  Processor 9000\nflags\t\t: fpu avx2 avx512f amx_int8 amx_bf16\n")
    assert _processor(info) == "Some Processor 9000"
    assert _instructions(info) == ("avx2", "avx512f", "amx_int8", "amx_bf16")
    assert _instructions(tmp_path / "none") == ()
    assert _processor(tmp_path / "none")


def test_a_control_group_limits_memory_and_cores(tmp_path):
    files = {
        "proc/meminfo": f"MemTotal: {64 << 20} kB\nMemAvailable: {32 << 20} kB\n",
        "proc/self/cgroup": "0::/box\n",
        "sys/fs/cgroup/box/memory.max": 4 << 30,
        "sys/fs/cgroup/box/memory.current": 1 << 30,
        "sys/fs/cgroup/box/cpu.max": "50000 100000",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(content))
    assert available_memory(tmp_path) == 3 << 30
    assert usable_cores(tmp_path) == 1
