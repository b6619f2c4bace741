"""`lindos train lighthouse`: what replica groups find each other by."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from lindos.specs import SpecError


def command(
    bind: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")] = (
        "127.0.0.1:29510"
    ),
    least: Annotated[int, typer.Option(min=1, help="Groups without which nobody begins a step.")] = 1,
    heartbeat: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a sign of life after which a group counts as gone.")
    ] = 5.0,
    wait: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a step waits for groups that are alive but not there yet.")
    ] = 60.0,
) -> None:
    """Run what the replica groups of a run find each other by, until it is interrupted.

    It needs a machine that all groups reach and little else, and outlives groups: start it by itself, and again at the
    same address where it has died, within replicas.wait of the groups. It has no password: let nobody else reach it.
    Groups are trained with: lindos train RUN.toml --replica NAME --lighthouse http://HOST:PORT
    """
    from lindos.train.replicas import require_torchft

    require_torchft()
    from torchft.coordination import LighthouseServer

    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before there are threads, which could take them instead
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit():
        raise SpecError(f"--bind {bind}: write an address and a port, like 127.0.0.1:29510")
    try:
        server = LighthouseServer(
            bind=bind,
            min_replicas=least,
            join_timeout_ms=round(1000 * wait),
            quorum_tick_ms=50,
            heartbeat_timeout_ms=round(1000 * heartbeat),
        )
    except RuntimeError as error:
        raise SpecError(f"--bind {bind}: {error}") from None
    print(f"the lighthouse is at http://{host}:{server.address().rpartition(':')[2]}", flush=True)
    signal.sigwait(signals)
    server.shutdown()
