"""How much of the calendar trains: failures, restarts and checkpoints in closed form.

    goodput = (1 - L (u + dt/2)) / (1 + s/dt)

L is the job's rate of interruptions, u the time from one to training again, dt between checkpoints (on average half of
it is lost), s what a checkpoint holds up. The numerator is that of Kokolis et al., "Revisiting Reliability in
Large-Scale Machine Learning Research Clusters", https://arxiv.org/abs/2410.21680, section IV, for a long run without
queueing; the denominator adds the checkpoints themselves. The best dt is Young's, sqrt(2 s / L)
(https://doi.org/10.1145/361147.361115).
"""

from __future__ import annotations

import math

from lindos.specs import Cluster, Spec

DAY = 86400.0
START, START_DEVICES, START_GROWTH = 300.0, 512, 0.2
"""Starting a job takes 291 s on 512 GPUs, 439 s on 3,072 and 353 to 376 s on 8,192 with a later stack (start-up times
in the logs of MLPerf Training submissions); read as 300 s on 512, growing with the fifth root."""
SHORTEST = 30.0
"""Seconds between checkpoints that nobody goes below."""


class Goodput(Spec):
    """The share of the calendar that trains, and what it comes from."""

    share: float
    failures_per_day: float
    hours_between: float
    """Mean time between interruptions of the whole job; 0 where none are expected."""
    restart_s: float
    checkpoint_interval_s: float
    checkpoint_stall_s: float


def restart_seconds(devices: int) -> float:
    """Seconds from a failure to training again, by the size of the job."""
    return START * max(devices / START_DEVICES, 1e-3) ** START_GROWTH


def training_share(rate: float, restart: float, interval: float, stall: float) -> float:
    """The share of time that trains: `rate` in interruptions a second, the others in seconds, as above."""
    return max(0.0, 1 - rate * (restart + interval / 2)) / (1 + stall / interval)


def goodput(cluster: Cluster, devices: int, *, interval: float | None = None) -> Goodput:
    """Goodput of a job on so many accelerators of a cluster; `interval` between checkpoints in seconds, or the best."""
    nodes = math.ceil(devices / cluster.machine.devices)
    rate = cluster.failures * nodes / DAY
    rate = rate if rate > 1e-15 else 0.0  # once in thirty million years is never
    restart = cluster.restart or restart_seconds(devices)
    stall = cluster.checkpoint_stall
    if interval is None:
        interval = max(math.sqrt(2 * stall / rate) if rate and stall else DAY / 24, SHORTEST)
    return Goodput(
        share=training_share(rate, restart, interval, stall),
        failures_per_day=rate * DAY,
        hours_between=1 / rate / 3600 if rate else 0.0,
        restart_s=restart,
        checkpoint_interval_s=interval,
        checkpoint_stall_s=stall,
    )
