"""The page's own files: served from the package, revalidated on every load, never from anywhere else."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

WEB = Path(__file__).with_name("web")

router = APIRouter(include_in_schema=False)

# What a system's own table says is not to be relied on (Windows: text/plain), and browsers are told not to guess.
for _kind, _ending in (("text/javascript", ".js"), ("text/css", ".css"), ("image/svg+xml", ".svg")):
    mimetypes.add_type(_kind, _ending)


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


@router.get("/")
@router.get("/c/{conversation_id}")
async def page() -> FileResponse:
    """The page; which conversation it shows is its own business."""
    return FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})


def install(app: FastAPI) -> None:
    """Add the page and its files to `app`."""
    app.include_router(router)
    app.mount("/static", _Files(directory=WEB), name="static")
