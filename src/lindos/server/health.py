"""Whether the server lives, and whether it can answer yet."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from lindos.server.errors import RETRY_SECONDS, ApiError, public_words
from lindos.server.service import ServiceOf

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/health")
async def health() -> Health:
    """Answers as long as the server lives, also while the model loads."""
    return Health()


@router.get("/ready")
async def ready(service: ServiceOf, response: Response) -> Health:
    """200 once the model can answer; 503 while it loads, or when it never will."""
    response.headers["Cache-Control"] = "no-store"
    model = service.model
    if model.ready:
        return Health()
    if model.fault:
        raise ApiError(503, public_words(model.fault), code="model_unavailable")
    message = f"{model.loading.message} ({model.loading.fraction:.0%})"
    raise ApiError(503, message, code="model_loading", headers={"Retry-After": str(RETRY_SECONDS)})
