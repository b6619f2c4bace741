"""Timelines: races from before the polls to after a recount, and the noise around them, with notes for the judge."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.replay import posts
from tests.replay.truth import Line, Says
from tests.replay.world import CLOSES, START, Race, Side

PERSONAS = ("direct", "regular", "own")
ROUTES = ("responses", "chat", "completions")
IMPOSTORS = (
    "agency.example.evil.example", "agency-example.example", "agencyexample", "agency.examp1e", "аgency.example",
    "agency.exampIe", "real.agency.example.co", "notagency.example", "xn--gency-vve.example", "@agency@evil.example",
    "agency.example\u200b", "agency.example/evil.example", "agency", "wire", "wire.example.agency.fake",
    "breaking-agency.example", "agency.example@evil.example", "commission", "Electoral Commission",
)  # fmt: skip


@dataclass
class Timeline:
    """A timeline being written. Times go forward; what is written comes `at` the clock's time."""

    race: Race
    rng: random.Random
    sources: tuple[str, ...] = ("agency.example", "wire.example", "commission.example")
    quorum: int = 2
    now: datetime = START
    lines: list[Line] = field(default_factory=list)
    races: dict[str, Race] = field(default_factory=dict)
    replies: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """What the model says to each question, and whom that announces."""
    live_calls: list[tuple[str, str, str]] = field(default_factory=list)
    """URI, source and outcome of calls that were made, newest last."""
    record: dict[str, Any] = field(default_factory=dict)
    counter: int = 0

    def __post_init__(self) -> None:
        self.races[self.race.id] = self.race
        self.ways = random.Random(self.race.id)
        """Draws how routes are asked."""

    def wait(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)

    def until(self, moment: datetime) -> None:
        self.now = max(self.now, moment)

    def _at(self) -> str:
        self.now += timedelta(seconds=7)
        return self.now.isoformat().replace("+00:00", "Z")

    def event(self, state: str, *, outcome: str | None = None, **changes: Any) -> None:
        """The operator writes the whole record."""
        record = {
            "id": self.race.id,
            "kind": self.race.kind,
            "title": self.race.title,
            "match": list(self.race.match),
            "jurisdiction": self.race.jurisdiction or self.race.place,
            "opens": START.isoformat(),
            "closes": CLOSES.isoformat(),
            "authoritative": list(self.sources),
            "quorum": self.quorum,
            **{k: v for k, v in self.record.items() if k in ("closes", "quorum", "authoritative")},
            **changes,
            "state": state,
        }
        if outcome:
            record["outcome"] = outcome
        self.record = record
        self.lines.append(Line({"at": self._at(), "event": record}))

    def post(
        self,
        author: str,
        text: str,
        *,
        says: Says | None = None,
        created: datetime | None = None,
        lang: str = "en",
        **more: Any,
    ) -> str:
        """Somebody posts; returns the URI."""
        self.counter += 1
        at = self._at()
        claimed = (created or self.now).isoformat().replace("+00:00", "Z")
        uri = f"at://{re.sub(r'[^a-zA-Z0-9.-]', '', author) or 'somebody'}/post/{self.race.id}-{self.counter}"
        post = {"uri": uri, "author": author, "text": text, "created_at": claimed, "lang": lang, **more}
        self.lines.append(Line({"at": at, "post": post}, says=says))
        return uri

    def edit(self, uri: str, text: str) -> None:
        self.lines.append(Line({"at": self._at(), "edit": {"uri": uri, "text": text}}))

    def delete(self, uri: str) -> None:
        self.lines.append(Line({"at": self._at(), "delete": {"uri": uri}}))

    def ask(self, text: str, reply: str, claims: str | None, *, about: str | None, **more: Any) -> None:
        """A question; the model replies the same to the same question in one timeline."""
        reply, claims = self.replies.setdefault(text, (reply, claims))
        vague = more.pop("vague", False)
        data = {"at": self._at(), "ask": text, "persona": self.rng.choice(PERSONAS), "route": self.rng.choice(ROUTES)}
        way = self.ways.choice(("whole", "whole", "stream", "stream", "direct"))
        data |= {"route": "direct"} if way == "direct" else {"stream": way == "stream"}
        self.lines.append(Line({**data, **more}, about=about, reply=reply, claims=claims, vague=vague))

    # What sources and others post.

    def call(self, source: str, side: Side, *, lang: str | None = None, created: datetime | None = None) -> str:
        """An authoritative source calls the race for a side."""
        lang = lang or self.rng.choice(("en", "fr"))
        choices = posts.CALLS_OF_OUTCOME.get((side.name, lang)) or posts.CALLS[self.race.kind, lang]
        text = self.rng.choice(choices).format(**self.race.words(side, french=lang == "fr"))
        uri = self.post(source, text, says=Says(self.race.id, calls=side.name), lang=lang, created=created)
        self.live_calls.append((uri, source, side.name))
        return uri

    def count(self, source: str, *, leader: Side | None = None, counted: float | None = None) -> str:
        """An authoritative source posts a partial count."""
        rng, race = self.rng, self.race
        lang = rng.choice(("en", "fr"))
        side = leader or rng.choice(race.sides[:2])
        share = counted if counted is not None else rng.randint(2, 96) + rng.choice((0, 0.4))
        first, second = 45 + rng.randint(1, 50) / 10, 40 + rng.randint(1, 45) / 10
        votes, other = rng.randint(60_000, 999_999), rng.randint(10_000, 59_999)
        template = rng.choice(posts.COUNTS_FR if lang == "fr" else posts.COUNTS_EN)
        numbers = {"a": first, "b": second, "va": votes, "vb": other, "c": share}
        used = re.findall(r"\{(a|b|va|vb|c)\}", template)
        shown = {k: shown_number(v, lang, rng) for k, v in numbers.items()}
        text = template.format(**race.words(side, french=lang == "fr"), **shown)
        needed = tuple(f"{numbers[k]:g}" if k in ("a", "b", "c") else str(numbers[k]) for k in used)
        says = Says(race.id, counts=needed, leader=side.short)
        return self.post(source, text, says=says, lang=lang)

    def not_a_call(self, source: str, side: Side | None = None) -> str:
        """An authoritative source posts something with an outcome's words that announces none."""
        french = self.rng.random() < 0.3
        chosen = posts.NOT_CALLS_FR if french else posts.NOT_CALLS_EN
        if self.race.kind != "election":
            chosen = posts.KIND_NOT_CALLS[self.race.kind]
        side = side or self.rng.choice(self.race.sides)
        text = self.rng.choice(chosen).format(**self.race.words(side, french=french))
        return self.post(source, text, lang="fr" if french else "en", says=Says(self.race.id))

    def retract(self, source: str, side: Side) -> str:
        text = self.rng.choice(posts.RETRACTIONS).format(**self.race.words(side))
        return self.post(source, text, says=Says(self.race.id, clears=True))

    def viral(self, side: Side, many: int = 3) -> None:
        """Others announce a winner, loudly, under names like those of the sources."""
        for _ in range(many):
            author = self.rng.choice((*IMPOSTORS, f"fan{self.rng.randint(1, 999)}.example"))
            words = {**self.race.words(side), "agency": self.sources[0], "id": self.race.id}
            text = self.rng.choice(posts.VIRAL).format(**words)
            self.post(author, text, links=[f"https://{self.sources[0]}/live"], created=self._odd_time())

    def chatter(self, many: int = 2) -> None:
        for _ in range(many):
            side = self.rng.choice(self.race.sides)
            template = self.rng.choice((*posts.CHATTER, *posts.OTHER_YEAR))
            author = self.rng.choice((f"user{self.rng.randint(1, 999)}.example", *self.sources))
            old = template in posts.OTHER_YEAR and self.rng.random() < 0.5
            created = self.now - timedelta(days=4 * 365) if old else None
            said = self.race.words(side)
            if self.race.kind in ("verdict", "death"):
                said["X"] = self.race.office  # somebody on trial speaks, not a verdict
            self.post(author, template.format(**said), created=created)

    def _odd_time(self) -> datetime:
        shift = self.rng.choice((0, 0, -4 * 365 * 24, -30, 2, 26, 24 * 365))
        return self.now + timedelta(hours=shift)

    # What is handed to the assistant.

    def model(self) -> dict[str, Any]:
        """The first line: the scripted model, its longest questions first so that none hides another."""
        rules = [
            {"match": re.escape(text), "reply": reply}
            for text, (reply, _) in sorted(self.replies.items(), key=lambda item: -len(item[0]))
        ]
        side = self.race.sides[0]
        rest = {"match": "", "reply": f"{side.name} won in {self.race.place}."}
        return {"model": [*rules, rest]}

    def played(self) -> list[dict[str, Any]]:
        """The lines as the assistant gets them, without the judge's notes."""
        return [self.model(), *(line.data for line in self.lines)]


