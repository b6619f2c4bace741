"""Products with quantised weights by native kernels, and what the machine at hand can do: memory, cores, disk.

`probe` measures memory bandwidth, matrix rate and disk in a few seconds, with NumPy and threads only. The kernels are
reached through `kernels.products`, their layout is `kernels.packing`; who wants them imports these, so that this face
never imports PyTorch. Which model fits and how fast it would run is the planner's business.
"""

from lindos.kernels.limits import available_memory, usable_cores
from lindos.kernels.probe import Probe, probe, this_machine

__all__ = ["Probe", "available_memory", "probe", "this_machine", "usable_cores"]
