"""Evidence: the posts an answer may rest on, and whether one carries what a sentence says."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lindos.assistant.basis import Source
from lindos.assistant.ordinary import is_ordinary
from lindos.assistant.settlement.names import COMMON, Cast, names_in
from lindos.assistant.settlement.standing import Standing
from lindos.assistant.settlement.words import fold, plain, words
from lindos.knowledge import Post

_NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f ]\d{3})*(?:[.,]\d+)?")
_SPELLED = {
    word: str(number)
    for spelled in (
        "zero two three four five six seven eight nine ten eleven twelve",
        "zero deux trois quatre cinq six sept huit neuf dix onze douze",
    )
    for number, word in zip((0, *range(2, 13)), spelled.split(), strict=True)
}


def source_of(post: Post, *, authoritative: bool = False) -> Source:
    """A post as an answer keeps it."""
    return Source(
        uri=post.uri,
        url=url_of(post),
        author=post.name,
        text=post.text,
        created_at=post.created_at,
        seen_at=post.seen_at,
        authoritative=authoritative,
    )


def url_of(post: Post) -> str:
    """Where a person can look at a post; empty where it has no such place."""
    found = re.fullmatch(r"at://(did:[a-z0-9:._%-]+)/app\.bsky\.feed\.post/([A-Za-z0-9._~-]+)", post.uri)
    if found:
        return f"https://bsky.app/profile/{found.group(1)}/post/{found.group(2)}"
    if re.fullmatch(r"https?://[^\s<>\"']+", post.uri):
        return post.uri
    return next((link for link in post.links if post.source.startswith("feed:") and link.startswith("https://")), "")


def sources_of_events(standings: Iterable[Standing]) -> list[Source]:
    """The posts that events stand by: calls that support the outcome, then counts."""
    posts: dict[str, Post] = {}
    for standing in standings:
        for call in standing.supporting if standing.settled else ():
            posts.setdefault(call.post.uri, call.post)
        for count in standing.counts:
            posts.setdefault(count.post.uri, count.post)
    return [source_of(post, authoritative=True) for post in posts.values()]


def needs_support(sentence: str, cast: Cast) -> bool:
    """Whether a sentence says something of the world that a post has to carry: a name or a number."""
    return bool(numbers_in(sentence)) or bool(_names(sentence, cast))


def names_somebody(text: str, cast: Cast) -> bool:
    """Whether a name of a value in a form is somebody's: somebody known, or no ordinary word with a capital."""
    return not cast.people.isdisjoint(words(text)) or any(
        not is_ordinary(word) for name in names_in(text, cast) for word in words(name)
    )


def carries(text: str, sentence: str, cast: Cast) -> bool:
    """Whether `text` has every name and every number of `sentence`."""
    return numbers_in(sentence) <= numbers_in(text) and carries_names(text, sentence, cast)


def carries_names(text: str, sentence: str, cast: Cast) -> bool:
    """Whether `text` has every name of `sentence`."""
    line = f" {' '.join(words(text))} "
    return all(_carries_name(line, name) for name in _names(sentence, cast))


def _carries_name(line: str, name: str) -> bool:
    parts = [word for word in words(name) if word not in COMMON]
    return all(
        f" {part} " in line
        or f" {part}s " in line
        or f" {part}'s " in line
        or (len(part) > 5 and f" {part[:-2]}" in line)
        for part in parts
    )


def _names(sentence: str, cast: Cast) -> list[str]:
    """Names, but for an ordinary word that has its capital as the first of its sentence."""
    found = list(names_in(sentence, cast))
    if (
        found
        and is_ordinary(fold(found[0]))
        and plain(sentence).lstrip(" \"'“«(-—*").startswith(found[0])
        and fold(found[0]) not in cast.people
    ):
        found.pop(0)
    return found


def numbers_in(text: str) -> set[str]:
    """Numbers, however their thousands and decimals are marked."""
    found = set()
    for number in _NUMBER.findall(plain(text)):
        digits = re.sub(r"[.,\u00a0\u202f ](?=\d{3}(?:\D|$))", "", number).replace(",", ".")
        found.add(digits.rstrip("0").rstrip(".") if "." in digits else digits)
    found |= {_SPELLED[word] for word in words(text) if word in _SPELLED}
    return found