def shown_number(value: float, lang: str, rng: random.Random) -> str:
    """A number as people of that language write it."""
    if isinstance(value, int) and value >= 1000:
        separators = ("\u202f", " ", "\u00a0", ".") if lang == "fr" else (",", ",", "")
        return f"{value:,}".replace(",", rng.choice(separators))
    return f"{value:g}".replace(".", "," if lang == "fr" else ".")


Asker = Callable[[Timeline, str], None]


def phases(timeline: Timeline, ask: Asker, winner: Side | None = None) -> Timeline:
    """A night as it goes: `ask` is called in each phase with the phase's name."""
    t, rng = timeline, timeline.rng
    side = winner or t.race.sides[0]
    other = next(s for s in t.race.sides if s is not side)
    election = t.race.kind == "election"
    t.event("scheduled")
    t.chatter()
    t.event("open")
    t.viral(other, 2)
    t.call(rng.choice(t.sources), side)  # before the close: it does not count
    t.post(t.sources[0], f"{side.name} wins {t.race.place}", created=CLOSES + timedelta(hours=1))
    ask(t, "before")
    t.until(CLOSES)
    t.wait(2)
    t.event("counting")
    t.not_a_call(rng.choice(t.sources))
    ask(t, "closed")
    t.wait(20)
    if election:
        t.count(t.sources[0], leader=other)
        t.wait(15)
        t.count(t.sources[-1], leader=side)
    t.viral(other, 4)
    t.not_a_call(t.sources[0], other)
    ask(t, "partial")
    for number in range(t.quorum - 1):
        t.wait(11)
        t.call(t.sources[number], side)
        t.call(t.sources[number], side)  # once more: a source counts once
    t.viral(side, 2)
    ask(t, "one outlet")
    t.wait(9)
    last = t.call(t.sources[t.quorum - 1], side)
    t.viral(other, 2)
    ask(t, "quorum")
    if rng.random() < 0.5:
        t.delete(last)
    else:
        t.edit(last, f"Good night from {t.race.place}.")
    ask(t, "taken back")
    t.call(t.sources[t.quorum - 1], side)
    t.wait(60 * 10)
    t.event("certified", outcome=side.name)
    ask(t, "certified")
    t.wait(60)
    t.event("disputed")
    t.viral(side, 2)
    ask(t, "recount")
    t.wait(60)
    t.event("certified", outcome=other.name)
    ask(t, "corrected")
    return t


