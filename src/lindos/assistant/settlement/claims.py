"""What a sentence claims of events, and whether it may be shown: the gate's judgement of one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Literal

from lindos.assistant.settlement.calls import read_statement, same_outcome
from lindos.assistant.settlement.event import RECENT
from lindos.assistant.settlement.language import language_of
from lindos.assistant.settlement.lexicon import (
    ANONYMOUS,
    CORE,
    GAME,
    LEADING,
    POINTING,
    PROCESS,
    REPORTING,
    SAYING,
    TURNS,
)
from lindos.assistant.settlement.linking import Link, line_of, link, places, year_range
from lindos.assistant.settlement.names import Cast, masked
from lindos.assistant.settlement.pending import long_ago, without_pending
from lindos.assistant.settlement.standing import Standing
from lindos.assistant.settlement.together import together
from lindos.assistant.settlement.words import fold, plain, sentences, words, years

Mode = Literal["strict", "watchful"]
"""strict: the question wants to know how an event came out; watchful: it wants something else."""

Reason = Literal["unsettled", "contradicted", "language"]


@dataclass(frozen=True)
class Scene:
    """What a sentence is judged against."""

    mode: Mode
    now: datetime
    standings: tuple[Standing, ...] = ()
    """Events it may speak of. In strict mode those that were asked about."""
    kind: str = "election"
    """Of an event that was asked about and is in no register."""
    undeclared: bool = False
    """Whether such a one was asked about."""
    yes_no: bool = False
    """Whether the question can be answered by yes."""
    past: bool = False
    """Whether the question is about a year that is past."""
    fiction: bool = False
    """Whether an invention was asked for, or something that only plays with words."""
    invention: bool = False
    """Whether a story, a poem or the like was asked for."""
    named: tuple[str, ...] = ()
    """Whom the question names: an answer may mean them however it spells them."""
    quoted: bool = False
    """Whether the question itself holds the claim that the answer is to put into other words."""

    @property
    def open(self) -> bool:
        """Whether one of its events is under way and not settled."""
        return any(not s.settled and s.event.opens <= self.now <= s.event.closes + RECENT for s in self.standings)

    @cached_property
    def cast(self) -> Cast:
        """Everybody and every place that is known of any of the events."""
        return together(self.standings).cast(self.named)

    @property
    def current(self) -> range:
        """The years of its events."""
        spans = [year_range(standing.event) for standing in self.standings] or [range(self.now.year, self.now.year + 1)]
        return range(min(span.start for span in spans), max(span.stop for span in spans))


def judge(sentence: str, before: str, scene: Scene) -> Reason | None:
    """Why `sentence` may not be shown; None: it may. `before` is what was said directly before it, shown or not."""
    if not any(c.isalnum() for c in sentence):
        return "unsettled" if scene.mode == "strict" and not _PLAIN_MARKS.fullmatch(sentence) else None
    reason = _strict(sentence, scene) if scene.mode == "strict" else _watchful(sentence, scene)
    fragments = _fragments(before) if reason is None and len(words(sentence)) < 5 else ""
    if fragments:  # said in pieces: "The winner? Tace."
        whole = f"{fragments} {sentence.strip()}"
        reason = _strict(whole, scene) if scene.mode == "strict" else _watchful(whole, scene)
        if reason is not None and _strict_alone_is_harmless(sentence, scene):
            return None
    return reason


def passes(text: str, scene: Scene) -> bool:
    """Whether a whole text, a post for one, may be quoted: none of its sentences announces what is not settled."""
    before = ""
    for sentence in sentences(text):
        if judge(sentence, before, scene) is not None:
            return False
        before += sentence
    return True


# Strict: the question wants the outcome.


def _strict(sentence: str, scene: Scene) -> Reason | None:
    settled = scene.standings and all(standing.settled for standing in scene.standings)
    if language_of(sentence) == "other":
        return "language"
    shape = masked(sentence, scene.cast)
    if long_ago(shape.text, years(plain(sentence)), scene.current):
        return None
    if _FORM.search(sentence):
        return "unsettled"  # a table, an object: nobody was asked to fill in one
    rest = without_pending(shape.text)
    kind = scene.standings[0].event.kind if scene.standings else scene.kind
    alone = len(words(sentence)) == 1 and bool(_YES.match(shape.text))
    if (alone or _affirms(rest)) and not settled:
        return "unsettled"
    claims = _claims(rest, kind) or _pending_of_somebody(shape.text, rest)
    if claims and settled:
        return _against_outcomes(sentence, scene)
    if claims or (not settled and (_points(rest) or _points_at_a_role(rest) or _is_bare(rest))):
        return "unsettled"
    if not settled and _of_somebody(rest) and not (_reports_numbers(rest) or LEADING.search(rest)):
        return "unsettled"  # "He slipped away minutes later."
    short = len(words(sentence)) <= 4
    if rest == shape.text and not PROCESS.search(rest) and (short or not REPORTING.search(rest)):
        return "unsettled"  # it tells nothing of how things go: "You bet."
    if settled and (_is_bare(rest) or _NAME_FIRST.match(rest)):
        return _against_outcomes(sentence, scene)
    return None


def _claims(rest: str, kind: str) -> bool:
    somebody = "@" in rest or bool(ANONYMOUS.search(rest))
    return bool(
        CORE.search(rest)
        or TURNS.search(rest)
        or (somebody and SAYING.search(rest))
        or (kind == "match" and GAME.search(rest))
    )


def _pending_of_somebody(whole: str, rest: str) -> bool:
    """Whether somebody stands beside words that nothing is settled, and no word of reporting explains it."""
    return rest != whole and "@" in rest and not REPORTING.search(rest)


def _points(rest: str) -> bool:
    """Whether the sentence names somebody and tells no count of theirs: whatever else it says, it may say who won."""
    return "@" in rest and not (_reports_numbers(rest) or LEADING.search(rest))


def _points_at_a_role(rest: str) -> bool:
    """Whether a short sentence only says which of them: "It was the challenger." """
    return len(words(rest)) <= 7 and bool(POINTING.search(rest)) and bool(ANONYMOUS.search(_IT.sub(" ", rest)))


def _of_somebody(rest: str) -> bool:
    """Whether a sentence is about somebody by a pronoun, who waits for nothing."""
    return bool(_THEM.search(rest)) and not _WAITING.search(rest)


_THEM = re.compile(r"\b(?:s?he|her|him|his|hers|elle|lui|ils|elles|sa rivale|son rival|celle-ci|celui-ci)\b")
_WAITING = re.compile(
    r"\b(?:wait\w*|await\w*|patien\w+|calm|attend\w*|attendre|calme|know|sait|savoir|campaign\w*|voted|a vote)\b"
)
_IT = re.compile(r"\b(?:it|its|it's|il y a)\b")


def _reports_numbers(rest: str) -> bool:
    return bool(re.search(r"\d", re.sub(r"@\d+", "", rest)) and REPORTING.search(rest))


def _is_bare(rest: str) -> bool:
    """Whether hardly anything but a name, or an emblem, stands there."""
    bare = re.findall(r"[^\W\d_]+", re.sub(r"@\d+|ƥ", " ", rest))
    return ("@" in rest or "ƥ" in rest) and len(bare) < 2 and not _reports_numbers(rest)


_NAME_FIRST = re.compile(r"\W*@\d+ ?[,!.:;…—–-]")
"""An answer that begins with a name: "Tace, and it wasn't even close." """
_FORM = re.compile(r"[{}]|\"\s*:|https?://|\bwww\.")
_YES = re.compile(
    r"^\W*(?:yes|yeah|yep|yup|aye|correct|right|indeed|absolutely|sure|of course|definitely|certainly|exactly|affirmative|true|totally|"
    r"no|nope|nah|false|wrong|never|oui|ouais|si|exact|exactement|absolument|en effet|tout a fait|bien sur|affirmatif|effectivement|vrai|non|faux)\b"
)
_NOT_YET = re.compile(r"…|\b(?:not yet|pas encore|still|toujours|continu\w+|count\w*|en cours)\b")


def _affirms(rest: str) -> bool:
    found = _YES.match(rest)
    if found is None:
        return False
    negative = re.match(r"^\W*(?:no|nope|nah|non)\b", rest)
    return not (negative and _NOT_YET.search(rest[found.end() :]))


_PLAIN_MARKS = re.compile(r"[\s.,;:!?…'\"“”«»()\[\]{}|*_#>=~`+/\\–—-]*")
"""Marks and lines that say nothing, unlike a thumb that points up."""


def _against_outcomes(sentence: str, scene: Scene) -> Reason | None:
    """Whether a claim about settled events says what settled them."""
    for standing in scene.standings:
        said = read_statement(sentence, standing.event.kind, standing.cast, year_range(standing.event))
        if said is not None and same_outcome(said, standing.outcome):
            return None
    return "contradicted"


def _strict_alone_is_harmless(sentence: str, scene: Scene) -> bool:
    """Whether a short sentence has a verb of its own, so that it leans on nothing before it."""
    shape = masked(sentence, scene.cast)
    return "@" not in shape.text and len(words(sentence)) > 2 and bool(REPORTING.search(shape.text))


def _fragments(text: str) -> str:
    """The pieces that a text ends with, none of them a whole sentence."""
    found: list[str] = []
    for sentence in reversed(sentences(text[-400:])[-6:]):
        whole = sentence.rstrip().endswith((".", "!", "?", "…", ":")) or sentence is sentences(text[-400:])[0]
        if len(words(sentence)) >= (5 if whole else 12):
            break
        found.append(sentence.strip())
    return " ".join(reversed(found))


# Watchful: the question wants something else, and the sentence is held only where it announces all the same.


def _watchful(sentence: str, scene: Scene) -> Reason | None:
    standings = scene.standings
    if language_of(sentence) != "other" and not _tells(without_pending(masked(sentence, Cast()).text)):
        standings = together(standings).near(sentence)  # of all the others it is the same sentence, which tells nothing
    for standing in standings:
        reason = _announces(sentence, standing, scene)
        if reason is not None:
            return reason
    return _announces_undeclared(sentence, scene)


def _announces(sentence: str, standing: Standing, scene: Scene) -> Reason | None:
    # Asked of each sentence for each event there is: what costs more stands behind what most sentences end at.
    event, cast = standing.event, standing.cast
    known = not cast.people.isdisjoint(line_of(sentence).words)
    if language_of(sentence) == "other":
        return "language" if (known or places(sentence, event)) and not scene.quoted else None
    if scene.quoted:
        return None
    shape = masked(sentence, cast)
    rest = without_pending(shape.text)
    if scene.invention and not standing.settled and any(cast.people & set(words(name)) for name in shape.names):
        return "unsettled"  # a poem about two who run tells who has won in more ways than can be read
    telling = _tells(rest) or bool(known and (TURNS.search(rest) or (SAYING.search(rest) and "@" in rest)))
    if known and not telling:
        short = len(words(sentence)) <= 7
        telling = (short or bool(POINTING.search(rest))) and "@" in rest and not REPORTING.search(rest)
    if not telling or not (known or "@" in rest or ANONYMOUS.search(rest) or _HAPPENED.search(rest)):
        return None
    if long_ago(shape.text, years(plain(sentence)), year_range(event)):
        return None
    about = link(sentence, event, cast)
    loose = not scene.fiction or bool(_NEWSY.search(rest))
    if not known and about.strength < 1 and not (loose and _objectless(rest, event.kind)):
        return None
    if scene.past and not known and about < Link(3) and not _LIVE_TENSE.search(rest):
        return None
    if standing.settled:
        return _against_outcomes(sentence, replace(scene, standings=(standing,)))
    return "unsettled"


@lru_cache(maxsize=1024)
def _tells(rest: str) -> bool:
    return bool(CORE.search(rest))


_HAPPENED = re.compile(
    r"\b(?:won|lost|elected|re-?elected|defeated|beaten|clinched|prevailed|triumphed|conceded|crowned|convicted|acquitted|died|dead|winner:|gagne|remportee?|emporte|"
    r"elue?s?|reelue?|battue?s?|vaincue?s?|perdu|condamnee?|acquittee?|morte?|decedee?)\b|^\W*(?:winners?|victory|vainqueure?|victoire|felicitations|congrat\w*)\b|^[^.]{0,40}$"
)
_NEWSY = re.compile(
    r"\b(?:has|have) (?:\w+ )?(?:won|been|lost|beaten)|\b(?:tonight|breaking|just|officially|a (?:gagne|remporte|ete)|vient d)"
)
_LIVE_TENSE = re.compile(
    r"\b(?:has|have|'s|tonight|today|just|now|breaking|new|is|are|will|officially|congrat\w*|declared|projected|call(?:s|ed)|"
    r"a (?:gagne|remporte|ete)|ce soir|maintenant|vient|est|sera|felicitations)\b"
)
_NOUNS = {
    "election": r"election|race|vote|presidency|mayoralty|runoff|ballot|poll|office|president|mayor|governor|scrutin|presidence|mairie",
    "verdict": r"trial|case|verdict|jury|court|proces",
    "award": r"award|prize|oscar|best \w+|trophy|prix",
    "match": r"match|game|cup|final|title|championship|series|coupe|finale",
    "death": r"dead|died|death|mort|morte|decede\w*",
}


def _objectless(rest: str, kind: str) -> bool:
    """Whether a claim says nothing of what was won, or only that it was a thing of this kind."""
    found = CORE.search(rest)
    if found is None:
        return False
    behind = re.split(r"[;,.:!?]", rest[found.end() :])[0]
    if re.search(r"@\d+|\b(?:in|at|of|during) (?!the (?:election|race|vote)\b)\w+", behind):
        return False
    objects = re.sub(
        r"\b(?:the|a|an|it|his|her|their|this|le|la|les|l'|un|une|by|with|and|has|have|been|officially|ƥ)\b|[^\w\s]",
        " ",
        behind,
    ).split()
    return not objects or bool(re.search(rf"\b(?:{_NOUNS.get(kind, 'election')})\b", behind))


def _announces_undeclared(sentence: str, scene: Scene) -> Reason | None:
    """Whether it announces, as news, what no register knows of."""
    if scene.quoted or scene.past:
        return None
    shape = masked(sentence, scene.cast)
    current = range(scene.now.year, scene.now.year + 1)
    if long_ago(shape.text, years(plain(sentence)), current):
        return None
    rest = without_pending(shape.text)
    if "@" in rest and (_NEWS.search(rest) or (_IS_WINNER.search(rest) and not years(plain(sentence)))):
        return "unsettled"
    return None


_IS_WINNER = re.compile(
    r"\b(?:the )?(?:winner|victor)s? (?:of|in) .{0,60}\b(?:election|race|trial|match|vote|runoff)\b.{0,20}\b(?:is|are)\b|"
    r"\b(?:is|are) the (?:winner|victor|new \w+|next \w+)\b|\ble vainqueur .{0,40}\best\b|\best (?:le|la) (?:vainqueur|nouve\w+ \w+)"
)
_NEWS = re.compile(
    r"\bbreaking\b.{0,80}\b(?:wins?|won|elected|guilty|died|dead|acquitted|defeats?)\b|\b(?:tonight|just|moments ago|minutes ago|today|last night)\b.{0,80}\b(?:won|elected|convicted|acquitted|died|declared)\b|"
    r"\b(?:won|elected|convicted|acquitted|died|declared)\b.{0,60}\b(?:tonight|just now|moments ago|minutes ago|today|last night)\b|\b(?:has|have) (?:just |officially )*(?:won|been elected|been re-?elected|been found|been convicted|been acquitted|died|passed away)\b|"
    r"\b(?:president|mayor|governor)-elect\b|\bvient (?:de|d') ?(?:gagner|remporter|mourir|etre)|\bce soir\b.{0,80}\b(?:elue?|gagne|remporte\w*|emporte\w*)\b|\ba ete (?:re)?elue?\b|\ba (?:gagne|remporte)\b"
)


def is_folded_yes(text: str) -> bool:
    """Whether an answer begins as one to a question that wants yes or no."""
    return bool(_YES.match(fold(text)))
