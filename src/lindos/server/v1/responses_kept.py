"""Kept responses as they may be shown now, and gone on from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from lindos.assistant import Basis
from lindos.server.errors import ApiError
from lindos.server.service import Service
from lindos.server.v1.evidence import Evidence, citations_of
from lindos.server.v1.responses_input import InputItem, Item, ItemReference, SearchItem, question
from lindos.server.v1.responses_writer import found_places
from lindos.storage import NotFound, StoredResponse


async def shown(service: Service, response: StoredResponse) -> dict[str, Any]:
    """A kept response as the world stands now: without posts that are gone, marked where events have moved on."""
    whole = {**response.body, "output": copy.deepcopy(list(response.output))}
    if not response.basis:
        return whole
    part = next((part for item in whole["output"] for part in item.get("content", ())), None)
    text = "" if part is None else part.get("text", part.get("refusal", ""))
    standing = await service.assistant.standing(text, Basis.model_validate_json(response.basis))
    if part is not None and part["type"] == "output_text":
        cited = citations_of(standing.basis)
        part |= {"text": standing.text, "annotations": [one.model_dump() for one in cited]}
    elif part is not None:
        part["refusal"] = standing.text
    for item in whole["output"]:
        if item["type"] == "web_search_call" and "sources" in item["action"]:
            item["action"]["sources"] = [place.model_dump() for place in found_places(standing.basis)]
    whole["lindos"] = Evidence.of(standing.basis, standing).sent()
    return whole


async def earlier(service: Service, previous: str | None) -> list[Item]:
    """What a response is gone on from: all items before it, answers as they stand now. Raises ApiError."""
    if previous is None:
        return []
    try:
        chain = await service.responses.chain(previous)
    except NotFound as error:
        running = service.under_way.get(previous)
        hint = "; it is not finished yet" if running else "; to go on from a response, do not set store to false"
        code = "previous_response_not_found"
        raise ApiError(404, f"{error}{hint}", param="previous_response_id", code=code) from None
    items: list[Item] = []
    for response in chain:
        items += [*response.input, *(await shown(service, response))["output"]]
    return items


async def asked(service: Service, given: str | Sequence[InputItem], before: Sequence[Item]) -> list[Item]:
    """The input as items. Raises ApiError for a reference to nothing."""
    if isinstance(given, str):
        return [question(given)]
    known = {item["id"]: item for item in before}
    items: list[Item] = []
    for number, one in enumerate(given):
        match one:
            case ItemReference():
                items.append(known.get(one.id) or await _item(service, one.id, f"input.{number}.id"))
            case SearchItem():
                pass  # what was found stands in the answer
            case _:
                items.append(one.item())
    if not items:
        raise ApiError(400, "the input has nothing to answer", param="input")
    return items


async def _item(service: Service, item_id: str, param: str) -> Item:
    try:
        response = await service.responses.holding(item_id)
    except NotFound as error:
        raise ApiError(404, f"{error} to refer to", param=param) from None
    output = (await shown(service, response))["output"]
    return next(item for item in [*output, *response.input] if item["id"] == item_id)
