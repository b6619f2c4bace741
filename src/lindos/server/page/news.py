"""The page's API: what is new since it looked last."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from lindos.knowledge import PostQuery
from lindos.server.page.routes import MessageId
from lindos.server.page.shown import Shown
from lindos.server.page.views import MessageView
from lindos.server.service import Service, ServiceOf
from lindos.storage import NotFound

router = APIRouter(prefix="/api", tags=["page"])


class PostsView(BaseModel):
    count: int
    newest: datetime | None
    """When the newest one was seen."""


class StreamView(BaseModel):
    name: str
    live: bool
    words: str
    """How it is doing."""


class News(BaseModel):
    posts: PostsView | None
    """None where no posts are known of."""
    streams: list[StreamView]
    """Those that this server follows itself; other processes may follow more into the same store."""
    marks: dict[int, str]
    """Of the conversation's answers that rest on posts or events; one that differs is worth another look."""


@router.get("/news")
async def news(service: ServiceOf, conversation: Annotated[str, Query(pattern="^([0-9a-f]{32})?$")] = "") -> News:
    """How many posts there are, and whether something became of what a conversation's answers rest on."""
    return News(
        posts=await _posts(service),
        streams=[StreamView.model_validate(stream, from_attributes=True) for stream in service.streams],
        marks=await _marks(service, conversation) if conversation else {},
    )


@router.get("/messages/{message_id}")
async def message(message_id: MessageId, service: ServiceOf) -> MessageView:
    """One message as it may be shown now."""
    thread = await service.conversations.branch(message_id)
    return await service.shown.message(thread.messages[-1], thread.versions[message_id])


async def _posts(service: Service) -> PostsView | None:
    posts = service.assistant.posts
    if posts is None:
        return None
    count = await posts.count()
    newest = await posts.search(PostQuery(limit=1)) if count else []
    return PostsView(count=count, newest=newest[0].post.seen_at if newest else None)


async def _marks(service: Service, conversation: str) -> dict[int, str]:
    try:
        thread = await service.conversations.thread(conversation)
    except NotFound:
        return {}  # deleted meanwhile
    shown: Shown = service.shown
    return await shown.marks(thread)
