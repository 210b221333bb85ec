"""Arrays in statements and results as numpy columns: psycopg makes an object of each element, which takes longer than
the query.

PostgreSQL's binary format for arrays: number of dimensions, whether there are nulls, the type of the elements, length
and first index, and each element as its length and big-endian bytes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.abc import AdaptContext, Buffer, DumperKey, PyFormat
from psycopg.adapt import Dumper, Loader
from psycopg.postgres import types
from psycopg.pq import Format

_HEADER = np.dtype(">i4")
_SENT: dict[type, str] = {np.int64: "int8", np.float64: "float8"}
_READ = {types["int4"].array_oid: np.int32, types["float8"].array_oid: np.float64}


class _Parameter(Dumper):
    """One dimension of int64 or float64. NaN goes as NaN, not as null: say `nullif(value, 'NaN')` where it means none."""

    format = Format.BINARY

    def __init__(self, cls: type, context: AdaptContext | None = None, scalar: type[np.generic] = np.int64) -> None:
        super().__init__(cls, context)
        self._context, info = context, types[_SENT[scalar]]
        self.oid, self._element_oid = info.array_oid, info.oid
        self._element = _element(np.dtype(scalar))

    def get_key(self, obj: npt.NDArray[Any], format: PyFormat) -> DumperKey:
        return self.cls, obj.dtype.type

    def upgrade(self, obj: npt.NDArray[Any], format: PyFormat) -> "_Parameter":
        return _Parameter(self.cls, self._context, obj.dtype.type)

    def dump(self, obj: npt.NDArray[Any]) -> bytes:
        if not len(obj):
            return np.array([0, 0, self._element_oid], _HEADER).tobytes()
        elements = np.empty(len(obj), self._element)
        elements["size"], elements["value"] = obj.dtype.itemsize, obj
        return np.array([1, 0, self._element_oid, len(obj), 1], _HEADER).tobytes() + elements.tobytes()


class _Column(Loader):
    """One dimension of numbers, none of them null: to say `coalesce(value, 'NaN')` is up to the statement."""

    format = Format.BINARY

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._number = np.dtype(_READ[oid])
        self._element = _element(self._number)

    def load(self, data: Buffer) -> npt.NDArray[Any]:
        dimensions, nulls = np.frombuffer(data, _HEADER, 2)
        if not dimensions:
            return np.empty(0, self._number)
        if dimensions > 1 or nulls:
            raise psycopg.DataError("a column is an array of one dimension without nulls")
        elements = np.frombuffer(data, self._element, offset=5 * _HEADER.itemsize)
        return elements["value"].astype(self._number)


def _element(number: np.dtype[Any]) -> np.dtype[np.void]:
    return np.dtype([("size", ">i4"), ("value", number.newbyteorder(">"))])


def as_parameters(connection: psycopg.Connection[Any]) -> None:
    """Let a connection take numpy columns of int64 and float64 as bigint[] and double precision[]."""
    connection.adapters.register_dumper(np.ndarray, _Parameter)


def as_columns(cursor: psycopg.Cursor[Any]) -> None:
    """Let a binary cursor give integer[] and double precision[] as numpy columns."""
    for oid in _READ:
        cursor.adapters.register_loader(oid, _Column)
