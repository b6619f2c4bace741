"""Names in a text, and the text with its names masked, so that patterns can speak of "somebody" and "the place"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lindos.assistant.settlement.event import Event
from lindos.assistant.settlement.words import fold, plain, word_list, words

_TOKEN = re.compile(r"[^\W_]+(?:['’\-–][^\W_]+)*")
_VERSUS = re.compile(
    r"((?:[^\W\d_][\w'’-]*\s+){0,3}[^\W\d_][\w'’-]*)\s+(?:v\.?|vs\.?|versus|against|contre|–|—|-)\s+"
    r"((?:[^\W\d_][\w'’-]*\s+){0,3}[^\W\d_][\w'’-]*)(?=$|[^\w'’-])",
    re.IGNORECASE,
)
_PARTICLES = word_list("particles")

# Words that begin with a capital for other reasons than being somebody's name.
COMMON = word_list("common")
ORGANISATION = word_list("organisations")
PLACE_AFTER = word_list("places")


@dataclass(frozen=True)
class Cast:
    """Who and what an event is about, as far as it is known: what a name in a text may stand for."""

    places: frozenset[str] = frozenset()
    """Folded words of the event's own name: its place, its office."""
    people: frozenset[str] = frozenset()
    """Folded words of the names of those it may end well for."""
    names: tuple[str, ...] = ()
    """Those names in full, as they are written."""
    sources: frozenset[str] = frozenset()
    """Folded words of those that may settle it."""

    def with_people(self, names: Iterable[str]) -> Cast:
        """The cast with further people; what belongs to the event's own name stays the place."""
        kept = [name for name in names if set(words(name)) - self.places - self.sources]
        every = tuple(dict.fromkeys((*self.names, *kept)))
        found = {word for name in every for word in words(name) if word not in _PARTICLES and len(word) > 1}
        return Cast(self.places, frozenset(found - self.places - COMMON), every, self.sources)


def cast_of(event: Event) -> Cast:
    """What the register itself says of an event's cast."""
    competitors = [_trimmed(name) for phrase in event.phrases for pair in _VERSUS.findall(phrase) for name in pair]
    rivals = {word for name in competitors for word in words(name)} - COMMON
    own = {word for phrase in (*event.phrases, event.jurisdiction) for word in words(phrase)}
    sources = {word for entry in event.authoritative for word in words(entry.replace(".", " ").replace("_", " "))}
    cast = Cast(frozenset(own - rivals), frozenset(), (), frozenset(sources))
    return cast.with_people([*competitors, event.outcome] if event.outcome else competitors)


def _trimmed(name: str) -> str:
    """A competitor without the common words around it: `Doul presidential runoff` is about Doul."""
    parts = name.split()
    while parts and fold(parts[0]) in COMMON:
        parts.pop(0)
    while (
        parts and fold(parts[-1]) in COMMON - ORGANISATION and fold(parts[-1]) not in ("club", "team", "city", "united")
    ):
        parts.pop()
    return " ".join(parts)


@dataclass(frozen=True)
class Masked:
    """A sentence, folded, with `@0`, `@1`, ... for names, `ƥ` for words of the event's own name."""

    text: str
    names: tuple[str, ...] = field(default=())

    @property
    def people(self) -> bool:
        return bool(self.names)


@dataclass(frozen=True)
class _Token:
    shown: str
    folded: str
    start: int
    end: int

    @property
    def capital(self) -> bool:
        return self.shown[:1].isupper() or (
            self.shown[:2].casefold() in ("d'", "l'", "d’", "l’") and self.shown[2:3].isupper()
        )


def _tokens(text: str) -> list[_Token]:
    found = []
    for match in _TOKEN.finditer(text):
        shown = match.group()
        head = re.match(r"(?:[cdjlmnstCDJLMNST]|[Qq]u)['’](?=\w)", shown)
        if head:  # l'Ashdown, d'Orlin: the name is what follows
            found.append(_Token(head.group(), fold(head.group()), match.start(), match.start() + head.end()))
            rest = shown[head.end() :]
            found.append(_Token(rest, fold(rest), match.start() + head.end(), match.end()))
            continue
        tail = re.search(r"['’]s?$", shown)
        if tail and tail.start():
            found.append(
                _Token(shown[: tail.start()], fold(shown[: tail.start()]), match.start(), match.start() + tail.start())
            )
            continue
        found.append(_Token(shown, fold(shown), match.start(), match.end()))
    return found


