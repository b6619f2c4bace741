"""Answers made of posts' own words, for models too small to write about the world."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lindos.assistant.marks import broken
from lindos.assistant.settlement.wording import Told, clock_words
from lindos.knowledge import Post

MOST_QUOTED = 4
LONGEST_QUOTE = 280


def tell_posts(posts: Sequence[Post], at: datetime, language: str) -> Told:
    """What people posted, quoted with author and time."""
    french = language == "fr"
    told = Told()
    if not posts:
        told.say("Je n'ai aucun message à ce sujet." if french else "I have no posts about that.")
        return told
    told.say(
        f"À {clock_words(at)}, voici ce que je trouve :\n"
        if french
        else f"As of {clock_words(at)}, this is what I find:\n"
    )
    for post in posts[:MOST_QUOTED]:
        seen = clock_words(post.seen_at, at)
        told.say(
            f"\n- {broken(post.name)} ({'vu à' if french else 'seen'} {seen}) : « "
            if french
            else f"\n- {broken(post.name)} (seen {seen}): “"
        )
        # A call of a function that somebody posts is no call of ours, nor is what is told to a model in the next turn.
        told.cite(broken(shortened(post.text)), [post], quote=True)
        told.say(" »" if french else "”")
    return told


def shortened(text: str) -> str:
    """A post on one line, cut at a word where it is long."""
    line = " ".join(text.split())
    if len(line) <= LONGEST_QUOTE:
        return line
    cut = line[: LONGEST_QUOTE - 1]
    return (cut[: cut.rfind(" ")] if " " in cut[LONGEST_QUOTE // 2 :] else cut) + "…"
