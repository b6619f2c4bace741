"""What a run computes on: device, number format, threads, and how they are recorded.

A run file says what is wanted; `auto` takes what suits the machine at hand. A run may move to another machine between
legs, so all of it is recorded and a change is told.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from lindos.kernels import usable_cores
from lindos.model.elementwise import fuse_elementwise
from lindos.model.hardware import product_dtype
from lindos.specs import SpecError
from lindos.train.memory import keep_freed_memory
from lindos.train.parallel.mesh import forget_groups
from lindos.train.run_file import MachineSection
from lindos.train.visiting import is_here


@dataclass(frozen=True)
class Platform:
    """Where a run computes, and in what."""

    device: torch.device
    dtype: torch.dtype
    fused: bool = False
    """Whether element-wise chains are compiled."""

    def environment(self) -> dict[str, Any]:
        """What bit-for-bit repetition depends on besides the run file."""
        accelerated = self.device.type == "cuda"
        return {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "processor": torch.cpu.get_capabilities().get("cpu_name", ""),
            "device": torch.cuda.get_device_name(self.device) if accelerated else "cpu",
            "precision": "bf16" if self.dtype == torch.bfloat16 else "fp32",
            "fused": self.fused,
        }

    def changed(self, before: dict[str, Any]) -> str:
        """What is otherwise than in an environment of before, in words; empty where nothing is."""
        now = self.environment()
        found = [f"{key} {before[key]} then, {now[key]} now" for key in now if before.get(key, now[key]) != now[key]]
        return "; ".join(found)


@contextmanager
def joined(device: str, lighthouse: str = "") -> Iterator[None]:
    """Within it the processes that torchrun started know each other; nothing where there is but one.

    What holds a process group (a trainer) must be let go within it. `lighthouse` is the address by which replica groups
    find each other, where there are several."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if is_here(lighthouse) if lighthouse else os.environ.get("WORLD_SIZE") == os.environ.get("LOCAL_WORLD_SIZE"):
        # All on one machine: its name may lead to an address that nothing listens on.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if alone:
        yield
        return
    accelerated = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    store, rank, world = next(rendezvous("env://"))
    store = PrefixStore(f"attempt {_attempt()}", store)
    backend = "cpu:gloo,cuda:nccl" if accelerated else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    yield
    # Only after all went well: a rank that fails must end, and giving up a group would have it wait for the others.
    # Groups that outlive the default one are ended as Python itself ends, at times while a thread of theirs still runs,
    # and that aborts the process.
    forget_groups()
    gc.collect()
    dist.destroy_process_group()


def _attempt() -> int:
    """How often torchrun has started the ranks before.

    Its store outlives them, with the addresses of the dead. On one machine their number of restarts tells attempts
    apart; machines count for themselves, so several of them must not share the store between attempts.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
    if shared and restarts and int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1:
        raise SpecError(
            "torchrun restarts on several machines with a store that remembers dead ranks; set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 where torchrun is started"
        )
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def local_processes() -> int:
    """How many processes of this run share this machine: what torchrun says, else one."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def prepare_platform(machine: MachineSection, *, processes: int = 1) -> Platform:
    """Set threads and allocator, fuse if asked to, and choose device and format; `processes` share the machine's cores.

    Raises SpecError for a device that is not there.
    """
    torch.set_num_threads(machine.threads or max(1, usable_cores() // processes))
    keep_freed_memory()
    if machine.device == "cuda" and not torch.cuda.is_available():
        raise SpecError("machine.device: 'cuda' was asked for, but torch finds no accelerator; use 'cpu' or 'auto'")
    accelerated = machine.device == "cuda" or (machine.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if accelerated else torch.device("cpu")
    if accelerated:
        torch.cuda.set_device(device)
    formats = {"auto": product_dtype(device), "bf16": torch.bfloat16, "fp32": torch.float32}
    return Platform(device, formats[machine.precision], fused=machine.compile and fuse_elementwise(device=device))
