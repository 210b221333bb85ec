"""A file of readings, entered as a whole: by REST and by the command line, with the same report.

A rehearsal (`dry_run`) takes every row the whole way and rolls it back, so that it says what would happen by what does.
A file may be sent again after any failure: what is there is recognised by tag and time.
"""

import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Annotated, BinaryIO, cast
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.datastructures import UploadFile

from hefa_contract.envelope import MAX_TS
from hefa_platform.api.csv_rows import CsvError, CsvRows
from hefa_platform.api.guard import Engineer, of_this_site
from hefa_platform.api.params import Answer, Asked, moment, zone
from hefa_platform.api.problems import Problem, invalid, responses
from hefa_platform.store import entry as store
from hefa_platform.store.database import Database
from hefa_platform.store.entry import Entry, Rules, TagTally, Tally

PATH = "/v1/import"
router = APIRouter(tags=["readings"])

_IN_MEMORY = 1 << 20  # bytes of an upload; more goes to a temporary file
_HOUR_US = 3_600_000_000
QUIET = 1 << 20  # bytes of a file so small that progress need not be shown


class RefusedRow(Answer):
    """A line that went to quarantine, and why."""

    line: int
    tag: str
    code: str
    detail: str


class TagRows(Answer):
    """The rows of one tag."""

    tag: str
    rows: int
    new: int
    duplicate: int
    conflict: int
    refused: int
    from_: Annotated[datetime | None, Field(serialization_alias="from")]
    to: datetime | None


class Recomputed(Answer):
    """What the rollups have passed already and is computed anew: clock hours of tags, from the first to the last."""

    hours: int
    from_: Annotated[datetime | None, Field(serialization_alias="from")]
    to: datetime | None


class Report(Answer):
    """What became of the rows of a file, or would: rows = new + duplicate + conflict + refused."""

    dry_run: bool
    rows: int
    new: int
    duplicate: Annotated[int, Field(description="There already, or twice in the file, with the same value and quality")]
    conflict: Annotated[int, Field(description="Another value came first: it stays, this one is kept beside it")]
    refused: Annotated[int, Field(description="Rows that go to quarantine")]
    refused_by_code: dict[str, int]
    refused_rows: Annotated[list[RefusedRow], Field(description="The first 200 of them")]
    from_: Annotated[datetime | None, Field(serialization_alias="from", description="The earliest time in the file")]
    to: Annotated[datetime | None, Field(description="The latest")]
    tags: Annotated[list[TagRows], Field(description="The first 200 tags by name")]
    tags_total: int
    unknown_tags: Annotated[
        list[str], Field(description="Nobody knew them: what is stored of them is outside the plant model")
    ]
    ignored_columns: list[str]
    recomputed: Recomputed


class ImportFailed(Exception):
    """The rest of the file cannot be read. The text says why, and what was entered before."""


def run(
    database: Database,
    rules: Rules,
    stream: BinaryIO,
    *,
    name: str,
    by: str,
    tz: ZoneInfo | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    insist: Callable[[Callable[[], None]], None] = lambda work: work(),
) -> Report:
    """Enter the rows of a CSV file called `name`, 20,000 in a transaction, for the key `by`; audited.

    `progress` is told how many rows are done. What needs the database is called by `insist`, as often as it likes until
    it raises no `Unavailable`. Raises ImportFailed, and `Unavailable`: enter the file once more.
    """
    try:
        rows = CsvRows(stream, tz)
    except CsvError as error:
        raise ImportFailed(f"{error}. Nothing was entered.") from None
    epoch = f"import-{secrets.token_hex(16)}"
    entry = Entry(database, rules, source=f"import {name}", epoch=epoch, rehearsal=dry_run)
    if not dry_run:
        insist(lambda: store.audit(database, by, "readings.import", name, {"epoch": epoch}))
    try:
        waiting = iter(rows)
        while part := list(islice(waiting, store.ROWS)):
            insist(partial(entry.put, part))
            progress(entry.tally.received)
    except CsvError as error:
        done = 0 if dry_run else entry.tally.received
        before = f"The {done:,} rows before it were entered" if done else "Nothing was entered"
        raise ImportFailed(f"{error}. {before}; mend the file and import it again.") from None
    finally:
        with suppress(ValueError):
            rows.release()
    report = _report(entry.finish(), rows.ignored, dry_run)
    if not dry_run:
        counts = report.model_dump(include={"rows", "new", "duplicate", "conflict", "refused"})
        insist(lambda: store.audit(database, by, "readings.imported", name, {"epoch": epoch, **counts}))
    return report


