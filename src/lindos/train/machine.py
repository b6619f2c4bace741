"""What a run computes on: device, number format, threads, and how they are recorded.

A run file says what is wanted; `auto` takes what suits the machine at hand. A run may move to another machine between
legs, so all of it is recorded and a change is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lindos.kernels import usable_cores
from lindos.model.elementwise import fuse_elementwise
from lindos.model.hardware import product_dtype
from lindos.specs import SpecError
from lindos.train.memory import keep_freed_memory
from lindos.train.run_file import MachineSection


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


def prepare_platform(machine: MachineSection) -> Platform:
    """Set threads and allocator, fuse if asked to, and choose device and format.

    Raises SpecError for a device that is not there.
    """
    torch.set_num_threads(machine.threads or usable_cores())
    keep_freed_memory()
    if machine.device == "cuda" and not torch.cuda.is_available():
        raise SpecError("machine.device: 'cuda' was asked for, but torch finds no accelerator; use 'cpu' or 'auto'")
    accelerated = machine.device == "cuda" or (machine.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if accelerated else "cpu")
    formats = {"auto": product_dtype(device), "bf16": torch.bfloat16, "fp32": torch.float32}
    return Platform(device, formats[machine.precision], fused=machine.compile and fuse_elementwise(device=device))
