"""Subject: what a question about the world wants to hear of, and which posts speak of it."""

from __future__ import annotations

from collections.abc import Sequence

from lindos.knowledge import Post
from lindos.knowledge.words import STOP_WORDS, words

_ASKING = frozenset(
    words(
        """
        people folks users everybody anybody say says said saying post posts posted posting think thinks thinking
        talk talking write writing latest news new trending happening happens going tell show find search look
        today tonight now bluesky mastodon twitter gens dit disent dire pense pensent penser parle parlent ecrit
        ecrivent message messages publication publications actualite actualites derniere dernieres dernier
        derniers nouvelle nouvelles nouveau quoi neuf passe aujourd'hui soir maintenant cherche trouve montre
        """
    )
)
"""Words that ask, and tell nothing of what is asked about."""


def subject_of(question: str) -> str:
    """The words of a question that tell what it is about; none where it only asks what is new."""
    return " ".join(dict.fromkeys(_telling(question)))


def speaking_of(posts: Sequence[Post], subject: str) -> list[Post]:
    """The posts that have at least half as many words of the subject as the one that has most.

    A search ranks whatever has one of the words; what is quoted to somebody should be about what they asked. Posts that
    were found by what they mean alone have none of the words, and stay.
    """
    wanted = set(_telling(subject))
    shares = [len(wanted & set(words(post.text))) for post in posts]
    most = max(shares, default=0)
    return [post for post, share in zip(posts, shares, strict=True) if 2 * share >= most or not share]


def _telling(text: str) -> list[str]:
    found = words(text)
    return [word for word in found if word not in STOP_WORDS and word not in _ASKING]
