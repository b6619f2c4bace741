"""Names in a text, and the text with its names masked, so that patterns can speak of "somebody" and "the place"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from lindos.assistant.settlement.event import Event
from lindos.assistant.settlement.words import fold, is_loud, plain, word_list, words

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
        plain_words = COMMON - _capital_parts(every)
        return Cast(self.places, frozenset(found - self.places - plain_words), every, self.sources)


def _capital_parts(names: Iterable[str]) -> frozenset[str]:
    """Common words that are the last part of a name of several, as in Florian Won."""
    ends = (name.split()[-1] for name in names if len(name.split()) > 1 and not name.isupper())
    return frozenset(fold(word) for word in ends if word[:1].isupper()) & COMMON


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
    while parts and fold(parts[0]) in COMMON - (_FIRST_NAMES if len(parts) > 1 else frozenset()):
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
    def parts(self) -> list[str]:
        """Its words: Vieux-Lac has two."""
        return words(self.folded) or [self.folded]

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
    # What of a cast does not stand in the text changes nothing: most events of a register have a sentence in common.
    present = words_of(text)
    return _masked(text, Cast(cast.places & present, cast.people & present, (), cast.sources & present), first)


@lru_cache(maxsize=4096)
def words_of(text: str) -> frozenset[str]:
    """The words by which a text is compared with casts."""
    tokens = _tokens(plain(text).replace("@", " ").replace("ƥ", " "))
    return frozenset((*words(text), *(word for token in tokens for word in (token.folded, *token.parts))))


@lru_cache(maxsize=8192)
def _masked(text: str, cast: Cast, first: bool) -> Masked:
    text = plain(text).replace("@", " ").replace("ƥ", " ")
    tokens = _tokens(text)
    loud = _is_loud(tokens)
    parts: list[str] = []
    names: list[str] = []
    at = index = 0
    while index < len(tokens):
        token = tokens[index]
        end = _name_end(tokens, index, cast, loud, text)
        if end == index + 1 == 1 and not first and token.folded not in cast.people:
            end = index
        if end > index:
            mark = f"{_OPEN}{len(names)}{_CLOSE}"
            names.append(text[token.start : tokens[end - 1].end])
        elif _is_place(token, cast):
            mark, end = _PLACE, index + 1
        else:
            mark, end = text[token.start : token.end], index + 1
        parts += [text[at : token.start], mark]
        at, index = tokens[end - 1].end, end
    parts.append(text[at:])
    return Masked(_unmarked(fold("".join(parts))), tuple(names))


# Of the private use area, which folding leaves alone.
_OPEN, _CLOSE, _PLACE = "\ue000", "\ue001", "\ue002"


def _unmarked(text: str) -> str:
    """Names as `@0`, the place as `ƥ`: once where it stands together."""
    text = re.sub(f"{_OPEN}(\\d+){_CLOSE}", r"@\1", text).replace(_PLACE, "ƥ")
    text = re.sub(r"(?<=\w)(?=[@ƥ])|(?<=ƥ)(?=[\w@])|(@\d+)(?=[^\W\d_])", r"\1 ", text)
    return re.sub(r"ƥ(?:[\s\-]+ƥ)+", "ƥ", " ".join(text.split()))


# Words that an event's name has in common with what is said of any event.
_ORDINARY = COMMON | _PARTICLES


def _is_loud(tokens: list[_Token]) -> bool:
    """Whether a text is written in capitals altogether, which then tell nothing."""
    return is_loud("".join(token.shown for token in tokens if token.shown.isalpha()))


def _name_end(tokens: list[_Token], index: int, cast: Cast, loud: bool, text: str) -> int:
    """Where the name that begins at `index` ends; `index` itself where none begins."""
    end = index
    if _is_first_name(tokens, index, loud) and _is_name(tokens[index + 1], cast, loud):
        end = index + 1
    while end < len(tokens):
        token = tokens[end]
        if end > index and not re.fullmatch(r"[\s.\-–&]*", text[tokens[end - 1].end : token.start]):
            break
        if _is_name(token, cast, loud):
            end += 1
            continue
        if (
            end > index
            and token.capital
            and not loud
            and not _titled(tokens)
            and token.folded in COMMON
            and _ends_name(tokens, end)
        ):
            end += 1  # Florian Won
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


def _titled(tokens: list[_Token]) -> bool:
    """Whether a text is written as a headline, where verbs have capitals, too."""
    longer = [token for token in tokens if len(token.shown) > 3]
    return sum(token.capital for token in longer) > 0.7 * len(longer)


def _ends_name(tokens: list[_Token], at: int) -> bool:
    """Whether the word at `at` is no title or office that merely follows a name."""
    return tokens[at].folded not in _OFFICES and tokens[at - 1].end + 1 == tokens[at].start


_OFFICES = word_list("honorifics") | word_list("organisations") | word_list("places")


def _behind_particles(tokens: list[_Token], at: int) -> int:
    """Behind the `van der` of a name."""
    while at < len(tokens) and tokens[at].folded in _PARTICLES - {"and", "et", "of", "the"}:
        at += 1
    return at


_FIRST_NAMES = frozenset(
    ["may", "april", "june", "august", "win", "will", "mark", "chase", "drew", "grant", "sue", "bill", "pat", "dawn"]
)


def _is_first_name(tokens: list[_Token], index: int, loud: bool) -> bool:
    """Whether a common word stands as somebody's first name: May Winter."""
    token = tokens[index]
    if loud or token.folded not in _FIRST_NAMES or not token.capital or index + 1 >= len(tokens):
        return False
    return tokens[index + 1].start == token.end + 1 and tokens[index + 1].folded not in COMMON


def _is_name(token: _Token, cast: Cast, loud: bool) -> bool:
    word = token.folded
    if word in cast.people:
        return word not in COMMON or (token.capital and not loud)
    parts = token.parts
    if all(part in cast.places or part in cast.sources or part in COMMON for part in parts) or not word[:1].isalpha():
        return False
    if any(part in cast.people for part in parts):
        return True
    return not loud and token.capital


def _is_place(token: _Token, cast: Cast) -> bool:
    parts = token.parts
    return all(part in cast.places for part in parts) and not all(part in _ORDINARY for part in parts)


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
