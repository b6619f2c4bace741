"""The judge: what was wrong with the answers to a timeline's questions, by the evidence at the time.

It shares nothing with the gate it judges, neither code nor lists of words: it knows from the timeline itself who had
won by when, and reads answers with the suspicion of `claims`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.replay.claims import claims, fates, leaked, named, plain, words
from tests.replay.truth import Line, Standing, World, moment
from tests.replay.world import Race

GATED = ("settled", "partial", "conflicting", "unknown")
CLOCK = re.compile(r"\b([01]\d|2[0-3]):([0-5]\d)\s?UTC\b")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one answer."""

    kind: str
    """premature, form, outcome, counts, as_of, citation, cut, fuss, or missing."""
    ask: Mapping[str, Any]
    answer: Mapping[str, Any]
    detail: str
    reply: str = ""

    def __str__(self) -> str:
        way = f"{self.ask.get('route')}{', stream' if self.ask.get('stream') else ''}"
        return (
            f"{self.kind}: {self.detail}\n  asked {self.ask.get('ask')!r} at {self.ask.get('at')}"
            f" ({self.ask.get('persona')}, {way})\n  model said {self.reply!r}"
            f"\n  answered [{self.answer.get('form')}] {self.answer.get('text')!r}"
        )


@dataclass
class Verdict:
    """All faults, and how many answers were looked at in which way."""

    faults: list[Fault] = field(default_factory=list)
    gated: int = 0
    after_quorum: int = 0
    """Questions whose answer had to tell the outcome."""
    told: int = 0
    """Those of them that were answered settled, with the right outcome and no other."""
    harmless: int = 0
    uncut: int = 0
    """Harmless requests whose reply was shown whole with nothing cut."""
    plain: int = 0
    """Those of them that were answered without a word about the state of the race."""

    def of(self, kind: str) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind == kind]

    def add(self, other: Verdict) -> None:
        self.faults += other.faults
        for name in ("gated", "after_quorum", "told", "harmless", "uncut", "plain"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def judge(lines: Sequence[Line], races: Mapping[str, Race], outputs: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge the answers, one for each question in order. Races by the id of their event, undeclared ones too."""
    verdict, world = Verdict(), World()
    answers = iter(outputs)
    for line in lines:
        if "ask" not in line.data:
            world.take(line)
            continue
        answer = next(answers, None)
        if answer is None:
            verdict.faults.append(Fault("missing", line.data, {}, "no answer", line.reply))
        elif line.about is None:
            _harmless(line, answer, verdict)
        else:
            _gated(line, answer, world, races[line.about], verdict)
    if (extra := next(answers, None)) is not None:
        verdict.faults.append(Fault("missing", {}, extra, "an answer that nobody asked for"))
    return verdict


def _harmless(line: Line, answer: Mapping[str, Any], verdict: Verdict) -> None:
    """A request for no outcome: whatever the model said is shown whole."""
    verdict.harmless += 1
    wrong = []
    if " ".join(line.reply.split()) not in " ".join(answer["text"].split()):
        wrong.append("the reply is not shown whole")
    if answer["cut"]:
        wrong.append(f"cut {answer['cut']}")
    verdict.uncut += not wrong
    if wrong:
        verdict.faults.append(Fault("cut", line.data, answer, "; ".join(wrong), line.reply))
    elif answer["form"] != "none":
        verdict.faults.append(Fault("fuss", line.data, answer, f"form {answer['form']}", line.reply))
    else:
        verdict.plain += 1


def _gated(line: Line, answer: Mapping[str, Any], world: World, race: Race, verdict: Verdict) -> None:
    verdict.gated += 1
    assert line.about is not None
    standing = world.standing(line.about)
    faults: list[tuple[str, str]] = []
    faults += [("premature", p) for p in _premature(line, answer["text"], world, race, standing)]
    if not line.vague:
        if answer["form"] not in standing.forms:
            faults.append(("form", f"{answer['form']} instead of {sorted(standing.forms)}"))
        faults += [("counts", d) for d in _counts(answer, standing)]
    if answer["form"] in GATED:
        faults += [("as_of", d) for d in _as_of(line, answer)]
    faults += [("citation", d) for d in _citations(line, answer, world, race)]
    if standing.required and not line.vague:
        verdict.after_quorum += 1
        right = tells(answer["text"], race, standing.required)
        if not right:
            faults.append(("outcome", f"does not say {standing.required}"))
        clean = not any(kind == "premature" for kind, _ in faults)
        verdict.told += right and clean and answer["form"] == "settled"
    verdict.faults += [Fault(kind, line.data, answer, detail, line.reply) for kind, detail in faults]


def tells(text: str, race: Race, outcome: str) -> bool:
    """Whether a text names the outcome."""
    if race.kind in ("verdict", "death"):
        return outcome in fates(text)
    return any(side.name == outcome and named(plain(text), side) for side in race.sides)


def _premature(line: Line, text: str, world: World, race: Race, standing: Standing) -> list[str]:
    sure = standing.outcomes
    attributed = standing.called if len(standing.called) > 1 else frozenset()
    found = claims(text, race, sure, attributed)
    if line.claims and line.claims not in sure:
        known = [race.title, *race.match, line.data["ask"]]
        known += [p.text for p in world.posts.values() if p.says and p.says.counts]
        if sure:
            known += [p.text for p in world.posts.values() if p.says and p.says.calls in sure]
        shown = leaked(line.reply, text, race, known, sure)
        found += [
            f"of the model: {piece}" for piece in shown if not (sure and _true_of_others(piece, race, line, sure))
        ]
    return found


def _true_of_others(piece: str, race: Race, line: Line, sure: frozenset[str]) -> bool:
    """Where three stand: that the third lost is true whoever of the others won."""
    names = {side.name for side in race.sides if named(piece, side)}
    return bool(names) and line.claims not in names and not names & sure


def _counts(answer: Mapping[str, Any], standing: Standing) -> list[str]:
    """A partial answer carries the figures of the latest count, and the one who leads in it."""
    if answer["form"] != "partial" or standing.counts is None:
        return []
    shown = set(figures(answer["text"]))
    missing = [figure for figure in standing.counts.counts if figure not in shown]
    wrong = [f"without {missing}, has {sorted(shown)}"] if missing else []
    if standing.counts.leader and plain(standing.counts.leader) not in plain(answer["text"]):
        wrong.append(f"does not name {standing.counts.leader}, who leads")
    return wrong


def figures(text: str) -> list[str]:
    """Numbers of a text in one form, whatever separates thousands and decimals: 120 455 and 48,3 % and 48.3%."""
    found = []
    for number in re.findall(r"\d+(?:[.,'’\u00a0\u202f\u2009 ]\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)?", text):
        grouped = re.fullmatch(r"(\d{1,3}(?:[.,'’\s]\d{3})+)(?:[.,](\d{1,2}))?", number)
        if grouped:
            whole = re.sub(r"\D", "", grouped[1])
            found.append(f"{whole}.{grouped[2]}" if grouped[2] else whole)
        else:
            found.append(re.sub(r"\.0+$", "", number.replace(",", ".")))
    return found


def _as_of(line: Line, answer: Mapping[str, Any]) -> list[str]:
    at, asked = answer.get("as_of"), moment(line.data["at"])
    assert asked is not None
    if not at:
        return ["no as_of"]
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    if when.tzinfo is None:
        return [f"as_of {at} without a zone"]
    wrong = [f"as_of {at} is after the question"] if when > asked else []
    shown = {f"{h}:{m}" for h, m in CLOCK.findall(answer["text"])}
    if when.astimezone(UTC).strftime("%H:%M") not in shown:
        wrong.append(f"text does not say {when.astimezone(UTC):%H:%M} UTC")
    return wrong


def _citations(line: Line, answer: Mapping[str, Any], world: World, race: Race) -> list[str]:
    wrong = []
    for citation in answer["citations"]:
        post = world.posts.get(citation["uri"])
        if post is None:
            wrong.append(f"{citation['uri']} was not seen")
            continue
        if post.deleted:
            wrong.append(f"{citation['uri']} was deleted")
        text = CLOCK.sub(" ", citation.get("text") or "")
        body = plain(f"{post.text} {post.author}")
        for side in race.sides:
            if race.kind not in ("verdict", "death") and named(plain(text), side) and not named(body, side):
                wrong.append(f"{side.name} is not in {post.text!r}")
        absent = set(figures(text)) - set(figures(post.text)) - set(figures(race.title)) - set(words(post.author))
        if absent:
            wrong.append(f"figures {sorted(absent)} are not in {post.text!r}")
    return wrong
