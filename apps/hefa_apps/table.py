"""CSV answers: what is unknown is empty and never 0, times carry their offset, and no spreadsheet runs a cell."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from starlette.responses import Response, StreamingResponse


def csv_answer(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return a download called `<name>.csv`, written while it is sent."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(lines(columns, rows), media_type="text/csv; charset=utf-8", headers=headers)


def lines(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield the header and a line per row, RFC 4180."""
    for row in chain([columns], rows):
        line = io.StringIO()
        csv.writer(line).writerow([cell(value) for value in row])
        yield line.getvalue()


def cell(value: Any) -> str:
    """Return one value as text: None is empty, a time ISO 8601 with its offset, a number as exact as it is."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
