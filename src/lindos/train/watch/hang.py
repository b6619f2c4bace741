"""Exchanges that never end: who waits, in what, since when, and who is not there.

One thread a rank looks on. A rank that has not moved for a while says in the run's common store what it is at; one that
has waited for too long reads what the others said, tells whom it waits for, and ends its process, so that whoever
started the ranks can start them anew. A rank that is stopped, dead or cut off says nothing, and is named for that.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist

from lindos.train.watch.exchanges import Exchange, Exchanges

EXIT = 75
"""What a process that gave up waiting ends with (a temporary failure, in the words of sysexits.h)."""
NAMED = 8
"""So many ranks a report names at most."""
FOLLOWED = 64
"""So many ranks a report asks after at most."""
Said = dict[str, Any]


class HangWatch:
    """Looks after one rank's exchanges."""

    def __init__(
        self, exchanges: Exchanges, patience: float, rank: int, step: Callable[[], int], tell: Callable[[str], None]
    ) -> None:
        """`patience` in seconds; `step` says which one the rank is at, `tell` is called with a report before the
        process ends."""
        self.exchanges, self.patience, self.rank, self.step, self.tell = exchanges, patience, rank, step, tell
        self._over, self._public = threading.Event(), False
        self._trainer = threading.get_ident()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Within it somebody looks on."""
        # A connection of its own: the training's may be the one that waits.
        common: Any = dist.distributed_c10d._get_default_store()
        store = common.clone()
        thread = threading.Thread(target=self._look, args=(store,), name="hang watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(10)

    def _look(self, store: Any) -> None:
        while not self._over.wait(self.patience / 10):
            _in_time(lambda: self._publish(store))
            now = self.exchanges.now
            if now is not None and time.monotonic() - now.began > self.patience:
                self._give_up(now, store)

    def _give_up(self, exchange: Exchange, store: Any) -> None:
        """Tell and end, unless the exchange ends meanwhile."""
        mine = self.said()
        told = _in_time(lambda: report(mine, exchange.ranks, lambda rank: _heard(store, rank)))
        told = told or f"{_told(mine)}\nnobody could be asked where the others are"
        if self.exchanges.now is exchange:
            _in_time(lambda: self.tell(told))
            os._exit(EXIT)

    def _publish(self, store: Any) -> None:
        """Say what this rank is at where it has stood still for long; take it back when it has moved since."""
        if time.monotonic() - self.exchanges.moved > self.patience / 2:
            store.set(_key(self.rank), json.dumps(self.said()))
            self._public = True
        elif self._public:
            store.delete_key(_key(self.rank))
            self._public = False

    def said(self) -> Said:
        """What this rank is at."""
        now = self.exchanges.now
        since = self.exchanges.moved if now is None else now.began
        return {
            "rank": self.rank,
            "host": socket.gethostname(),
            "step": self.step(),
            "waits": None if now is None else _waiting(now),
            "ranks": [] if now is None else list(now.ranks[:FOLLOWED]),
            "since": time.time() - (time.monotonic() - since),
            "place": self._place(),
        }

    def _place(self) -> str:
        """Where in our own code the training is."""
        frame = sys._current_frames().get(self._trainer)
        stack = traceback.extract_stack(frame) if frame is not None else []
        package = Path(__file__).parents[2]
        ours = [call for call in stack if Path(call.filename).is_relative_to(package)]
        return f"{Path(ours[-1].filename).relative_to(package)}:{ours[-1].lineno} {ours[-1].name}" if ours else ""


def report(mine: Said, partners: tuple[int, ...], heard: Callable[[int], Said | None]) -> str:
    """Whom a rank waits for: those of its partners who wait for nobody, or, through those who wait, of theirs.

    `heard` gives what a rank said of itself, None where it says nothing.
    """
    lines = [_told(mine)]
    # From the own rank on, so that of a large group everybody asks others.
    around = sorted(partners, key=lambda rank: (rank < mine["rank"], rank))
    asked, queue, missing = {mine["rank"]}, around, []
    while queue and len(asked) <= FOLLOWED:
        rank = queue.pop(0)
        if rank in asked:
            continue
        asked.add(rank)
        said = heard(rank)
        if said is None or not said["waits"]:
            missing.append(f"rank {rank} says nothing: stopped, dead or cut off" if said is None else _told(said))
        else:
            queue += said["ranks"]
    lines += missing[:NAMED]
    if len(missing) > NAMED:
        lines.append(f"and {len(missing) - NAMED} more")
    if not missing:
        of = f" (of {len(partners)}, {len(asked) - 1} were)" if len(partners) > FOLLOWED else ""
        lines.append(f"everybody asked{of} waits, too: exchanges in different orders, or a network that is cut")
    return "\n".join(lines)


def _in_time(work: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `work()` gives, or None where it fails or takes longer: store and disk may be what everybody waits for."""
    found: list[Any] = []

    def run() -> None:
        with suppress(Exception):
            found.append(work())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


def _told(said: Said) -> str:
    age = time.time() - said["since"]
    doing = f"waits in {said['waits']}" if said["waits"] else "is in no exchange"
    place = f" ({said['place']})" if said["place"] else ""
    return f"rank {said['rank']} on {said['host']} {doing}, step {said['step']}, for {age:,.1f} s{place}"


def _waiting(exchange: Exchange) -> str:
    among = ", ".join(map(str, exchange.ranks[:NAMED])) + (" ..." if len(exchange.ranks) > NAMED else "")
    others = {"send": "to rank", "receive": "from rank"}.get(exchange.operation, "among ranks")
    return f"{exchange.operation} of {exchange.bytes:,} bytes {others} {among}"


def _key(rank: int) -> str:
    return f"lindos/watch/{rank}"


def _heard(store: Any, rank: int) -> Said | None:
    return json.loads(store.get(_key(rank))) if store.check([_key(rank)]) else None
