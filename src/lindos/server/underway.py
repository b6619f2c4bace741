"""Responses under way: to be looked at and cancelled from other requests than those that wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Run:
    """One response under way."""

    snapshot: Callable[[], dict[str, Any]]
    """The response as it stands."""
    input: list[dict[str, Any]]
    stored: bool
    """Whether it is kept when it ends."""
    stop: Callable[[], None] | None = None
    """Ends the answer; None: it has not begun."""
    cancelled: bool = False
    """Whether somebody has asked for its end."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def cancel(self) -> None:
        """Have it end soon."""
        self.cancelled = True
        if self.stop is not None:
            self.stop()


UnderWay = dict[str, Run]
"""By the ids of the responses."""
