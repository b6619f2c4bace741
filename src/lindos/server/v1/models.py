"""`GET /v1/models` and `/v1/models/{id}`."""

from __future__ import annotations

from fastapi import APIRouter

from lindos.server.service import ALIAS, ServiceOf
from lindos.server.v1.replies import ModelList, ModelReply

router = APIRouter(tags=["v1"])


@router.get("/v1/models")
async def list_models(service: ServiceOf) -> ModelList:
    """The bare model by its name, and the assistant, which alone is known while the model loads."""
    names = [service.model.info.name, ALIAS] if service.model.ready else [ALIAS]
    return ModelList(data=[_reply(service, name) for name in dict.fromkeys(names)])


@router.get("/v1/models/{name}")
async def one_model(name: str, service: ServiceOf) -> ModelReply:
    """One of them."""
    service.check_model(name, ready=False)
    return _reply(service, name)


def _reply(service: ServiceOf, name: str) -> ModelReply:
    return ModelReply(id=name, created=service.started, owned_by="lindos")
