"""Post: one record for whatever people publish, and what may happen to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Post:
    """Something a person or an organisation published, as it stands now."""

    source: str
    """The stream it came by: `bluesky`, `mastodon:HOST`, `feed:URL`, `hackernews`, `file:NAME`, ..."""
    uri: str
    """Its name, the same wherever it is met."""
    author: str
    """Who wrote it, as the source knows them for good: a DID, `user@host`, a feed's host, a user's name."""
    text: str
    seen_at: datetime
    """When we first met it, on our clock: the only time that nobody else can choose."""
    created_at: datetime | None = None
    """When it claims to have been written."""
    edited_at: datetime | None = None
    """When we saw it change last."""
    deleted_at: datetime | None = None
    """When we learned that it was taken back; its text is gone from then on."""
    handle: str = ""
    """What the author is called, where that differs from `author` and may change: a Bluesky handle."""
    language: str = ""
    """As the post claims it (`en`); empty where it claims none."""
    links: tuple[str, ...] = ()
    reply_to: str | None = None
    """The URI of the post it answers."""
    cursor: str | None = None
    """Its place in the stream it came by."""

    @property
    def name(self) -> str:
        """The author for people."""
        return self.handle or self.author


@dataclass(frozen=True, slots=True)
class Edited:
    """A post says something else from now on."""

    uri: str
    text: str
    at: datetime
    links: tuple[str, ...] = ()
    language: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """A post was taken back, perhaps before we met it."""

    uri: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TakenDown:
    """All of an author's posts were taken back: the account is gone, suspended or taken down."""

    author: str
    at: datetime
    source: str = ""
    """Only posts of this source; empty: wherever the author wrote."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """An author goes by another handle from now on, for old posts too."""

    author: str
    handle: str
    at: datetime


Change = Post | Edited | Deleted | TakenDown | Renamed
"""Something a stream tells. A Post whose URI is known already is met again: the text kept is the first one's, unless
an Edited came; one that was deleted stays so."""
