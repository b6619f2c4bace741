"""What somebody else's text must not bring along: marks of chat templates, and links to places nobody vouches for."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from lindos.assistant.functions import defused

_BRACKETED = "INST|SYS|IMG|ARGS|PREFIX|SUFFIX|MIDDLE|THINK|[gs]?MASK|CLS|SEP|PAD|UNK|BOS|EOS|[A-Z]+_[A-Z_]+"
_TEMPLATE = re.compile(
    r"[<＜](?=[|｜/<＜]|[^\W\d][^<>＜＞\s]{0,60}[>＞])"  # <|im_end|>, <s>, </s>, <start_of_turn>, <<SYS>>
    rf"|\[(?=/?(?:{_BRACKETED})\])|[|｜](?=[>＞])"
)
_HOST = r"(?:[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\.){1,8}(?-i:[a-z]{2,24})"
_END = r"[^\s<>()\[\]\"'“”«»`]"
_ADDRESS = re.compile(
    rf"(?:(?:[a-z][a-z0-9+.-]{{1,20}}:)?//|www\.){_END}(?:\([^\s()]*\)|{_END})*|\b{_HOST}/{_END}+", re.IGNORECASE
)
_LINK = re.compile(
    r"!?\[(?P<text>[^\[\]\n]{0,300})\](?:\(\s*<?(?P<to>[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)>?[^()\n]{0,300}\))"
)
_GONE = "\ue010"
"""Stands where an address stood, of the private use area."""
_HOLE = re.compile(rf" ?[<(]?{_GONE}[>)]?(?=[.,;:!?]|\s*$)|<{_GONE}>|\({_GONE}\)|{_GONE}")
_TAIL = ".,;:!?*_~…"


def broken(text: str) -> str:
    """A text in which nothing is a mark for a chat template or for functions: each is set off by a space."""
    return defused(_TEMPLATE.sub(lambda found: f"{found.group()} ", text))


def without_links(text: str, known: Collection[str]) -> str:
    """`text` without addresses other than the `known` ones; of a link, its words stay."""
    pages = {_page(address) for address in known}
    while (left := _with_fewer(text, pages)) != text:  # what goes may bring together what was apart
        text = left
    return text


def _with_fewer(text: str, pages: Collection[str]) -> str:
    if "/" not in text and "](" not in text and "www." not in text.casefold():
        return text
    left = _LINK.sub(lambda found: found.group() if _page(found["to"] or "") in pages else found["text"], text)
    left = _ADDRESS.sub(lambda found: _kept(found.group(), pages), left)
    return _HOLE.sub("", left) if _GONE in left else left


def links_in(text: str) -> list[str]:
    """The addresses in a text."""
    return [found.group().rstrip(_TAIL) for found in _ADDRESS.finditer(text)]


def foreign_links(text: str, known: Collection[str]) -> bool:
    """Whether a text has addresses other than the `known` ones."""
    return without_links(text, known) != text


def _kept(address: str, pages: Collection[str]) -> str:
    bare = address.rstrip(_TAIL)
    return address if _page(bare) in pages else _GONE + address[len(bare) :]


def _page(address: str) -> str:
    """An address as it is compared."""
    address = address.strip().rstrip(_TAIL)
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}?{parts.query}#{parts.fragment}"
