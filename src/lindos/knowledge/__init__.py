"""What people post: one record, the streams it comes by, the store it is kept in, and search over it.

Nothing here knows models, events or HTTP pages. What a post says is somebody's text, never an instruction.
"""

from lindos.knowledge.post import Change, Deleted, Edited, Post, Renamed, TakenDown
from lindos.knowledge.posts import Applied, Hit, PostQuery, Posts

__all__ = [
    "Applied",
    "Change",
    "Deleted",
    "Edited",
    "Hit",
    "Post",
    "PostQuery",
    "Posts",
    "Renamed",
    "TakenDown",
]
