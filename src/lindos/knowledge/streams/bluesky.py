"""Bluesky's records: a post's text, its links by byte offsets, and what both Jetstreams wrap around them.

Formats: the lexicons app.bsky.feed.post, app.bsky.richtext.facet, com.atproto.sync.subscribeRepos.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lindos.knowledge.post import Change, Deleted, Edited, Post, Renamed, TakenDown
from lindos.knowledge.streams.stream import Counters, MalformedError
from lindos.knowledge.streams.words import claimed, kept, language, links, moment, named, whole

SOURCE = "bluesky"
COLLECTION = "app.bsky.feed.post"
MAX_MESSAGE = 1 << 20
"""Bytes of a message that is looked at: a record's own limit is 1 MiB of CBOR, and posts are small ones."""
PASSING = ("throttled", "desynchronized")
"""What says nothing of an account's posts; they must not be shown while it is anything else that is not active."""
UNNAMED = "handle.invalid"
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]{1,500}", re.ASCII)
_RKEY = re.compile(r"[A-Za-z0-9._:~-]{1,512}", re.ASCII)
_HANDLE = re.compile(r"(?=.{3,253}$)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+", re.ASCII)
_URI = re.compile(r"at://[^\s]{1,1990}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Told:
    """What a message says around its body."""

    did: str
    seen_at: datetime
    at: datetime
    """The server's time, never ahead of ours. Edits, renames and takedowns go by it: met again after resuming, they
    have the same, so a takedown takes nothing that the account wrote since it came back."""
    cursor: str
    source: str = SOURCE


def read_json(message: str | bytes) -> dict[str, Any]:
    """The object a message holds. Raises MalformedError."""
    if len(message) > MAX_MESSAGE:
        raise MalformedError(f"a message of {len(message):,} bytes")
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        raise MalformedError("not JSON") from None
    if not isinstance(found, dict):
        raise MalformedError("not an object")
    return found


def integer(holder: dict[str, Any], key: str) -> int:
    """A number that is one: `true` and 1.0 are none. Raises MalformedError."""
    value = holder.get(key)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise MalformedError(f"{key} is no number")
    return value


def inner(holder: dict[str, Any], key: str) -> dict[str, Any]:
    """An object within one. Raises MalformedError."""
    value = holder.get(key)
    if not isinstance(value, dict):
        raise MalformedError(f"{key} is missing")
    return value


def account_of(holder: dict[str, Any]) -> str:
    """The DID of a message. Raises MalformedError."""
    did = holder.get("did")
    if not isinstance(did, str) or not _DID.fullmatch(did):
        raise MalformedError("did is none")
    return did


def commit_changes(told: Told, commit: dict[str, Any], counters: Counters) -> tuple[Change, ...]:
    """What a commit did to a post; nothing where it is about something else. Raises MalformedError."""
    if commit.get("collection") != COLLECTION:
        return ()
    rkey = commit.get("rkey")
    if not isinstance(rkey, str) or not _RKEY.fullmatch(rkey):
        raise MalformedError("rkey is none")
    uri = f"at://{told.did}/{COLLECTION}/{rkey}"
    operation = commit.get("operation")
    if operation == "delete":
        return (Deleted(uri, told.seen_at),)
    if operation not in ("create", "update"):
        raise MalformedError("an operation that is none")
    post = _post(told, uri, inner(commit, "record"), counters)
    if operation == "create":
        return (post,)
    # Whoever did not meet the post before meets it now, as it is since the edit.
    return (replace(post, edited_at=told.at), Edited(uri, post.text, told.at, post.links, post.language))


def identity_changes(told: Told, identity: dict[str, Any]) -> tuple[Change, ...]:
    """The handle that an account claims from now on; nothing where the event names none. Raises MalformedError.

    A claim is all it is: relays may pass on a handle that nobody checked against the domain it names.
    """
    handle = identity.get("handle")
    if handle is None:
        return ()
    if handle == UNNAMED:
        return (Renamed(told.did, "", told.at),)
    if not isinstance(handle, str) or not _HANDLE.fullmatch(handle):
        raise MalformedError("a handle that is none")
    return (Renamed(told.did, handle.lower(), told.at),)


def account_changes(told: Told, account: dict[str, Any]) -> tuple[Change, ...]:
    """All of an account's posts go when it does. Raises MalformedError."""
    active = account.get("active")
    if not isinstance(active, bool):
        raise MalformedError("active is neither true nor false")
    passing = active or account.get("status") in PASSING
    return () if passing else (TakenDown(told.did, told.at),)


def _post(told: Told, uri: str, record: dict[str, Any], counters: Counters) -> Post:
    raw = whole(record.get("text"), "text")
    created_at = claimed(moment(record.get("createdAt")), told.seen_at)
    counters.misdated += created_at is None
    languages = record.get("langs")
    return Post(
        source=told.source,
        uri=named(uri, "uri"),
        author=told.did,
        text=kept(raw),
        seen_at=told.seen_at,
        created_at=created_at,
        language=language(languages[0]) if isinstance(languages, list) and languages else "",
        links=links([*_facet_links(raw, record.get("facets")), *_embed_links(record.get("embed"))]),
        reply_to=_parent(record.get("reply")),
        cursor=told.cursor,
    )


def _facet_links(text: str, facets: Any) -> list[str]:
    """Addresses that stretches of the text lead to, in the order of the text, whatever the text shows of them.

    Offsets count bytes of UTF-8. A facet that lies beyond the text, or within a character, is no facet.
    """
    data = text.encode()
    found: list[tuple[int, str]] = []
    for facet in facets if isinstance(facets, list) else []:
        start = _start(facet, data)
        features = facet.get("features") if start is not None else None
        for feature in features if isinstance(features, list) else []:
            if isinstance(feature, dict) and feature.get("$type") == "app.bsky.richtext.facet#link":
                address = feature.get("uri")
                if start is not None and isinstance(address, str):
                    found.append((start, address))
    return [address for _, address in sorted(found, key=lambda place: place[0])]


def _start(facet: Any, data: bytes) -> int | None:
    index = facet.get("index") if isinstance(facet, dict) else None
    if not isinstance(index, dict):
        return None
    start, end = index.get("byteStart"), index.get("byteEnd")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(data):
        return None
    return None if _within(data, start) or _within(data, end) else start


def _within(data: bytes, place: int) -> bool:
    """Whether a place lies inside a character: its byte continues one."""
    return place < len(data) and data[place] & 0xC0 == 0x80


def _embed_links(embed: Any) -> Iterator[Any]:
    """The page that a card under the post shows, also beside a quoted post."""
    for holder in (embed, embed.get("media") if isinstance(embed, dict) else None):
        external = holder.get("external") if isinstance(holder, dict) else None
        if isinstance(external, dict):
            yield external.get("uri")


def _parent(reply: Any) -> str | None:
    parent = reply.get("parent") if isinstance(reply, dict) else None
    uri = parent.get("uri") if isinstance(parent, dict) else None
    return uri if isinstance(uri, str) and _URI.fullmatch(uri) else None
