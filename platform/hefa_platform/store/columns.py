"""Arrays of a result as numpy columns: psycopg makes an object of each element, which takes longer than the query.

PostgreSQL's binary format for arrays: number of dimensions, whether there are nulls, the type of the elements, length
and first index, and each element as its length and big-endian bytes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.postgres import types
from psycopg.pq import Format

_HEADER = np.dtype(">i4")
_NUMBERS = {types["int4"].array_oid: np.int32, types["float8"].array_oid: np.float64}


class _Column(Loader):
    """One dimension of numbers, none of them null: to say `coalesce(value, 'NaN')` is up to the statement."""

    format = Format.BINARY

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._number = np.dtype(_NUMBERS[oid])
        self._element = np.dtype([("size", ">i4"), ("value", self._number.newbyteorder(">"))])

    def load(self, data: Buffer) -> npt.NDArray[Any]:
        dimensions, nulls = np.frombuffer(data, _HEADER, 2)
        if not dimensions:
            return np.empty(0, self._number)
        if dimensions > 1 or nulls:
            raise psycopg.DataError("a column is an array of one dimension without nulls")
        elements = np.frombuffer(data, self._element, offset=5 * _HEADER.itemsize)
        return elements["value"].astype(self._number)


def as_columns(cursor: psycopg.Cursor[Any]) -> None:
    """Let a binary cursor give integer[] and double precision[] as numpy arrays."""
    for oid in _NUMBERS:
        cursor.adapters.register_loader(oid, _Column)
