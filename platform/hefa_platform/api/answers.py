"""The same answer as JSON or as CSV, as the caller accepts."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from fastapi import Request
from starlette.responses import Response

from hefa_platform.api.params import rfc3339

CSV = "text/csv"

# OpenAPI: the 200 of a route that also speaks CSV.
OR_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {CSV: {"schema": {"type": "string"}}}, "description": "The answer; CSV with `Accept: text/csv`"}
}


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


def to_csv(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A CSV file called `name`: one header line, CRLF, times as RFC 3339 with Z, an absent value empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(out.getvalue(), 200, headers, f"{CSV}; charset=utf-8")


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    # A spreadsheet would run such a text as a formula.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
