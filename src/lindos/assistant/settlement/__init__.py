"""Settlement: which events are settled, and the gate that lets nothing be announced before they are."""

from lindos.assistant.settlement.claims import Scene, judge, passes
from lindos.assistant.settlement.event import Event, event_toml, read_events
from lindos.assistant.settlement.events import Events
from lindos.assistant.settlement.question import Topic, is_yes_no, topic_of
from lindos.assistant.settlement.registry import Record, Registry
from lindos.assistant.settlement.standing import Call, Count, Standing, changed, described

__all__ = [
    "Call",
    "Count",
    "Event",
    "Events",
    "Record",
    "Registry",
    "Scene",
    "Standing",
    "Topic",
    "changed",
    "described",
    "event_toml",
    "is_yes_no",
    "judge",
    "passes",
    "read_events",
    "topic_of",
]
