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
    for rows, chosen in ((stream[start:middle].view(filled), ~null), (stream[middle:end].view(empty), null)):
        at = chosen if nulls else slice(None)
        if len(rows):
            _fill(rows, tag[at], ts[at], value[at], quality[at], None if position is None else position[at])
    return stream.data


def _fill(rows: npt.NDArray[np.void], tag: Ints, ts: Ints, value: Floats, quality: Ints, position: Ints | None) -> None:
    names = rows.dtype.names or ()
    rows["fields"] = 4 if position is None else 5
    rows["tag_n"], rows["tag"] = 4, tag
    rows["ts_n"], rows["ts"] = 8, ts - _EPOCH_2000_US
    if "value" in names:
        rows["value_n"], rows["value"] = 8, value
    else:
        rows["value_n"] = -1
    rows["quality_n"], rows["quality"] = 2, quality
    if position is not None:
        rows["position_n"], rows["position"] = 4, position
