"""What a gateway recorded, in its own words: an append-only file that shares nothing with the program under test.

A batch is written before the outbox gets it (`meant`), and its number again once the outbox has said that it is kept
(`kept`), or that it has no room (`skipped`). After a SIGKILL between the two it may be either. One file a process, so
that a torn record is always the last one; every record carries a CRC.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hefa_contract.envelope import Envelope, decode

_HEAD = struct.Struct("<4sBIQI")  # magic, kind, readings, batch, CRC of the columns
_MAGIC = b"HFOR"
_MEANT, _KEPT, _SKIPPED = 1, 2, 3
_ROW = np.dtype([("tag", "<i4"), ("ts", "<i8"), ("value", "<f8"), ("quality", "u1")])

Rows = npt.NDArray[Any]


class Oracle:
    """The record of one process. `tag` columns are indices of `names`, which the first line of the file tells."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        os.write(self._file, "\t".join(names).encode() + b"\n")
        self._batch = 0

    def meant(self, rows: Rows) -> int:
        """Write what is about to be recorded; returns the batch's number."""
        self._batch += 1
        self._write(_MEANT, len(rows), rows.tobytes())
        return self._batch

    def kept(self) -> None:
        self._write(_KEPT, 0, b"")

    def skipped(self) -> None:
        self._write(_SKIPPED, 0, b"")

    def _write(self, kind: int, readings: int, columns: bytes) -> None:
        os.write(self._file, _HEAD.pack(_MAGIC, kind, readings, self._batch, zlib.crc32(columns)) + columns)


@dataclass
class Recorded:
    """All that the processes of one gateway recorded, `tag` an index of `names`."""

    names: list[str]
    kept: Rows
    perhaps: Rows
    """Meant, but neither kept nor skipped: a crash came between."""
    skipped: int


def rows(tag: npt.ArrayLike, ts: npt.ArrayLike, value: npt.ArrayLike, quality: npt.ArrayLike) -> Rows:
    """Columns of equal length as rows of the record."""
    made = np.empty(len(np.asarray(tag)), _ROW)
    made["tag"], made["ts"], made["value"], made["quality"] = tag, ts, value, quality
    return made


def read(paths: Sequence[Path]) -> Recorded:
    """Read the files of one gateway. ValueError where anything but the last record is damaged."""
    names: list[str] = []
    kept, perhaps, skipped = [], [], 0
    for path in paths:
        head, _, data = path.read_bytes().partition(b"\n")
        names = names or head.decode().split("\t")
        at, open_batch = 0, None
        while at + _HEAD.size <= len(data):
            magic, kind, readings, batch, crc = _HEAD.unpack_from(data, at)
            columns = data[at + _HEAD.size : at + _HEAD.size + readings * _ROW.itemsize]
            end = at + _HEAD.size + len(columns)
            if magic != _MAGIC or len(columns) < readings * _ROW.itemsize or zlib.crc32(columns) != crc:
                if end < len(data):
                    raise ValueError(f"{path}: damaged at byte {at}")
                break
            at = end
            if kind == _MEANT:
                if open_batch is not None:
                    perhaps.append(open_batch[1])
                open_batch = (batch, np.frombuffer(columns, _ROW))
            elif open_batch is not None and open_batch[0] == batch:
                if kind == _KEPT:
                    kept.append(open_batch[1])
                else:
                    skipped += len(open_batch[1])
                open_batch = None
        if open_batch is not None:
            perhaps.append(open_batch[1])
    empty = np.empty(0, _ROW)
    return Recorded(names, np.concatenate([empty, *kept]), np.concatenate([empty, *perhaps]), skipped)


def of_outbox(path: Path) -> Recorded:
    """What an outbox holds, acknowledged or not: the record of a gateway that has no oracle."""
    names: dict[str, int] = {}
    parts = [np.empty(0, _ROW)]
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as box:
        for (payload,) in box.execute("SELECT payload FROM message WHERE kind = 'data' ORDER BY seq"):
            message = decode(payload).message
            assert isinstance(message, Envelope)
            index = [names.setdefault(message.tags[k], len(names)) for k in message.tag]
            ts = np.array(message.dt, np.int64) + message.base
            value = [np.nan if v is None else v for v in message.value]
            parts.append(rows(index, ts, value, message.quality or [192] * len(index)))
    kept = np.concatenate(parts)
    return Recorded(list(names), kept, kept[:0], 0)
