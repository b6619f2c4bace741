"""An election while votes are counted, for tests of the gate."""

from __future__ import annotations

from datetime import UTC, datetime

from lindos.assistant.gate import Rules
from lindos.assistant.settlement import Event, Scene, Standing
from lindos.assistant.settlement.names import cast_of

NOW = datetime(2031, 5, 4, 21, tzinfo=UTC)
EVENT = Event.parse(
    {
        "id": "v",
        "title": "Veldoria presidential election",
        "jurisdiction": "Veldoria",
        "opens": "2031-05-04T06:00Z",
        "closes": "2031-05-04T20:00Z",
        "state": "counting",
        "authoritative": ["@a.example"],
    }
)
OPEN = Standing(EVENT, "counting", "unknown", cast_of(EVENT).with_people(["Orlin Tace", "Maren Doul"]))
STRICT = Rules(Scene("strict", NOW, (OPEN,)), supported=True)
WATCHFUL = Rules(Scene("watchful", NOW, (OPEN,)))
