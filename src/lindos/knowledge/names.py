"""Names of authors: which of them a request for somebody's posts means.

This decides who is authoritative, so names are compared by what they are, never by how they look: nothing is normalised
but ASCII case and a leading @, and what is not shaped like a host or an account is only ever equal to itself.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_NAME = 500
"""Characters of a place; longer names have a digest for one, because databases do not index texts of any length."""

# One label of a host: letters and digits of any script, hyphens and underscores. Dots that are none in ASCII (U+3002,
# U+FF0E) are no letters, so they cannot pass for the dot before a domain.
_LABEL = r"[^\W_](?:[\w-]*[^\W_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_USER = re.compile(r"[\w.+-]+")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@dataclass(frozen=True, slots=True)
class Places:
    """What names were asked for: their places, and ranges [low, high) of places, for domains."""

    equal: tuple[str, ...]
    ranges: tuple[tuple[str, str], ...]


def place(name: str) -> str:
    """Where a name stands in the order of names, so that names of one domain stand together; equal for equal names.

    Hosts are turned round (`desk.example` is `example.desk`), accounts stand under the host they are at
    (`@example.desk@user`), everything else stands by itself behind `=`.
    """
    if _is_id(name):
        return _short("=" + name)
    name = name.removeprefix("@").translate(_LOWER)
    user, at, host = name.rpartition("@")
    if not _HOST.fullmatch(host) or len(name) >= LONGEST_NAME:
        return _short("=" + name)
    turned = ".".join(reversed(host.split(".")))
    if not at:
        return turned
    return f"@{turned}@{user}" if _USER.fullmatch(user) else _short("=" + name)


def handle_place(handle: str) -> str | None:
    """The place of a handle. None where it can be nobody's: empty, or somebody's id, which no handle stands for."""
    return None if not handle or _is_id(handle) else place(handle)


def places(authors: Iterable[str]) -> Places:
    """What `Posts.by` means by these authors: ids, handles, and domains (hosts of two labels or more)."""
    equal: list[str] = []
    ranges: list[tuple[str, str]] = []
    for author in authors:
        name = author.strip()
        if not _is_id(name):
            name = name.removesuffix(".")
        at = place(name)
        if at == "=":
            continue
        equal.append(at)
        if "." in at and at[0] not in "=@#":
            # '/' follows '.' and 'A' follows '@' in the order of characters.
            ranges += [(f"{at}.", f"{at}/"), (f"@{at}@", f"@{at}A")]
    return Places(tuple(dict.fromkeys(equal)), tuple(dict.fromkeys(ranges)))


def within(name_place: str | None, sought: Places) -> bool:
    """Whether a name is among those sought: what the database is asked, in Python."""
    if name_place is None:
        return False
    return name_place in sought.equal or any(low <= name_place < high for low, high in sought.ranges)


def _is_id(name: str) -> bool:
    """Whether a name is a DID, or made to look like one: the standard has them compared letter by letter."""
    return name.removeprefix("@").translate(_LOWER).startswith("did:")


def _short(name_place: str) -> str:
    if len(name_place) <= LONGEST_NAME:
        return name_place
    return "#" + hashlib.blake2b(name_place.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
