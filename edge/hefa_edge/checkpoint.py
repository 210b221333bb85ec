"""The checkpoint of a site: where its plant is, in one JSON file that is replaced as a whole.

One process holds a site at a time: `claim` takes the directory until the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Any, Self, TextIO

import msgspec

FORMAT = 1

logger = logging.getLogger(__name__)


class Occupied(Exception):
    """Another process holds this site."""


class Checkpoint:
    """The state directory of a site, held by this process until `release`; also a context manager."""

    def __init__(self, directory: Path) -> None:
        """Claim the directory, making it where needed. Raises Occupied, OSError."""
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "plant.json"
        self._lock: TextIO = (directory / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise Occupied(
                f"another hefa-edge runs this site ({directory}); stop it, or choose another --data-dir"
            ) from None

    def read(self) -> dict[str, Any] | None:
        """Read what was saved last; None where nothing was, or nothing that can be used."""
        try:
            document = msgspec.json.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            document = None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            logger.error("the checkpoint cannot be read and is not used: %s", self._path)
            return None
        return document

    def save(self, document: dict[str, Any]) -> None:
        """Replace the checkpoint: after a crash at any moment the file is the old one or the new one."""
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode({"format": FORMAT, **document}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the directory."""
        self._lock.close()
