"""The application: routes, what guards them, and what lives as long as the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

import lindos
from lindos.assistant import Assistant, Events, personas
from lindos.knowledge import Posts
from lindos.server import errors, health, static, v1
from lindos.server.following import following
from lindos.server.meaning import understanding
from lindos.server.middleware import BodyLimit, RequestFrame
from lindos.server.page import news, routes, talk
from lindos.server.page.answers import Answers
from lindos.server.security import Guard, SecurityHeaders
from lindos.server.service import Service, StartModel
from lindos.server.settings import Settings
from lindos.server.v1.replies import ErrorReply
from lindos.storage import Conversations, Database, Responses, database_location

_REFUSALS = {
    "400": "The request cannot be served as asked",
    "401": "The key is missing or wrong",
    "403": "Not from here",
    "404": "There is no such thing",
    "409": "It does not fit what is there",
    "410": "It is no longer asked for in this way",
    "413": "The request is too large",
    "500": "Something went wrong in the server",
    "503": "The model is loading, or its queue is full",
}


def create_app(settings: Settings, start_model: StartModel) -> FastAPI:
    """The server as an ASGI application.

    `start_model` is called when it starts, in its event loop; it need not wait until the model is loaded. What raises
    there (StorageError, SpecError for a persona) keeps the application from starting.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            service = await _open(settings, start_model, stack)
            app.state.service = service
            yield
            # Before the model goes, so that answers under way are kept as interrupted.
            await service.answers.close()

    app = FastAPI(
        title="Lindos",
        version=lindos.__version__,
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    apis = (v1.chat, v1.completions, v1.responses, v1.models, v1.events)
    for router in (*apis, health.router, routes.router, talk.router, news.router):
        app.include_router(router)
    static.install(app)
    app.openapi = lambda: _schema(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=settings.body_limit)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(RequestFrame)
    app.add_middleware(SecurityHeaders)
    return app


async def _open(settings: Settings, start_model: StartModel, stack: AsyncExitStack) -> Service:
    known = personas(settings.personas)
    database = await stack.enter_async_context(await Database.open(database_location(settings.data)))
    conversations = Conversations(database)
    await conversations.recover()
    model = start_model()
    stack.push_async_callback(model.close)
    meaning = await stack.enter_async_context(understanding(database)) if settings.meaning else None
    posts = Posts(database, meaning=meaning)
    assistant = Assistant(model, known, posts, Events(database, posts))
    answers = Answers(settings, conversations)
    streams = await stack.enter_async_context(following(posts, settings.follow))
    return Service(settings, model, assistant, conversations, known, answers, Responses(database), streams=streams)


def _schema(app: FastAPI) -> dict[str, Any]:
    """The description of the API, with the errors as they are: FastAPI assumes its own."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        parts = schema.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            parts.pop(name, None)
        reply = ErrorReply.model_json_schema(ref_template="#/components/schemas/{model}")
        parts.update({**reply.pop("$defs"), "ErrorReply": reply})
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorReply"}}}
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                for status, words in _REFUSALS.items():
                    operation["responses"].setdefault(status, {"description": words, "content": content})
        app.openapi_schema = schema
    return app.openapi_schema