def masked(text: str, cast: Cast, *, first: bool = True) -> Masked:
    """`text` with its names masked. A name is a run of words with capitals that are not common ones, or of words of
    people that are known. Without `first`, a lone capital at the very beginning tells nothing."""
    text = plain(text).replace("@", " ").replace("ƥ", " ")
    tokens = _tokens(text)
    loud = _is_loud(tokens)
    parts: list[str] = []
    names: list[str] = []
    at = 0
    index = 0
    while index < len(tokens):
        end = _name_end(tokens, index, cast, loud, text)
        token = tokens[index]
        parts.append(text[at : token.start])
        if end == index + 1 == 1 and not first and token.folded not in cast.people:
            end = index
        if end > index:
            parts.append(f" @{len(names)} ")
            names.append(text[token.start : tokens[end - 1].end])
            at, index = tokens[end - 1].end, end
            continue
        parts.append(
            " ƥ " if token.folded in cast.places and token.folded not in _ORDINARY else text[token.start : token.end]
        )
        at = token.end
        index += 1
    parts.append(text[at:])
    folded = " ".join(" ".join(fold(part) if "@" not in part else part for part in parts).split())
    return Masked(_tidy(folded), tuple(names))


def _tidy(text: str) -> str:
    """Places that stand together as one, and punctuation back at its word."""
    text = re.sub(r"ƥ(?:\s+ƥ)+", "ƥ", text)
    return re.sub(r" (?=[.,;:!?'…])", "", text)


# Words that an event's name has in common with what is said of any event.
_ORDINARY = COMMON | _PARTICLES


def _is_loud(tokens: list[_Token]) -> bool:
    """Whether a text is written in capitals altogether, which then tell nothing."""
    letters = "".join(token.shown for token in tokens if token.shown.isalpha())
    return len(letters) > 8 and sum(c.isupper() for c in letters) > 0.7 * len(letters)


def _name_end(tokens: list[_Token], index: int, cast: Cast, loud: bool, text: str) -> int:
    """Where the name that begins at `index` ends; `index` itself where none begins."""
    end = index
    while end < len(tokens):
        token = tokens[end]
        if end > index and not re.fullmatch(r"[\s.\-–&]*", text[tokens[end - 1].end : token.start]):
            break
        if _is_name(token, cast, loud):
            end += 1
            continue
        following = _behind_particles(tokens, end) if end > index else end
        if following > end and following < len(tokens) and _is_name(tokens[following], cast, loud):
            end = following
            continue
        break
    if (
        end > index
        and end < len(tokens)
        and tokens[end].folded in PLACE_AFTER
        and text[tokens[end - 1].end : tokens[end].start] == " "
    ):
        return index  # Harlow County, Seventh District
    if end > index and any(token.folded in ORGANISATION for token in tokens[index:end]):
        return index
    return end


def _behind_particles(tokens: list[_Token], at: int) -> int:
    """Behind the `van der` of a name."""
    while at < len(tokens) and tokens[at].folded in _PARTICLES - {"and", "et", "of", "the"}:
        at += 1
    return at


def _is_name(token: _Token, cast: Cast, loud: bool) -> bool:
    word = token.folded
    if word in cast.people:
        return True
    if word in cast.places or word in cast.sources or word in COMMON or not word[:1].isalpha():
        return False
    return not loud and token.capital


def names_in(text: str, cast: Cast) -> tuple[str, ...]:
    """The names in a text that may be those of people or teams."""
    return masked(text, cast).names


def same_name(one: str, other: str) -> bool:
    """Whether two names may be of the same one: equal, or one the last (or a middle) part of the other."""
    first, second = _bare(one), _bare(other)
    if not first or not second:
        return False
    short, long = sorted((first, second), key=len)
    return long[-len(short) :] == short or (len(short) == 1 and short[0] in long) or set(short) == set(long)


def _bare(name: str) -> list[str]:
    plain = re.sub(r"['’]s?\b", "", name)
    kept = [word for word in words(plain) if word not in _HONORIFICS]
    return [word for word in kept if word not in ("the", "la", "le", "les")] or kept


_HONORIFICS = word_list("honorifics")
