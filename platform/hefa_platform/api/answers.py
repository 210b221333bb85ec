"""The same answer as JSON or as CSV, as the caller accepts, and not at all where the caller has it already.

An answer is named by its content (ETag): late data that rewrote a range changes its name, and nothing else does.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from hefa_platform.api.params import rfc3339

CSV = "text/csv"
_CHUNK = 65_536
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The caller has this answer already (If-None-Match)"}
}

# OpenAPI: the 200 of a route that also speaks CSV.
OR_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {CSV: {"schema": {"type": "string"}}}, "description": "The answer; CSV with `Accept: text/csv`"}
}
# … and whose answers are named.
NAMED: dict[int | str, dict[str, Any]] = OR_CSV | _UNCHANGED

Table = tuple[Sequence[str], Iterable[Sequence[object]]]  # columns and rows


def wants_csv(request: Request) -> bool:
    """Whether the caller prefers CSV to JSON (RFC 9110, 12.5.1). No preference means JSON."""
    accepted = request.headers.get("accept", "*/*")
    return quality(accepted, CSV) > quality(accepted, "application/json")


def quality(accepted: str, media_type: str) -> float:
    """The q that an Accept header gives a media type, by the most specific range; 0 when it is not accepted."""
    best, found = -1, 0.0
    for item in accepted.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        rank = {media_type: 2, media_type.partition("/")[0] + "/*": 1, "*/*": 0}.get(name, -1)
        if rank <= best:
            continue
        q = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        try:
            best, found = rank, float(q)
        except ValueError:
            continue
    return found


def named(request: Request, name: str, content: Mapping[str, object], table: Callable[[], Table]) -> Response:
    """`content` as JSON or, where the caller prefers it, `table()` as CSV file `name`; 304 where the caller has it."""
    body = msgspec.json.encode(content)
    as_csv = wants_csv(request)
    # Weak: compressed on the way or not, it says the same.
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}{"-csv" if as_csv else ""}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    if as_csv:
        return to_csv(name, *table(), headers=headers)
    return Response(body, 200, headers, "application/json")


def plain(column: npt.NDArray[np.float64]) -> list[float | None]:
    """A column as it is answered: None where it is NaN, nothing known."""
    found: list[float | None] = column.tolist()
    for k in np.flatnonzero(np.isnan(column)).tolist():
        found[k] = None
    return found


def to_csv(
    name: str, columns: Sequence[str], rows: Iterable[Sequence[object]], headers: Mapping[str, str] | None = None
) -> Response:
    """A CSV file called `name`: one header line, CRLF, times as RFC 3339 with Z, an absent value empty.

    Rows are taken as the caller reads: however long the answer, little of it is in memory.
    """
    disposition = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(_lines(columns, rows), 200, {**disposition, **(headers or {})}, f"{CSV}; charset=utf-8")


def _lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        if out.tell() > _CHUNK:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def _has(if_none_match: str, tag: str) -> bool:
    """Whether the header names this answer (RFC 9110, 13.1.2: compared weakly)."""
    told = [item.strip().removeprefix("W/") for item in if_none_match.split(",")]
    return "*" in told or tag.removeprefix("W/") in told


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    # A spreadsheet would run such a text as a formula.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
