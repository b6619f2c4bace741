"""How an event stands: by its operator's records and by what its sources posted, as far as that still stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lindos.assistant.basis import EventBasis, EventState, Form
from lindos.assistant.settlement.calls import full_name, read_call, same_outcome, takes_back
from lindos.assistant.settlement.counts import VOTES, read_counts
from lindos.assistant.settlement.event import Event
from lindos.assistant.settlement.linking import year_range
from lindos.assistant.settlement.names import Cast
from lindos.assistant.settlement.registry import Record
from lindos.knowledge import Post


@dataclass(frozen=True)
class Call:
    """A source's word that something has come out some way."""

    source: str
    """Which entry of the event's list it is."""
    outcome: str
    post: Post


@dataclass(frozen=True)
class Count:
    """A partial count that a source posted."""

    source: str
    words: str
    """The sentences that give it, as they are written."""
    post: Post


@dataclass(frozen=True)
class Standing:
    """How an event stands at a moment."""

    event: Event
    state: EventState
    form: Form
    cast: Cast
    outcome: str = ""
    """Where it is settled."""
    calls: tuple[Call, ...] = ()
    """Those that stand, one a source, the latest first."""
    counts: tuple[Count, ...] = ()
    """The latest of each source, the latest first."""
    rivals: tuple[str, ...] = ()
    """The outcomes between which sources differ."""

    @property
    def settled(self) -> bool:
        return self.form == "settled"

    @property
    def supporting(self) -> tuple[Call, ...]:
        """The calls that name the outcome."""
        return tuple(call for call in self.calls if self.outcome and same_outcome(call.outcome, self.outcome))

    @property
    def fingerprint(self) -> str:
        """Another one once the state, the form, the outcome or what they rest on changed."""
        parts = [self.state, self.form, self.outcome, *self.rivals, *sorted(call.post.uri for call in self.supporting)]
        return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def basis(self) -> EventBasis:
        """As an answer keeps it."""
        return EventBasis(
            id=self.event.id,
            title=self.event.title,
            kind=self.event.kind,
            form=self.form,
            state=self.state,
            standing=self.fingerprint,
            outcome=self.outcome,
        )


def standing_of(record: Record, cast: Cast, about: Sequence[tuple[str, Post]]) -> Standing:
    """How an event stands by its record and by what is `about` it: living posts of its sources since it opened, the
    latest first, each with the entry of the event's list that it came in by."""
    return _judge(record, cast, _calls(record, about, cast), _counts(record.event, about, cast))


def clearing(event: Event, before: Standing | None, at: datetime) -> datetime | None:
    """When writing `event` takes away earlier calls: at once, where it names no outcome and either changes the state
    that was reached or leaves out an outcome that its operator had given. None: it takes nothing away.

    The same record written again changes nothing. What was cleared before stays cleared; see Events.put.
    """
    if event.settled or before is None or event == before.event or not (before.calls or before.outcome):
        return None
    return at if event.state != before.state or before.event.settled else None


def _calls(record: Record, about: Sequence[tuple[str, Post]], cast: Cast) -> tuple[Call, ...]:
    event = record.event
    since = max(event.closes, record.cleared_at) if record.cleared_at else event.closes
    written = since.replace(microsecond=0)  # as finely as most sources tell the time
    latest: dict[str, Call] = {}
    for source, post in about:  # the latest first
        if post.edited_at is not None or post.seen_at <= since or source in latest:
            continue
        if post.created_at is not None and post.created_at < written:
            continue  # written when nobody could know, whenever it arrived here
        if takes_back(post.text):
            latest[source] = Call(source, "", post)  # its earlier calls do not count any more
            continue
        outcome = read_call(post.text, event.kind, cast, year_range(event))
        if outcome is not None:
            latest[source] = Call(source, full_name(outcome, cast), post)
    return tuple(call for call in latest.values() if call.outcome)


def _counts(event: Event, about: Sequence[tuple[str, Post]], cast: Cast) -> tuple[Count, ...]:
    latest: dict[str, Count] = {}
    voting = event.kind in VOTES and event.state in ("scheduled", "open")
    for source, post in about:
        if source in latest or (post.created_at is not None and post.created_at < event.opens):
            continue
        if voting and post.seen_at <= event.closes:
            continue  # nothing is counted while people vote
        words = read_counts(post.text, event.kind, cast)
        if words is not None:
            latest[source] = Count(source, words, post)
    return tuple(latest.values())


def _judge(record: Record, cast: Cast, calls: tuple[Call, ...], counts: tuple[Count, ...]) -> Standing:
    event = record.event
    votes = _votes(calls)
    reached = [outcome for outcome, sources in votes.items() if len(sources) >= event.quorum]

    def stand(state: EventState, form: Form, outcome: str = "", rivals: tuple[str, ...] = ()) -> Standing:
        return Standing(
            event, state, form, cast.with_people([outcome] if outcome else []), outcome, calls, counts, rivals
        )

    if event.settled:
        later = _votes(call for call in calls if call.post.seen_at > record.at)
        against = [o for o, heard in later.items() if len(heard) >= event.quorum and not same_outcome(o, event.outcome)]
        if against:
            return stand("disputed", "conflicting", rivals=(event.outcome, *against))
        return stand(event.state, "settled", event.outcome)
    if len(votes) > 1:
        return stand("disputed" if event.state == "disputed" else event.state, "conflicting", rivals=tuple(votes))
    if reached:
        return stand("called", "settled", reached[0])
    if event.state == "disputed":
        return stand("disputed", "conflicting", rivals=(event.outcome,) if event.outcome else ())
    return stand(event.state, "partial" if counts else "unknown")


def _votes(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """The calls by outcome, each outcome under its longest name."""
    groups: list[list[Call]] = []
    for call in calls:
        for group in groups:
            if same_outcome(group[0].outcome, call.outcome):
                group.append(call)
                break
        else:
            groups.append([call])
    return {max((call.outcome for call in group), key=len): group for group in groups}


def changed(kept: EventBasis, now: Mapping[str, Standing]) -> bool:
    """Whether an event that an answer rests on stands differently by now; one that left the register does, too."""
    standing = now.get(kept.id)
    return standing is None or standing.fingerprint != kept.standing


def described(standing: Standing) -> dict[str, Any]:
    """A standing as JSON has it: the event's record, and what it stands by."""
    return {
        **standing.event.model_dump(mode="json"),
        "standing": {
            "state": standing.state,
            "form": standing.form,
            "outcome": standing.outcome,
            "rivals": list(standing.rivals),
            "calls": [_cited(call.source, call.post, outcome=call.outcome) for call in standing.calls],
            "counts": [_cited(count.source, count.post, words=count.words) for count in standing.counts],
            "fingerprint": standing.fingerprint,
        },
    }


def _cited(source: str, post: Post, **said: str) -> dict[str, Any]:
    return {"source": source, "uri": post.uri, "seen_at": post.seen_at.isoformat(), **said}
