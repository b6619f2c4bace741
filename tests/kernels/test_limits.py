"""Limits of control groups, as the two versions write them down."""

from __future__ import annotations

from pathlib import Path

from lindos.kernels import available_memory, usable_cores

GIB = 1 << 30


def system(root: Path, files: dict[str, object]) -> Path:
    for name, content in {"proc/meminfo": f"MemTotal: {64 << 20} kB\nMemAvailable: {1 << 10} kB", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(content))
    return root


def test_this_machine_has_some():
    assert available_memory() > 1 << 20
    assert usable_cores() >= 1


def test_without_groups_the_system_tells(tmp_path):
    assert available_memory(system(tmp_path, {})) == 1 << 20
    assert usable_cores(tmp_path) == usable_cores()


def test_a_container_of_version_2(tmp_path):
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": 1 << 19,
            "sys/fs/cgroup/memory.current": 3 << 17,
            "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {1 << 17}\nactive_file {1 << 16}\n",
            "sys/fs/cgroup/cpu.max": "100000 100000",
        },
    )
    assert available_memory(root) == (1 << 19) - (3 << 17) + (3 << 16)  # what it has read can be given back
    assert usable_cores(root) == 1


def test_a_service_within_a_limited_slice(tmp_path):
    """The tightest of all groups around the process counts."""
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/lindos.service\n",
            "sys/fs/cgroup/system.slice/memory.max": 1 << 18,
            "sys/fs/cgroup/system.slice/memory.current": 1 << 10,
            "sys/fs/cgroup/system.slice/lindos.service/memory.max": "max",
            "sys/fs/cgroup/system.slice/lindos.service/memory.current": 1 << 9,
            "sys/fs/cgroup/system.slice/lindos.service/cpu.max": "max 100000",
        },
    )
    assert available_memory(root) == (1 << 18) - (1 << 10)
    assert usable_cores(root) == usable_cores()


def test_version_1(tmp_path):
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n",
            "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": 1 << 19,
            "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": 1 << 18,
            "sys/fs/cgroup/memory/docker/x/memory.stat": f"inactive_file 7\ntotal_inactive_file {1 << 10}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": (1 << 63) - 4096,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 1 << 30,
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": 50_000,
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": 100_000,
        },
    )
    assert available_memory(root) == (1 << 18) + (1 << 10)
    assert usable_cores(root) == 1


def test_version_1_seen_from_inside_a_container(tmp_path):
    """The path is the host's; the container's own limit stands at the root of what it sees."""
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/x\n1:cpu:/docker/x\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 1 << 19,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 1 << 18,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100_000,
        },
    )
    assert available_memory(root) == 1 << 18
    assert usable_cores(root) == usable_cores()
