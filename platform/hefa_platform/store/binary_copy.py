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


def pack(tag: Ints, ts: Ints, value: Floats, quality: Ints, position: Ints | None = None) -> bytes:
    """Pack columns (tag_id integer, ts timestamptz, value double, quality smallint[, position integer]).

    `ts` is µs since 1970; NaN is stored as null, and such rows come last, because theirs are shorter.
    """
    empty = np.isnan(value)
    if not empty.any():
        return _HEADER + _rows(tag, ts, value, quality, position) + _TRAILER
    some, none = ~empty, empty
    parts = [
        _rows(tag[at], ts[at], values, quality[at], None if position is None else position[at])
        for at, values in ((some, value[some]), (none, None))
    ]
    return _HEADER + b"".join(parts) + _TRAILER


def _rows(tag: Ints, ts: Ints, value: Floats | None, quality: Ints, position: Ints | None) -> bytes:
    layout = [*_FIXED, *(_VALUE if value is not None else []), *_QUALITY, *(_POSITION if position is not None else [])]
    rows = np.empty(len(tag), dtype=layout)
    rows["fields"] = 4 if position is None else 5
    rows["tag_n"], rows["tag"] = 4, tag
    rows["ts_n"], rows["ts"] = 8, ts - _EPOCH_2000_US
    rows["value_n"] = -1 if value is None else 8
    if value is not None:
        rows["value"] = value
    rows["quality_n"], rows["quality"] = 2, quality
    if position is not None:
        rows["position_n"], rows["position"] = 4, position
    return rows.tobytes()
