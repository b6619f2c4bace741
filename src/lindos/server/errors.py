"""Every error as one object: `{"error": {message, type, param, code}}`, as OpenAI's clients read it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response

from lindos.assistant import EngineError, QueueFull, RequestError
from lindos.specs import nearest
from lindos.storage import NotFound, StorageError

log = logging.getLogger("lindos.server")

INVALID = "invalid_request_error"
RETRY_SECONDS = 2
_OURS = ("unknown_parameter", "unsupported_parameter", "invalid_parameter")
_CODES = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "forbidden"),
    404: (INVALID, "not_found"),
    405: (INVALID, "method_not_allowed"),
    409: (INVALID, "conflict"),
    410: (INVALID, "gone"),
    413: (INVALID, "request_too_large"),
    500: ("server_error", "internal_error"),
    503: ("server_error", "unavailable"),
}


class ApiError(HTTPException):
    """An answer other than success, thrown from wherever it is found out."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        kind, usual = _CODES.get(status, (INVALID, None))
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code or usual}}

    def response(self) -> Response:
        """The error as a response."""
        return json_response(self.body, self.status_code, self.headers)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that can always be written, also where a client's half surrogate pair is quoted back."""
    return Response(json.dumps(content, separators=(",", ":")), status, headers, media_type="application/json")


def public_words(fault: Exception) -> str:
    """The first line of what went wrong. What the engine's process wrote before it died is for the log alone."""
    first, _, rest = str(fault).partition("\n")
    if rest:
        log.error("%s", fault)
    return first.removesuffix("; the last it wrote:")


def as_api_error(error: Exception) -> ApiError:
    """What a client is told about `error`. What is nobody's business is logged and answered with 500."""
    match error:
        case ApiError():
            return error
        case QueueFull():
            wait = {"Retry-After": str(RETRY_SECONDS)}
            return ApiError(503, str(error), code="queue_full", headers=wait)
        case RequestError():
            code = "context_length_exceeded" if error.too_long else None
            return ApiError(400, str(error), param=error.param, code=code)
        case EngineError():
            wait = {"Retry-After": str(RETRY_SECONDS)}
            return ApiError(503, public_words(error), code="model_unavailable", headers=wait)
        case NotFound():
            return ApiError(404, str(error))
        case StorageError():
            log.error("%s", error)
            words = "conversations cannot be read or saved just now; the server's log says why"
            return ApiError(503, words, code="storage_unavailable", headers={"Retry-After": str(RETRY_SECONDS)})
        case StarletteHTTPException():
            return ApiError(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _invalid(error)
    log.error("unexpected error", exc_info=error)
    return ApiError(500, "something went wrong in the server; its log says more")


def install(app: FastAPI) -> None:
    """Have all errors of `app` answered in this shape."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, StarletteHTTPException) and not isinstance(error, ApiError):
            # The framework's own words are two at most.
            words = {404: "there is nothing at {path}", 405: "{path} does not take {method}"}
            message = words.get(error.status_code, error.detail).format(path=request.url.path, method=request.method)
            error = ApiError(error.status_code, message, headers=error.headers)
            if error.status_code == 405:
                error.headers = {**(error.headers or {}), **_allow(app, request.url.path)}
        return as_api_error(error).response()

    for kind in (EngineError, NotFound, StorageError, StarletteHTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)


def _allow(app: FastAPI, path: str) -> dict[str, str]:
    """The Allow header of a path, over all its routes: the framework only looks at the first that fits."""
    for pattern, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
            return {"Allow": ", ".join(sorted(method.upper() for method in operations))}
    return {}


def _invalid(error: RequestValidationError) -> ApiError:
    """One finding as a sentence; `param` is its path in the request."""
    # Where pydantic tried several types, it went deepest into the one that was meant.
    finding = max(error.errors(), key=lambda item: (item["type"] in _OURS, len(item["loc"])))
    kind, context = finding["type"], finding.get("ctx") or {}
    where = [str(part) for part in finding["loc"][1:] if not _branch_of_union(str(part))]
    if kind == "json_invalid":
        return ApiError(400, f"the body is not JSON: {context.get('error', 'unreadable')}")
    if "param" in context:
        where.append(context["param"])
    param = ".".join(where) or None
    if kind == "unknown_parameter":
        close = nearest(context["param"], context["known"])
        message = f"unknown parameter '{param}'" + (f"; did you mean '{close}'?" if close else "")
    elif kind in _OURS:
        message = finding["msg"]
    else:
        message = f"{param or 'the body'}: {finding['msg'][:1].lower()}{finding['msg'][1:]}"
    status = 404 if finding["loc"][0] == "path" else 400
    return ApiError(status, message, param=param, code=kind if kind in _OURS else None)


def _branch_of_union(part: str) -> bool:
    """Pydantic names the branch it tried ("str", "list[...]", a class): no part of the client's path."""
    return "[" in part or part in ("str", "int", "float", "bool", "constrained-str") or part[:1].isupper()
