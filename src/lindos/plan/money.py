"""Money and energy: what an hour of a machine or a cluster costs, and what a run of hours takes.

Dollars are US dollars, power is watts at the wall, energy MWh. A price of 0 in the catalogue means unknown, and so does
a 0 that comes out here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lindos.specs import Cluster, Machine, Spec

HOURS_PER_YEAR = 8766.0
HOURS_PER_MONTH = 730.5
MACHINE_YEARS = 3.0
"""Over which a bought machine is written off."""
CLUSTER_YEARS = 4.0
"""Over which a cluster is written off."""
ELECTRICITY = 0.15
"""US dollars per kWh where a single machine stands; clusters carry their own price."""
NotNegative = Annotated[float, Field(ge=0)]


class HourPrice(Spec):
    """What one hour costs each way, in dollars; 0 where a way is not open or its price unknown."""

    bought: NotNegative
    """The price written off, and electricity."""
    rented: NotNegative

    @property
    def lowest(self) -> float:
        """The cheaper of the ways that are open; 0 when none is."""
        return min((way for way in (self.bought, self.rented) if way), default=0.0)

    @property
    def way(self) -> str:
        """`buy`, `rent`, or nothing when neither is open."""
        if not self.lowest:
            return ""
        return "buy" if self.lowest == self.bought else "rent"


class RunCost(Spec):
    """What keeping a cluster busy takes."""

    hours: NotNegative
    dollars: NotNegative
    """0 where the cluster's price is unknown."""
    energy_mwh: NotNegative
    energy_dollars: NotNegative
    """Part of `dollars` where the cluster is owned; for comparison where its price is all in."""


def amortised_hour(price: float, years: float) -> float:
    """Dollars per hour of a price written off evenly over years of round-the-clock use."""
    return price / (years * HOURS_PER_YEAR)


def energy_hour(watts: float, electricity: float) -> float:
    """Dollars per hour of drawing `watts`, at dollars per kWh."""
    return watts / 1000 * electricity


def machine_watts(machine: Machine) -> float:
    """Power at the wall: the machine's own, or its accelerators' boards where only those are known."""
    if machine.power_watts or machine.accelerator is None:
        return machine.power_watts
    return machine.accelerators * machine.accelerator.power_watts


def machine_hour(machine: Machine, *, years: float = MACHINE_YEARS, electricity: float = ELECTRICITY) -> HourPrice:
    """What an hour of one machine costs, bought or rented."""
    bought = 0.0
    if machine.price:
        bought = amortised_hour(machine.price, years) + energy_hour(machine_watts(machine), electricity)
    return HourPrice(bought=bought, rented=machine.rent)


def per_million_tokens(hour_price: float, tokens_per_second: float) -> float:
    """Dollars per million tokens of a machine that makes them all the time; 0 where price or speed is."""
    return hour_price / (tokens_per_second * 3600) * 1e6 if tokens_per_second else 0.0


def device_watts(cluster: Cluster) -> float:
    """All-in facility power over accelerators: as published, or the machine's share times the facility's overhead."""
    if cluster.watts_per_device:
        return cluster.watts_per_device
    return machine_watts(cluster.machine) / cluster.machine.devices * cluster.power_overhead


def device_hour_price(cluster: Cluster) -> float:
    """Dollars for one accelerator and hour: all in as given, or written off over four years with electricity added.

    Where the cluster gives neither, its machine's price is written off the same way, or its rent taken.
    """
    if cluster.price_per_device_hour:
        return cluster.price_per_device_hour
    machine = cluster.machine
    price = cluster.price_per_device or machine.price / machine.devices
    if price:
        return amortised_hour(price, CLUSTER_YEARS) + energy_hour(device_watts(cluster), cluster.electricity)
    return machine.rent / machine.devices


def cluster_hour_price(cluster: Cluster, devices: int | None = None) -> float:
    """Dollars per hour of the cluster, or of `devices` of its accelerators."""
    return device_hour_price(cluster) * (cluster.devices if devices is None else devices)


def run_cost(cluster: Cluster, hours: float, devices: int | None = None) -> RunCost:
    """What `hours` of the cluster (or of `devices` of it) cost and draw."""
    count = cluster.devices if devices is None else devices
    energy = device_watts(cluster) * count * hours / 1e6
    return RunCost(
        hours=hours,
        dollars=cluster_hour_price(cluster, count) * hours,
        energy_mwh=energy,
        energy_dollars=energy * 1000 * cluster.electricity,
    )
