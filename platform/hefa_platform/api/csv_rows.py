"""A CSV file of readings becomes rows: `tag,ts,value,quality`, one reading a line, as our own exports have it.

The first line may name the columns; then they stand in any order, quality may be missing, and others are left out.
Without it they stand in the order above. UTF-8, with or without a byte order mark. What is wrong with one line is a fault
of that row; `CsvError` is for what no line of the file could be read by.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO
from zoneinfo import ZoneInfo

from hefa_contract.envelope import GOOD
from hefa_contract.rejection import Code
from hefa_platform.api.params import instant, micros
from hefa_platform.store.entry import Fault, Row

COLUMNS = ("tag", "ts", "value", "quality")
_NEEDED = COLUMNS[:3]
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_MICROS = re.compile(r"\d{1,18}", re.ASCII)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?", re.ASCII)


class CsvError(Exception):
    """The file is no CSV of readings; the text names the line and says what to do."""


class CsvRows:
    """The rows of a file, once through. `zone` reads times without offset; without it they are faults."""

    def __init__(self, stream: BinaryIO, zone: ZoneInfo | None = None) -> None:
        """Read the first line. Raises CsvError."""
        start = stream.read(4)
        stream.seek(0)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise CsvError("the file is UTF-16: save it as UTF-8 ('CSV UTF-8' in a spreadsheet)")
        # A byte that is not UTF-8 becomes half a surrogate pair, and its row a fault.
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
        self._text = text
        self._reader = csv.reader(text, strict=True)
        self._zone = zone
        self.ignored: list[str] = []
        """Columns that the file has besides ours."""
        self._places: dict[str, int] = dict(zip(COLUMNS, range(len(COLUMNS)), strict=True))
        self._width = 0
        self._pending = self._begin()

    def __iter__(self) -> Iterator[Row]:
        """Every line as a row, in order; raises CsvError where the rest cannot be told apart."""
        if self._pending is not None:
            yield self._row(self._reader.line_num, self._pending)
        for line in self._lines():
            yield self._row(self._reader.line_num, line)

    def release(self) -> None:
        """Leave the stream open to whoever gave it."""
        self._text.detach()

    def _begin(self) -> list[str] | None:
        """Find the columns; returns the first line where it is a reading already."""
        first = next(self._lines(), None)
        if first is None:
            raise CsvError("the file is empty: it needs lines of tag,ts,value,quality")
        names = [cell.strip().lower() for cell in first]
        if len(first) == 1:
            for mark, name in ((";", "semicolons"), ("\t", "tabs")):
                if mark in first[0]:
                    raise CsvError(
                        f"line {self._reader.line_num}: the columns are separated by {name}; "
                        "separate them by commas, and write numbers with a decimal point"
                    )
        if not {*names} & {*COLUMNS}:
            if len(first) not in (3, 4):
                raise CsvError(
                    f"line {self._reader.line_num} has {len(first)} columns and names none of them: "
                    "write tag,ts,value,quality, or name the columns in the first line"
                )
            return first
        lacking = [name for name in _NEEDED if name not in names]
        if lacking:
            raise CsvError(f"line {self._reader.line_num} names the columns but not {' and '.join(lacking)}")
        twice = sorted({name for name in names if name in COLUMNS and names.count(name) > 1})
        if twice:
            raise CsvError(f"line {self._reader.line_num} names {twice[0]} twice")
        self._places = {name: place for place, name in enumerate(names) if name in COLUMNS}
        self.ignored = [cell.strip()[:60] for cell, name in zip(first, names, strict=True) if name not in COLUMNS][:50]
        self._width = len(first)
        return None

    def _lines(self) -> Iterator[list[str]]:
        while True:
            try:
                line = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise CsvError(f"line {self._reader.line_num}: {error} (is a quotation mark not closed?)") from None
            if line:
                yield line

    def _row(self, number: int, cells: Sequence[str]) -> Row:
        if self._width:
            fits, wanted = len(cells) == self._width, f"{self._width} columns, like the first line"
        else:
            fits, wanted = len(cells) in (3, 4), "tag,ts,value and, where you like, quality"
        found = {name: cells[place].strip() if place < len(cells) else "" for name, place in self._places.items()}
        tag, ts, value, quality = (found.get(name, "") for name in COLUMNS)
        raw = Row(number, tag, ts, value, quality)
        if not fits:
            return raw._replace(fault=Fault(Code.SCHEMA, f"the line has {len(cells)} columns, not {wanted}"))
        if any("\ud800" <= ch <= "\udfff" for ch in "".join(cells)):
            return raw._replace(fault=Fault(Code.PAYLOAD_NOT_UTF8, "the line is not UTF-8"))
        at = self._time(ts)
        if isinstance(at, Fault):
            return raw._replace(fault=at)
        grade = GOOD if not quality else int(quality) if _MICROS.fullmatch(quality) else None
        if grade is None:
            return raw._replace(ts=at, fault=Fault(Code.SCHEMA, "quality is 192 good, 64 uncertain, 0 bad, or empty"))
        amount = _number(value)
        if isinstance(amount, Fault):
            return raw._replace(ts=at, quality=grade, fault=amount)
        return Row(number, tag, at, amount, grade)

    def _time(self, text: str) -> int | Fault:
        if _MICROS.fullmatch(text):
            return int(text)
        if self._zone is not None and _LOCAL.fullmatch(text):
            return _local(text, self._zone)
        return time_of(text)


def time_of(text: object) -> int | Fault:
    """A time as people write it, in µs since the epoch."""
    try:
        return micros(instant(text))
    except ValueError as error:
        return Fault(Code.TS_NOT_INTEGER, f"ts {error}")


def _local(text: str, zone: ZoneInfo) -> int | Fault:
    read = time_of(f"{text}Z")
    if isinstance(read, Fault):
        return read
    wall = datetime.fromtimestamp(read // 1_000_000, UTC).replace(tzinfo=None)
    both = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    if both[0] != both[1]:
        exists = both[0].astimezone(zone).replace(tzinfo=None) == wall
        word = "comes twice" if exists else "does not exist"
        return Fault(Code.TS_NOT_INTEGER, f"ts {word} in {zone.key}, where clocks change: write it with an offset")
    return micros(both[0]) + read % 1_000_000


def _number(text: str) -> float | Fault | None:
    if not text:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    if text.lower().lstrip("+-") == "nan":
        return Fault(Code.VALUE_NAN, "NaN is no value: leave the value empty, with quality 0")
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        return Fault(Code.VALUE_RANGE, "infinity is no value")
    if _COMMA.fullmatch(text):
        return Fault(Code.VALUE_TYPE, "value has a decimal comma: write a decimal point")
    return Fault(Code.VALUE_TYPE, "value must be a number (a state is its numeric code)")