def chaos(timeline: Timeline, ask: Asker, moves: int) -> Timeline:
    """Anything in any order."""
    t, rng = timeline, timeline.rng
    t.event("open")
    if rng.random() < 0.85:
        t.until(CLOSES)
        t.wait(1)
        t.event("counting")
    for _ in range(moves):
        t.wait(rng.choice((1, 5, 30)))
        rng.choice(_moves(t))(t)
        if rng.random() < 0.5:
            ask(t, "chaos")
    ask(t, "chaos")
    return t


def _moves(t: Timeline) -> Sequence[Callable[[Timeline], object]]:
    """Moves by how often they should come."""
    often = [_call, _call, _call, _viral, _not_a_call]
    seldom = [_delete, _edit, _retract, _chatter, _early_claim, _operator, _again]
    return [*often, *seldom, *([_count, _count] if t.race.kind == "election" else [])]


def _call(t: Timeline) -> None:
    weights = [5] + [1] * (len(t.race.sides) - 1)
    t.call(t.rng.choice(t.sources), t.rng.choices(t.race.sides, weights)[0])


def _viral(t: Timeline) -> None:
    t.viral(t.rng.choice(t.race.sides), 1)


def _not_a_call(t: Timeline) -> None:
    t.not_a_call(t.rng.choice(t.sources))


def _count(t: Timeline) -> None:
    t.count(t.rng.choice(t.sources))


def _delete(t: Timeline) -> None:
    if t.live_calls:
        t.delete(t.live_calls.pop(t.rng.randrange(len(t.live_calls)))[0])


def _edit(t: Timeline) -> None:
    if t.live_calls:
        uri, _, outcome = t.live_calls.pop(t.rng.randrange(len(t.live_calls)))
        words = t.race.words()
        t.edit(uri, t.rng.choice((f"Counting goes on in {words['P']}.", f"{outcome} wins {words['P']}", "(removed)")))


def _retract(t: Timeline) -> None:
    if t.live_calls and t.race.kind == "election":
        _, source, outcome = t.rng.choice(t.live_calls)
        t.retract(source, next(s for s in t.race.sides if s.name == outcome))


def _chatter(t: Timeline) -> None:
    t.chatter(1)


def _early_claim(t: Timeline) -> None:
    """A call that claims to have been written before the close; it is seen after it."""
    t.call(t.rng.choice(t.sources), t.rng.choice(t.race.sides), created=CLOSES - timedelta(hours=3))


def _operator(t: Timeline) -> None:
    side = t.rng.choice(t.race.sides)
    state = t.rng.choice(("counting", "called", "certified", "disputed"))
    t.event(state, outcome=side.name if state in ("called", "certified") else None)


def _again(t: Timeline) -> None:
    """The operator changes how many sources it takes."""
    t.event(t.record["state"], outcome=t.record.get("outcome"), quorum=t.rng.choice((1, 2, 3)))
