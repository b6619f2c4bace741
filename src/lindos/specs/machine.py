"""Machine and Cluster: what a model runs on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lindos.specs.base import Spec
from lindos.specs.precision import Precision

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class Machine(Spec):
    """One machine (a node, a workstation, a laptop): its accelerators, or its processors when it has none."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: str = ""
    source: str = ""
    """Where the figures come from."""

    accelerators: Annotated[int, Field(ge=0)] = 0
    memory_bytes: Positive
    """Of one accelerator, or of the machine where it has none."""
    memory_bandwidth: Positive
    """Bytes per second, of one accelerator or of the machine."""
    peak_flops: dict[Precision, Positive]
    """Dense peak per precision, operations per second, of one accelerator or of the machine."""
    link_bandwidth: Annotated[float, Field(ge=0)] = 0.0
    """Bytes per second and direction between two accelerators of the machine; 0 when there is one or none."""
    host_memory_bytes: Annotated[float, Field(ge=0)] = 0.0
    disk_bandwidth: Annotated[float, Field(ge=0)] = 0.0
    power_watts: Annotated[float, Field(ge=0)] = 0.0
    price: Annotated[float, Field(ge=0)] = 0.0
    """List price in US dollars; 0 where unknown."""

    @property
    def devices(self) -> int:
        """How many units carry weights: accelerators, or the machine itself."""
        return max(1, self.accelerators)


class Cluster(Spec):
    """Equal machines behind one fabric."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: str = ""
    source: str = ""

    machine: Machine
    nodes: Count
    nodes_per_pod: Count = 1
    """Machines that reach each other at full fabric bandwidth."""
    node_bandwidth: Positive
    """Bytes per second and direction from one machine into the fabric."""
    oversubscription: Annotated[float, Field(ge=1)] = 1.0
    """How many times narrower the fabric is between pods."""
    power_overhead: Annotated[float, Field(ge=1)] = 1.0
    """Facility power over machine power (PUE)."""

    @property
    def devices(self) -> int:
        return self.nodes * self.machine.devices
