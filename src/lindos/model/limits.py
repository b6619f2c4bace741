"""What this process may take of the machine; it is told by `lindos.kernels`, which needs no torch."""

from lindos.kernels.limits import available_memory, usable_cores

__all__ = ["available_memory", "usable_cores"]
