"""How an event's standing is put into words, in English and French: the part of an answer no model writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lindos.assistant.marks import broken
from lindos.assistant.settlement.calls import same_outcome
from lindos.assistant.settlement.standing import Standing
from lindos.knowledge import Post

MOST_NAMED = 3
"""Sources that are named in one sentence."""


@dataclass
class Told:
    """Text as it grows, and which stretches of it rest on which posts."""

    text: str = ""
    cited: list[tuple[Post, int, int, bool]] = field(default_factory=list)
    """Post, first character, behind the last, whether the stretch is the post's own words."""

    def say(self, words: str) -> None:
        self.text += words

    def append(self, parting: str, other: Told) -> None:
        """All of another text behind `parting`."""
        self.say(parting)
        at = len(self.text)
        self.text += other.text
        self.cited += [(post, at + start, at + end, quote) for post, start, end, quote in other.cited]

    def cite(self, words: str, posts: Sequence[Post], *, quote: bool = False) -> None:
        """Say `words`, which rest on `posts`."""
        start = len(self.text)
        self.text += words
        self.cited += [(post, start, len(self.text), quote) for post in posts]


def clock_words(at: datetime, now: datetime | None = None) -> str:
    """`21:14 UTC`, with the day where it is not that of `now`."""
    time = f"{at:%H:%M} UTC"
    if now is None or at.date() == now.date():
        return time
    return f"{at:%Y-%m-%d}, {time}"


def tell(standing: Standing, at: datetime, language: str) -> Told:
    """How an event stands at `at`. Nothing in it names an outcome before it is settled."""
    told = Told()
    french = language == "fr"
    opening = f"À {clock_words(at)}" if french else f"As of {clock_words(at)}"
    match standing.form:
        case "settled":
            told.cite(_settled(standing, opening, french), [call.post for call in standing.supporting])
            told.say(_by_whom(standing, french))
        case "conflicting":
            told.say(f"{opening}, {_conflicting(standing, french)}")
        case _:
            told.say(f"{opening}, {_open(standing, french)}")
    if standing.form in ("partial", "conflicting"):
        _tell_counts(told, standing, at, french)
    return told


def tell_undeclared(at: datetime, language: str) -> Told:
    """What is said of something that is in no register."""
    if language == "fr":
        return Told(
            f"À {clock_words(at)}, je ne peux rien confirmer : cet événement n'est pas dans mon registre, et les messages "
            "d'autrui ne tranchent rien. Je ne donne donc pas d'issue."
        )
    return Told(
        f"As of {clock_words(at)}, I cannot confirm an outcome: this is not in my register of events, and what people post "
        "settles nothing. So I name none."
    )


def _settled(standing: Standing, opening: str, french: bool) -> str:
    title, outcome, kind = standing.event.title, standing.outcome, standing.event.kind
    sentence = " " in outcome and any(
        word in outcome.casefold().split() for word in ("wins", "won", "remporte", "gagne")
    )
    if kind == "verdict":
        words = {"guilty": "coupable", "not guilty": "non coupable"}.get(outcome, outcome) if french else outcome
        what = f"le verdict est « {words} »" if french else f"the verdict is “{words}”"
    elif kind == "death":
        what = ("c'est confirmé" if french else "this is confirmed") + f" ({outcome})"
    elif same_outcome(outcome, "draw"):
        what = "match nul" if french else "it ended in a draw"
    elif sentence or kind not in ("election", "match", "award"):
        what = f"le résultat est « {outcome} »" if french else f"the outcome is “{outcome}”"
    elif kind == "award":
        what = f"le prix revient à {outcome}" if french else f"the award goes to {outcome}"
    else:
        what = f"{outcome} a gagné" if french else f"{outcome} has won"
    return f"{opening}, {'c’est établi' if french else 'this is settled'} — {title}: {what}"


def _by_whom(standing: Standing, french: bool) -> str:
    names = list(dict.fromkeys(broken(call.post.name) for call in standing.supporting))
    listed = _listed(names, french)
    if standing.event.settled:
        state = {"called": "annoncé", "certified": "certifié"} if french else {}
        word = state.get(standing.state, standing.state)
        register = f" ({word} au registre" if french else f" ({word} in the register of events"
        return register + (f" ; {listed})." if french and listed else f"; {listed})." if listed else ").")
    return f" ({'selon' if french else 'called by'} {listed})." if listed else "."


def _listed(names: Sequence[str], french: bool) -> str:
    shown = list(names[:MOST_NAMED])
    if len(names) > MOST_NAMED:
        rest = len(names) - MOST_NAMED
        shown.append(f"{rest} autre{'s' if rest > 1 else ''}" if french else f"{rest} more")
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} {'et' if french else 'and'} {shown[-1]}"


def _open(standing: Standing, french: bool) -> str:
    """That nothing is settled, and why: in words that name nobody."""
    title, event = standing.event.title, standing.event
    if french:
        reason = {
            "scheduled": "le vote n'a pas commencé" if event.kind == "election" else "cela n'a pas commencé",
            "open": "c'est encore en cours",
            "counting": "le dépouillement continue" if event.kind == "election" else "rien n'est encore rendu",
        }.get(standing.state, "aucune issue n'est enregistrée")
        return f"rien n'est établi — {title} : {reason}{_short_of_quorum(standing, french)}."
    reason = {
        "scheduled": "voting has not begun" if event.kind == "election" else "it has not begun",
        "open": "it is still under way",
        "counting": "counting goes on" if event.kind == "election" else "nothing has been returned yet",
    }.get(standing.state, "no outcome is recorded")
    return f"this is not settled — {title}: {reason}{_short_of_quorum(standing, french)}."


def _short_of_quorum(standing: Standing, french: bool) -> str:
    heard, needed = len(standing.calls), standing.event.quorum
    if not heard or heard >= needed:
        return ""
    if french:
        return f" ; {heard} des {needed} sources qu'il faut se sont prononcées"
    return f"; {heard} of the {needed} sources that it takes have spoken"


def _conflicting(standing: Standing, french: bool) -> str:
    title = standing.event.title
    rivals = [f"“{rival}”" if not french else f"« {rival} »" for rival in standing.rivals]
    if len(rivals) > 1:
        named = f"{', '.join(rivals[:-1])} {'et' if french else 'and'} {rivals[-1]}"
        if french:
            return f"les sources se contredisent — {title} : elles nomment {named}. Rien n'est établi."
        return f"sources contradict each other — {title}: they name {named}. This is not settled."
    if french:
        return f"c'est contesté — {title} : rien n'est établi."
    return f"this is disputed — {title}: it is not settled."


def _tell_counts(told: Told, standing: Standing, at: datetime, french: bool) -> None:
    if not standing.counts:
        return
    count = standing.counts[0]
    seen = clock_words(count.post.seen_at, at)
    told.say(
        f" Décompte partiel selon {broken(count.post.name)}, vu à {seen} : « "
        if french
        else f" Partial count by {broken(count.post.name)}, seen at {seen}: “"
    )
    told.cite(broken(count.words), [count.post], quote=True)
    full = count.words.rstrip().endswith((".", "!", "?", "…"))
    told.say((" »" if french else "”") + ("" if full else "."))
