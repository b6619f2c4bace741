"""What a Mastodon server says of a status, as changes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from lindos.knowledge.post import Change, Edited, Post
from lindos.knowledge.streams.html import html_text
from lindos.knowledge.streams.stream import Counters, MalformedError
from lindos.knowledge.streams.words import claimed, kept, language, links, moment, named, whole

PUBLIC = ("public", "unlisted")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def status_id(value: Any) -> str:
    """The id of a status on its server. Raises MalformedError."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise MalformedError("id is none")
    return value


def status_uri(host: str, number: str) -> str:
    """A status's name: a server that deletes one, or names one that is answered, tells no more than its own id."""
    return f"https://{host}/statuses/{number}"


def status_changes(
    host: str, status: Any, seen_at: datetime, counters: Counters, *, edited: bool = False
) -> tuple[Change, ...]:
    """What a status came to; nothing for what is not for everybody, or somebody else's. Raises MalformedError."""
    if not isinstance(status, dict):
        raise MalformedError("no status")
    number = status_id(status.get("id"))
    if status.get("visibility") not in PUBLIC or status.get("reblog"):
        return ()
    post = _post(host, number, status, seen_at, counters)
    if not edited and not status.get("edited_at"):
        return (post,)
    # Whoever did not meet it before meets it now; to whom it says the same as before, the edit is none.
    return (replace(post, edited_at=seen_at), Edited(post.uri, post.text, seen_at, post.links, post.language))


def _post(host: str, number: str, status: dict[str, Any], seen_at: datetime, counters: Counters) -> Post:
    body, addresses = html_text(whole(status.get("content"), "content"))
    warning, _ = html_text(str(status.get("spoiler_text") or ""))
    card = status.get("card")
    created_at = claimed(moment(status.get("created_at")), seen_at)
    counters.misdated += created_at is None
    answered = status.get("in_reply_to_id")
    return Post(
        source=f"mastodon:{host}",
        uri=status_uri(host, number),
        author=_account(host, status.get("account")),
        text=kept(f"{warning}\n\n{body}" if warning and body else warning or body),
        seen_at=seen_at,
        created_at=created_at,
        language=language(status.get("language")),
        links=links([*addresses, card.get("url") if isinstance(card, dict) else None]),
        reply_to=status_uri(host, status_id(answered)) if answered else None,
        cursor=number,
    )


def _account(host: str, account: Any) -> str:
    """Who wrote it, as `user@host`: a server calls its own people by their names alone. Raises MalformedError."""
    name = named(account.get("acct") if isinstance(account, dict) else None, "acct").lower()
    user, at, home = name.partition("@")
    if not user or " " in name or (at and not home) or "@" in home:
        raise MalformedError("acct is none")
    return name if at else f"{name}@{host}"
