"""Every error of the API, in one place and one form: application/problem+json (RFC 9457).

A `detail` is a sentence that tells what to do. Routes raise; only this module builds error bodies.
"""

import difflib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from hefa_platform.access import Forbidden, TooMany, Unauthenticated
from hefa_platform.store.database import Refused, SchemaMissing, TimedOut, Unavailable

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5


class Problem(Exception):
    """A refusal with its status. `code` is stable and made for programs, `detail` is made for people."""

    def __init__(self, status: int, code: str, title: str, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status, self.code, self.title, self.detail, self.more = status, code, title, detail, more

    @property
    def headers(self) -> dict[str, str]:
        """A service that is not free says when to ask again."""
        return {"Retry-After": str(RETRY_AFTER_S)} if self.status == 503 else {}


def invalid(where: str, detail: str, code: str = "invalid") -> Problem:
    """422: the value of the parameter `where` cannot be answered."""
    return Problem(422, code, "Invalid request", detail, errors=[{"where": where, "detail": detail}])


def not_found(what: str, name: str, known: Iterable[str] = ()) -> Problem:
    """404 with the names that come nearest to the one asked for."""
    near = nearest(name, known)
    advice = f" Did you mean {' or '.join(near)}?" if near else ""
    return Problem(404, f"{what}-unknown", f"Unknown {what}", f"There is no {what} {name!r}.{advice}", near=near)


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three of `known` that resemble `name`, the most alike first."""
    folded = {candidate.lower(): candidate for candidate in known}
    return [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.6)]


def install(app: FastAPI) -> None:
    """Answer every exception that can reach the app as a problem."""
    app.add_exception_handler(Exception, _unexpected)
    for kind in (
        Problem, RequestValidationError, HTTPException, Unauthenticated, Forbidden, TooMany, Refused, Unavailable,
    ):  # fmt: skip
        app.add_exception_handler(kind, _expected)


def render(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that says `problem`."""
    body: dict[str, object] = {
        "type": f"urn:hefa:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": _printable(problem.detail),
    }
    for key, value in problem.more.items():
        body[key] = _printable(value)
    return Response(msgspec.json.encode(body), problem.status, dict(headers or {}), MEDIA_TYPE)


async def _expected(request: Request, error: Exception) -> Response:
    problem, headers = describe(error)
    allowed = _allowed(request) if problem.status == 405 else ""
    return render(problem, {**headers, "Allow": allowed} if allowed else headers)


def _allowed(request: Request) -> str:
    """The methods of a path. What Starlette says are those of one route, and each of ours knows one method."""
    paths: dict[str, dict[str, object]] = request.app.openapi()["paths"]
    found = {
        method.upper()
        for path, operations in paths.items()
        if compile_path(path)[0].match(request.url.path)
        for method in operations
    }
    return ", ".join(sorted(found | {"HEAD"} if "GET" in found else found))


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs the traceback; the caller learns nothing of our insides.
    logger.error("bug method=%s path=%s error=%r", request.method, request.url.path, type(error).__name__)
    return render(
        Problem(500, "bug", "Internal error", "This is our fault: please report it with the time and the URL.")
    )


def describe(error: Exception) -> tuple[Problem, dict[str, str]]:
    """The one mapping from an exception to what the caller sees, with headers."""
    match error:
        case Problem():
            return error, error.headers
        case RequestValidationError():
            return _unreadable(error.errors()), {}
        case Unauthenticated():
            return Problem(401, "key", "Key needed", str(error)), {"WWW-Authenticate": 'Bearer realm="hefa"'}
        case Forbidden():
            return Problem(403, "role", "Not allowed", str(error)), {}
        case TooMany():
            wait = max(1, math.ceil(error.retry_after_s))
            detail = f"{error}: wait {wait} s. Ask for several tags in one request."
            return Problem(429, "rate", "Too many requests", detail), {"Retry-After": str(wait)}
        case TimedOut():
            detail = "The database did not finish in time: ask for a shorter range, fewer tags or a larger step."
            return _away(Problem(503, "timeout", "Took too long", detail))
        case SchemaMissing():
            detail = "The database is not set up: run 'hefa-platform migrate' and 'hefa-platform load', then ask again."
            return _away(Problem(503, "schema", "Not set up", detail))
        case Unavailable():
            detail = f"The database is away: ask again in {RETRY_AFTER_S} s. Nothing was lost."
            return _away(Problem(503, "unavailable", "Database away", detail))
        case Refused():
            return Problem(422, "refused", "Invalid request", "The database cannot hold a value that was sent."), {}
        case HTTPException():
            return _http(error), dict(error.headers or {})
    raise error


def _away(problem: Problem) -> tuple[Problem, dict[str, str]]:
    return problem, problem.headers


def _unreadable(errors: Sequence[Any]) -> Problem:
    """What pydantic found, one line each; the values sent are not repeated."""
    found = []
    for error in errors:
        where = ".".join(str(part) for part in error["loc"])
        text = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            text = "is not a parameter of this request"
        found.append({"where": where, "detail": text})
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem(400, "json", "Not JSON", "The body is not JSON.", errors=found)
    detail = "; ".join(f"{item['where'].partition('.')[2] or item['where']}: {item['detail']}" for item in found)
    return Problem(422, "invalid", "Invalid request", detail[:2000], errors=found[:20])


def _http(error: HTTPException) -> Problem:
    match error.status_code:
        case 404:
            return Problem(404, "path", "Not found", "There is nothing at this path: /docs lists what there is.")
        case 405:
            return Problem(405, "method", "Method not allowed", "This path does not know that method; see Allow.")
        case 400:
            return Problem(400, "json", "Not JSON", "The body cannot be read as JSON.")
        case 413:
            return Problem(413, "too-large", "Body too large", str(error.detail))
    return Problem(error.status_code, "http", "Refused", str(error.detail))


def _printable(value: object) -> object:
    """Texts without lone surrogates, which no UTF-8 can say."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    return value


SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "description": "What went wrong, and what to do (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Stable name of the kind of problem", "examples": ["urn:hefa:problem:tag-unknown"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that tells what to do"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"where": {"type": "string"}, "detail": {"type": "string"}}},
        },
        "near": {"type": "array", "items": {"type": "string"}, "description": "Known names that resemble the unknown one"},
    },
}  # fmt: skip

_MEANING = {
    400: "The body is not JSON",
    401: "No key, or one that is unknown, expired or revoked",
    403: "The key's role or site does not allow this",
    404: "No such thing, or not for this key",
    409: "Contradicts what is there",
    413: "The body is too large",
    422: "A parameter cannot be answered; the detail says what is allowed",
    429: "This key or address asks too often; see Retry-After",
    503: "The database is away or took too long; see Retry-After",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route behind a key: the problems any of them has, and `statuses`."""
    return {
        status: {
            "description": _MEANING[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({401, 422, 429, 503, *statuses})
    }
