"""Readings as PostgreSQL's binary COPY stream, packed by numpy instead of row by row.

The format: a header, then per row the number of fields and each field as length and big-endian bytes, then -1.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH_2000_US = 946_684_800_000_000  # PostgreSQL counts from 2000-01-01, we from 1970-01-01

_FIXED = [("fields", ">i2"), ("tag_n", ">i4"), ("tag", ">i4"), ("ts_n", ">i4"), ("ts", ">i8"), ("value_n", ">i4")]
_VALUE = [("value", ">f8")]
_QUALITY = [("quality_n", ">i4"), ("quality", ">i2")]
_POSITION = [("position_n", ">i4"), ("position", ">i4")]


def pack(tag: Ints, ts: Ints, value: Floats, quality: Ints, position: Ints | None = None) -> memoryview:
    """Pack columns (tag_id integer, ts timestamptz, value double, quality smallint[, position integer]).

    `ts` is µs since 1970; NaN is stored as null, and such rows come last, because theirs are shorter.
    """
    last = _POSITION if position is not None else []
    filled, empty = np.dtype(_FIXED + _VALUE + _QUALITY + last), np.dtype(_FIXED + _QUALITY + last)
    null = np.isnan(value)
    nulls = int(np.count_nonzero(null))
    start, middle = len(_HEADER), len(_HEADER) + (len(tag) - nulls) * filled.itemsize
    end = middle + nulls * empty.itemsize
    stream = np.empty(end + len(_TRAILER), np.uint8)
    stream[:start], stream[end:] = list(_HEADER), list(_TRAILER)
    for part, kind, chosen in ((stream[start:middle], filled, ~null), (stream[middle:end], empty, null)):
        at = chosen if nulls else slice(None)
        if len(part):
            _repeat(part, _row(kind))
            _fill(part.view(kind), tag[at], ts[at], value[at], quality[at], None if position is None else position[at])
    return stream.data


def _row(kind: np.dtype[np.void]) -> npt.NDArray[np.uint8]:
    """A row of zeros: how many fields there are, and the length of each."""
    row, columns = np.zeros(1, kind), kind.names or ()
    lengths = [name for name in columns if name.endswith("_n")]
    row["fields"] = len(lengths)
    for name in lengths:
        column = name.removesuffix("_n")
        row[name] = kind[column].itemsize if column in columns else -1
    return row.view(np.uint8)


def _repeat(stream: npt.NDArray[np.uint8], row: npt.NDArray[np.uint8]) -> None:
    """Fill a stream with a row, twice as much each time: numpy sets a column to one number far more slowly."""
    done = len(row)
    stream[:done] = row
    while done < len(stream):
        more = min(done, len(stream) - done)
        stream[done : done + more] = stream[:more]
        done += more


def _fill(rows: npt.NDArray[np.void], tag: Ints, ts: Ints, value: Floats, quality: Ints, position: Ints | None) -> None:
    rows["tag"], rows["ts"], rows["quality"] = tag, ts - _EPOCH_2000_US, quality
    if "value" in (rows.dtype.names or ()):
        rows["value"] = value
    if position is not None:
        rows["position"] = position
