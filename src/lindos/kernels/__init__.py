"""What the machine at hand can do, and what this process may take of it: memory, cores, disk.

`probe` measures memory bandwidth, matrix rate and disk in a few seconds, with NumPy and threads only; PyTorch is never
imported here. Which model fits and how fast it would run is the planner's business.
"""

from lindos.kernels.limits import available_memory, usable_cores
from lindos.kernels.probe import Probe, probe, this_machine

__all__ = ["Probe", "available_memory", "probe", "this_machine", "usable_cores"]
