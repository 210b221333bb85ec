"""Where a test may break this process on purpose. Off, and free, unless HEFA_FAILPOINT is set before the start.

    HEFA_FAILPOINT='outbox.appended:kill@3, publisher.sent:sleep=2'

A point does its action each time it is passed, with `@n` only the n-th time, with `~text` only where it is passed about
something that holds the text. Actions: `kill` (SIGKILL to this process), `sleep=seconds`, `raise` (as a bug would).
It knows no other module: which points there are is told by their calls.
"""

from __future__ import annotations

import os
import re
import signal
import time
from typing import NamedTuple

_FORM = re.compile(r"([a-z._]+):(kill|raise|sleep=(\d+(?:\.\d+)?))(?:@(\d+))?(?:~(\S+))?")


class Broken(Exception):
    """What the action `raise` raises; nobody catches it."""


class _Armed(NamedTuple):
    action: str
    seconds: float
    nth: int
    about: str


def parse(text: str) -> dict[str, _Armed]:
    """Read the variable's value; ValueError for what is no failpoint, since a test that breaks nothing proves nothing."""
    armed = {}
    for part in filter(None, map(str.strip, text.split(","))):
        found = _FORM.fullmatch(part)
        if found is None:
            raise ValueError(f"HEFA_FAILPOINT: {part!r} is not point:kill|raise|sleep=seconds[@n][~text]")
        armed[found[1]] = _Armed(found[2].split("=")[0], float(found[3] or 0), int(found[4] or 0), found[5] or "")
    return armed


_armed = parse(os.environ.get("HEFA_FAILPOINT", ""))
_passed = dict.fromkeys(_armed, 0)


def reach(point: str, about: str = "") -> None:
    """Pass a point; `about` says with what, for `~text`."""
    if not _armed or point not in _armed:
        return
    armed = _armed[point]
    if armed.about not in about:
        return
    _passed[point] += 1
    if armed.nth and _passed[point] != armed.nth:
        return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif armed.action == "raise":
        raise Broken(point)
    time.sleep(armed.seconds)
