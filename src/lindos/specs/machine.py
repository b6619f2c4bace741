"""Accelerator, Machine, Fabric and Cluster: what a model runs on."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from lindos.specs.base import Spec
from lindos.specs.precision import Precision


def _within(low: float, high: float, unit: str, unknown: bool = False) -> AfterValidator:
    """What no real thing leaves by far, so that nothing computed from it overflows; 0 may stand for unknown."""

    def check(value: float) -> float:
        if low <= value <= high or (unknown and value == 0):
            return value
        zero = "be 0 (unknown or none) or " if unknown else ""
        raise ValueError(f"must {zero}lie between {low:g} and {high:g} {unit} (got {value:g})")

    return AfterValidator(check)


Bytes = Annotated[float, _within(1, 1e18, "bytes")]
BytesOrNone = Annotated[float, _within(1, 1e18, "bytes", unknown=True)]
Bandwidth = Annotated[float, _within(1e3, 1e18, "bytes per second")]
BandwidthOrNone = Annotated[float, _within(1e3, 1e18, "bytes per second", unknown=True)]
Flops = Annotated[float, _within(1e3, 1e20, "operations per second")]
Watts = Annotated[float, _within(1e-3, 1e9, "watts", unknown=True)]
Dollars = Annotated[float, _within(1e-6, 1e12, "dollars", unknown=True)]
Seconds = Annotated[float, _within(0, 1e7, "seconds")]
Count = Annotated[int, Field(gt=0, le=100_000_000)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class Accelerator(Spec):
    """One GPU or TPU chip, by its data sheet."""

    name: Name
    title: str = ""
    source: str
    """The data sheet the figures come from."""
    generation: Literal[
        "volta",
        "ampere",
        "ada",
        "hopper",
        "blackwell",
        "blackwell-ultra",
        "cdna3",
        "tpu-v3",
        "tpu-v4",
        "tpu-v5e",
        "tpu-v5p",
        "tpu-v6e",
        "apple",
    ]
    """Whose software and efficiencies it shares."""
    released: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]
    """Year and month it could first be had."""

    memory_bytes: Bytes
    memory_bandwidth: Bandwidth
    """Bytes per second."""
    peak_flops: dict[Precision, Flops]
    """Dense peak of its matrix units per precision, operations per second, without sparsity."""
    link_bandwidth: BandwidthOrNone = 0.0
    """Bytes per second and direction into the domain of accelerators linked directly (NVLink, ICI, ...)."""
    link_domain: Count = 1
    """How many accelerators that domain holds in the usual machine."""
    power_watts: Watts = 0.0
    """Board power."""
    price: Dollars = 0.0
    """Of one, in US dollars; 0 where it is not sold apart or the price is unknown."""
    price_source: str = ""

    @field_validator("peak_flops")
    @classmethod
    def _some_peak(cls, peaks: dict[Precision, float]) -> dict[Precision, float]:
        if not peaks:
            raise ValueError("give the peak of at least one precision, such as { bf16 = 312e12 }")
        return peaks


class Machine(Spec):
    """One machine (a node, a workstation, a laptop): its accelerators, and the host that carries them."""

    name: Name
    title: str = ""
    kind: Literal["node", "workstation", "laptop", "server", "cloud", "this machine"] = "node"
    source: str = ""
    """Where the figures come from."""

    accelerator: Accelerator | None = None
    accelerators: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    cores: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    host_memory_bytes: BytesOrNone = 0.0
    host_bandwidth: BandwidthOrNone = 0.0
    """Bytes per second of the processors' memory."""
    host_flops: dict[Precision, Flops] = Field(default_factory=dict)
    """Peak of the processors' matrix or vector units, operations per second."""
    host_link: BandwidthOrNone = 0.0
    """Bytes per second and direction between the host and one accelerator (PCIe)."""
    disk_bytes: BytesOrNone = 0.0
    disk_bandwidth: BandwidthOrNone = 0.0
    """Bytes per second, read."""
    power_watts: Watts = 0.0
    """At the wall under load."""
    power_source: str = ""

    price: Dollars = 0.0
    """To buy, in US dollars; 0 where unknown or not for sale."""
    rent: Dollars = 0.0
    """US dollars per hour, list price on demand; 0 where it is not rented out."""
    price_source: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.accelerator is None) != (self.accelerators == 0):
            raise ValueError("accelerator and accelerators must be given together")
        if self.accelerator is None and not (self.host_memory_bytes and self.host_bandwidth):
            raise ValueError("a machine without accelerators needs host_memory_bytes and host_bandwidth")
        return self

    @property
    def devices(self) -> int:
        """How many units carry weights: accelerators, or the machine itself."""
        return max(1, self.accelerators)


class Fabric(Spec):
    """The network between machines."""

    name: Name
    title: str = ""
    source: str
    bandwidth: Bandwidth
    """Bytes per second and direction of one port."""
    latency: Annotated[float, _within(1e-9, 10, "seconds")]
    """Seconds for a small message, adapter to adapter over one switch."""
    efficiency: Annotated[float, Field(ge=1e-6, le=1)] = 1.0
    """Share of the line rate that data gets when all ports send (adaptive routing or not)."""


class Cluster(Spec):
    """Equal machines behind one fabric, and what running them costs and how often they fail."""

    name: Name
    title: str = ""
    source: str = ""

    machine: Machine
    nodes: Count
    fabric: Fabric
    ports: Count
    """Fabric ports of one machine that carry the accelerators' traffic."""
    nodes_per_pod: Count = 1
    """Machines that reach each other at full fabric bandwidth."""
    oversubscription: Annotated[float, Field(ge=1, le=1e6)] = 1.0
    """How many times narrower the fabric is between pods."""
    watts_per_device: Watts = 0.0
    """All-in facility power over accelerators, where published; 0: the machine's power times `power_overhead`."""
    power_overhead: Annotated[float, Field(ge=1, le=1e3)] = 1.2
    """Facility power over machine power (PUE)."""

    price_per_device_hour: Dollars = 0.0
    """US dollars for one accelerator and hour, all in; 0: depreciated from `price_per_device`, power added."""
    price_per_device: Dollars = 0.0
    """To build, US dollars for one accelerator with its share of everything."""
    electricity: Dollars = 0.08
    """US dollars per kWh."""
    failures: Annotated[float, _within(0, 1e6, "a day")] = 0.0065
    """Interruptions per node and day (default: Meta's larger research cluster, https://arxiv.org/abs/2410.21680)."""
    restart: Seconds = 0.0
    """Seconds from a failure to training again; 0: from the size of the job."""
    checkpoint_stall: Seconds = 10.0
    """Seconds a checkpoint holds up training."""
    assumptions: str = ""
    """Which of the figures above nobody has published."""

    @property
    def devices(self) -> int:
        return self.nodes * self.machine.devices

    @property
    def node_bandwidth(self) -> float:
        """Bytes per second and direction from one machine into the fabric."""
        return self.ports * self.fabric.bandwidth
