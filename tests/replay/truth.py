"""What may be said at each moment of a timeline, worked out from what its posts are known to say.

A timeline's posts carry notes that are never handed to the assistant: whom a post calls, whether it takes a call back,
which figures it counts. Where the rules leave room, the standing does too: `outcomes` are those that may be told,
`required` the one that must be, `forms` the forms that are right.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

FINAL = ("called", "certified")


@dataclass(frozen=True)
class Says:
    """What a post really says about an event, known because the timeline wrote it."""

    event: str
    calls: str = ""
    """The outcome it announces as a fact."""
    clears: bool = False
    """It takes back what its author called before."""
    counts: tuple[str, ...] = ()
    """Figures of a partial count that an answer must carry, in plain form: `48.3`, `120455`."""
    leader: str = ""
    """Who is ahead in that count, in short."""


@dataclass(frozen=True)
class Line:
    """One line of a timeline, with what only the judge knows of it."""

    data: dict[str, Any]
    says: Says | None = None
    about: str | None = None
    """The event a question is about; None for requests that are about no outcome."""
    reply: str = ""
    """What the scripted model says to a question."""
    claims: str | None = None
    """The outcome that the reply announces, if it announces one."""
    vague: bool = False
    """The question names nothing by which its event could be found."""


@dataclass
class Seen:
    """A post as it stands, with what was true when it came."""

    uri: str
    author: str
    text: str
    at: datetime
    claimed: datetime | None
    says: Says | None
    order: int
    edited: bool = False
    deleted: bool = False


@dataclass(frozen=True)
class Standing:
    """What may be said of one event at one moment."""

    forms: frozenset[str]
    outcomes: frozenset[str] = frozenset()
    required: str | None = None
    counts: Says | None = None
    called: frozenset[str] = frozenset()
    """Outcomes that any authoritative source names now: all of them may be told in a conflicting answer."""


@dataclass
class World:
    """Everything that happened up to a moment."""

    posts: dict[str, Seen] = field(default_factory=dict)
    records: dict[str, list[tuple[datetime, int, dict[str, Any]]]] = field(default_factory=dict)
    steps: int = 0

    def take(self, line: Line) -> None:
        """Take in one line that is not a question."""
        self.steps += 1
        data, at = line.data, moment(line.data.get("at"))
        if "post" in data and at is not None:
            post = data["post"]
            if post["uri"] not in self.posts:
                self.posts[post["uri"]] = Seen(
                    post["uri"], post["author"], post["text"], at, moment(post["created_at"]), line.says, self.steps
                )
        elif "edit" in data and data["edit"]["uri"] in self.posts:
            post = self.posts[data["edit"]["uri"]]
            post.text, post.edited = data["edit"]["text"], True
        elif "delete" in data and data["delete"]["uri"] in self.posts:
            self.posts[data["delete"]["uri"]].deleted = True
        elif "event" in data and at is not None:
            self.records.setdefault(data["event"]["id"], []).append((at, self.steps, data["event"]))

    def standing(self, event: str) -> Standing:
        """What may be said of the event now."""
        records = self.records.get(event)
        if not records:
            return Standing(frozenset({"unknown"}))
        record = records[-1][2]
        counts = self._counts(event, record)
        open_forms = frozenset({"partial" if counts else "unknown"})
        if record["state"] in FINAL and record.get("outcome"):
            return self._operator(event, record, counts)
        first, *others = (
            self._judged(self._calls(event, record, since), record["quorum"], counts, open_forms)
            for since in self._cleared(records)
        )
        if record["state"] == "disputed":
            first = Standing(first.forms | {"conflicting", "unknown"}, first.outcomes, None, counts, first.called)
        if all(other == first for other in others):
            return first
        return Standing(
            first.forms.union(*(other.forms for other in others)),
            first.outcomes.union(*(other.outcomes for other in others)),
            None,
            counts,
            first.called.union(*(other.called for other in others)),
        )

    def _operator(self, event: str, record: dict[str, Any], counts: Says | None) -> Standing:
        """Settled by its operator; a quorum that says otherwise later makes it a conflict that may be told."""
        outcome = record["outcome"]
        at = self.records[event][-1][1]
        against = {o for o, n in Counter(self._calls(event, record, at).values()).items() if n >= record["quorum"]}
        if against - {outcome}:
            return Standing(frozenset({"settled", "conflicting"}), frozenset({outcome}), None, counts)
        return Standing(frozenset({"settled"}), frozenset({outcome}), outcome, counts)

    def _cleared(self, records: list[tuple[datetime, int, dict[str, Any]]]) -> list[int]:
        """Steps after which calls count, by all readings: the strictest first, the most generous last.

        A change to a state without an outcome clears what was called before. Where the operator merely opens the
        counting, or repeats the record, readings differ: any of those since the last certain one may have cleared.
        """
        steps = [0]
        for (_, _, before), (_, step, after) in pairwise(records):
            if after.get("outcome"):
                continue
            moved = after["state"] != before["state"]
            settled = before["state"] in (*FINAL, "disputed") or after["state"] == "disputed"
            if before.get("outcome") or (moved and settled):
                steps = []
            steps.append(step)
        return steps[::-1]

    def _calls(self, event: str, record: dict[str, Any], since: int) -> dict[str, str]:
        """The outcome that each listed source names now, by its last word."""
        closes = moment(record["closes"])
        found: dict[str, str] = {}
        for post in sorted(self.posts.values(), key=lambda p: p.order):
            says = post.says
            source = listed(post, record["authoritative"])
            if source is None or says is None or says.event != event or post.order <= since:
                continue
            if says.clears and not post.deleted:
                found.pop(source, None)
            late = closes is not None and post.at > closes and not (post.claimed and post.claimed < closes)
            if says.calls and late and not post.deleted and not post.edited:
                found[source] = says.calls
        return found

    def _counts(self, event: str, record: dict[str, Any]) -> Says | None:
        closes = moment(record["closes"])
        latest = None
        for post in sorted(self.posts.values(), key=lambda p: p.order):
            fits = post.says is not None and post.says.event == event and post.says.counts
            late = closes is not None and post.at > closes and not (post.claimed and post.claimed < closes)
            if fits and late and listed(post, record["authoritative"]) and not post.deleted and not post.edited:
                latest = post.says
        return latest

    @staticmethod
    def _judged(calls: dict[str, str], quorum: int, counts: Says | None, open_forms: frozenset[str]) -> Standing:
        votes = Counter(calls.values())
        named = frozenset(votes)
        reached = [outcome for outcome, count in votes.items() if count >= quorum]
        if len(reached) == 1 and len(votes) == 1:
            return Standing(frozenset({"settled"}), frozenset(reached), reached[0], counts, named)
        if len(reached) == 1:
            return Standing(frozenset({"settled", "conflicting"}), frozenset(reached), None, counts, named)
        if len(votes) > 1:
            return Standing(frozenset({"conflicting"}), frozenset(), None, counts, named)
        return Standing(open_forms, frozenset(), None, counts, named)


def moment(value: str | None) -> datetime | None:
    """The time a line gives."""
    return datetime.fromisoformat(value) if value else None


def listed(post: Seen, authoritative: list[str]) -> str | None:
    """The entry of the list that a post's author is, or None: the handle itself, or one under the listed domain."""
    author = post.author.casefold().removeprefix("@")
    names = {author}
    if "@" in author:
        names.add(author.rpartition("@")[2])
    if not author.isascii():
        return None
    for entry in authoritative:
        plain = entry.casefold().removeprefix("@")
        if plain in names or ("@" not in author and author.endswith("." + plain)):
            return plain
        if "." not in author and "@" not in author and (urlsplit(post.uri).hostname or "") == plain:
            return plain
    return None