@dataclass(frozen=True)
class _Upload:
    name: str
    file: BinaryIO


async def _upload(request: Request) -> AsyncIterator[_Upload]:
    """The file that a request brings, as its body or as the first file of a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=10) as form:
            sent = next((part for part in form.values() if isinstance(part, UploadFile)), None)
            if sent is None:
                raise invalid("body", "The form holds no file: send the CSV as its body, or as a file of the form.")
            yield _Upload((sent.filename or "upload.csv")[:150], sent.file)
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        async for chunk in request.stream():
            file.write(chunk)
        file.seek(0)
        yield _Upload("upload.csv", cast(BinaryIO, file))


class Ask(Asked):
    dry_run: Annotated[bool, Field(description="Say what would happen, and change nothing")] = False
    tz: Annotated[
        str | None, Field(max_length=64, description="IANA zone of times without offset; without it they are refused")
    ] = None


_CSV = {"type": "string", "description": "tag,ts,value,quality", "examples": ["tag,ts,value,quality\r\n"]}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}


@router.post(
    PATH,
    summary="Import a file of readings",
    responses=responses(400, 403, 413),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"text/csv": {"schema": _CSV}, "multipart/form-data": {"schema": _FORM}},
        }
    },
)
def enter(caller: Engineer, query: Annotated[Ask, Query()], upload: Annotated[_Upload, Depends(_upload)]) -> Report:
    """Enter a CSV file `tag,ts,value,quality`, by the rules that hold for gateways. Try it with `dry_run=true` first.

    Rows that cannot be stored go to quarantine and are told by line; the others are stored. The same file again changes
    nothing. Minutes and hours that were computed before are computed anew by themselves.
    """
    of_this_site(caller)
    try:
        return run(
            caller.database, caller.parts.rules, upload.file, name=upload.name, by=caller.principal.key_id,
            tz=zone(query.tz), dry_run=query.dry_run,
        )  # fmt: skip
    except ImportFailed as error:
        raise Problem(422, "csv", "Not a file of readings", str(error)) from None


def _report(tally: Tally, ignored: list[str], dry_run: bool) -> Report:
    firsts = [tag.first for tag in tally.tags.values() if tag.first is not None]
    lasts = [tag.last for tag in tally.tags.values() if tag.last is not None]
    hours, first, last = tally.recomputed() or (0, None, None)
    return Report(
        dry_run=dry_run,
        rows=tally.received,
        new=tally.stored,
        duplicate=tally.duplicate,
        conflict=tally.conflict,
        refused=tally.quarantined,
        refused_by_code=dict(sorted(tally.codes.items())),
        refused_rows=[RefusedRow(line=r.number, tag=r.tag, code=r.code, detail=r.detail) for r in tally.refused],
        from_=_moment(min(firsts, default=None)),
        to=_moment(max(lasts, default=None)),
        tags=[_tag(name, tally.tags[name]) for name in sorted(tally.tags)[: store.SHOWN]],
        tags_total=len(tally.tags),
        unknown_tags=list(tally.unknown)[: store.SHOWN],
        ignored_columns=ignored,
        recomputed=Recomputed(
            hours=hours,
            from_=_moment(None if first is None else first * _HOUR_US),
            to=_moment(None if last is None else (last + 1) * _HOUR_US),
        ),
    )


def _tag(name: str, tag: TagTally) -> TagRows:
    return TagRows(
        tag=name, rows=tag.rows, new=tag.new, duplicate=tag.duplicate, conflict=tag.conflict, refused=tag.refused,
        from_=_moment(tag.first), to=_moment(tag.last),
    )  # fmt: skip


def _moment(us: int | None) -> datetime | None:
    return None if us is None or us >= MAX_TS else moment(us)
