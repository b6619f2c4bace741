"""Whom a request asks, the assistant or the bare model, and what each of them can be asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import Request as HttpRequest

from lindos.assistant import DEFAULT_PERSONA, Ask, Grammar, RequestError, Sampling, SearchWish
from lindos.assistant.model import Truncate
from lindos.server.errors import ApiError
from lindos.server.service import ALIAS, Service
from lindos.server.v1.choices import Submit
from lindos.server.v1.speech import Spoken, Structure
from lindos.specs import Message, nearest


class Asker(Protocol):
    """What every request says of whom it asks."""

    @property
    def model(self) -> str: ...

    @property
    def persona(self) -> str | None: ...

    @property
    def language(self) -> str | None: ...

    @property
    def label(self) -> str | None: ...


@dataclass(frozen=True)
class Asked:
    """Questions to one of them: how they are put, and by whom."""

    conversations: Sequence[Sequence[Message]]
    """Or to the bare model, `prompts`."""
    choices: int
    """Answers to each."""
    sampling: Callable[[int], Sampling]
    """Of choice number ..."""
    client: str
    prompts: Sequence[str] = ()
    search: SearchWish = field(default_factory=SearchWish)
    truncate: Truncate = "never"
    priority: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)
    """What the request calls the parameters that the engine names in its refusals."""


def client_of(request: HttpRequest, body: Asker) -> str:
    """Whose request it is, among whom the engine is shared evenly: the user it names, else where it comes from."""
    if body.label:
        return f"user {body.label}"
    return f"address {request.client.host}" if request.client else ""


def asks_assistant(service: Service, body: Asker, bare_only: Sequence[str] = (), searched: str | None = None) -> bool:
    """Whether a request is for the assistant. Raises ApiError for what the one that it asks does not have.

    `bare_only` are parameters in use that the assistant has not, `searched` one that the bare model has not.
    """
    service.check_model(body.model)
    if body.model == ALIAS:
        if bare_only:
            words = f"the assistant has no '{bare_only[0]}': ask the bare model, model='{service.model.info.name}'"
            raise ApiError(400, words, param=bare_only[0], code="unsupported_parameter")
        if body.persona is not None and body.persona not in service.personas:
            close = nearest(body.persona, service.personas) or DEFAULT_PERSONA
            raise ApiError(400, f"there is no persona '{body.persona}'; did you mean '{close}'?", param="persona")
        return True
    for name in ("persona", "language"):
        if getattr(body, name) is not None:
            raise ApiError(400, f"'{name}' is the assistant's: ask model='{ALIAS}'", param=name)
    if searched is not None:
        raise ApiError(400, f"posts are searched by the assistant: ask model='{ALIAS}'", param=searched)
    return False


def submitter(service: Service, body: Asker, asked: Asked) -> Submit:
    """Has the answers begun: those to the first conversation or prompt, then to the next."""
    ours = body.model == ALIAS

    async def begin(number: int) -> Spoken:
        place, choice = divmod(number, asked.choices)
        sampling = asked.sampling(choice)
        ways = {"priority": asked.priority, "client": asked.client}
        if not ours and asked.prompts:
            return await service.model.submit(prompt=asked.prompts[place], sampling=sampling, **ways)
        messages = asked.conversations[place]
        if not ours:
            return await service.model.submit(messages, sampling=sampling, truncate=asked.truncate, **ways)
        return await service.assistant.answer(
            Ask(
                messages=tuple(messages),
                persona=body.persona or DEFAULT_PERSONA,
                sampling=sampling,
                search=asked.search,
                language=body.language or "",
                truncate=asked.truncate,
                **ways,
            )
        )

    async def submit(number: int) -> Spoken:
        with renaming(asked.renamed):
            return await begin(number)

    return submit


@contextmanager
def renaming(names: Mapping[str, str]) -> Iterator[None]:
    """Has a RequestError name the parameter as the request does."""
    try:
        yield
    except RequestError as error:
        param = names.get(error.param or "", error.param)
        raise RequestError(str(error), param=param, too_long=error.too_long) from None


def structure_of(wanted: Grammar | None) -> Structure:
    """What the words of an answer in that format are; a refusal is told by being something else."""
    if wanted is None or wanted.kind != "json_schema":
        return ""
    schema = json.loads(wanted.text)
    return "object" if schema.get("type") == "object" else "json"
