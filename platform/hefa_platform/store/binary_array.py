"""Numpy arrays as parameters of a statement, in PostgreSQL's binary format for arrays; psycopg dumps lists one by one.

The format: number of dimensions, whether there are nulls, the type of the elements, length and first index, and each
element as its length and big-endian bytes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.abc import AdaptContext, DumperKey, PyFormat
from psycopg.adapt import Dumper
from psycopg.postgres import types
from psycopg.pq import Format

_HEADER = np.dtype(">i4")
_NAMES: dict[type, str] = {np.int64: "int8", np.float64: "float8"}


class _ArrayDumper(Dumper):
    """One dimension of int64 or float64. NaN goes as NaN, not as null: say `nullif(value, 'NaN')` where it means none."""

    format = Format.BINARY

    def __init__(self, cls: type, context: AdaptContext | None = None, scalar: type[np.generic] = np.int64) -> None:
        super().__init__(cls, context)
        self._context, info = context, types[_NAMES[scalar]]
        self.oid, self._element_oid = info.array_oid, info.oid
        self._element = np.dtype([("size", ">i4"), ("value", np.dtype(scalar).newbyteorder(">"))])

    def get_key(self, obj: npt.NDArray[Any], format: PyFormat) -> DumperKey:
        return self.cls, obj.dtype.type

    def upgrade(self, obj: npt.NDArray[Any], format: PyFormat) -> "_ArrayDumper":
        return _ArrayDumper(self.cls, self._context, obj.dtype.type)

    def dump(self, obj: npt.NDArray[Any]) -> bytes:
        if not len(obj):
            return np.array([0, 0, self._element_oid], _HEADER).tobytes()
        elements = np.empty(len(obj), self._element)
        elements["size"], elements["value"] = obj.dtype.itemsize, obj
        return np.array([1, 0, self._element_oid, len(obj), 1], _HEADER).tobytes() + elements.tobytes()


def register(connection: psycopg.Connection[Any]) -> None:
    """Let a connection take arrays of int64 and float64 as bigint[] and double precision[]."""
    connection.adapters.register_dumper(np.ndarray, _ArrayDumper)
