"""Ports on loopback: who answers, which is free, and keeping two demos from choosing the same one."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
_TRIES = 200  # ports looked at from the preferred one on


def answers(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A port that the system chose; free at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Claims:
    """Ports promised to servers that do not listen yet.

    Between the choice of a port and the moment its server listens lie seconds, in which another demo would find the
    port free. A claim is visible to it: an abstract socket, which belongs to the same network namespace as the port
    and goes with this process. Other systems than Linux have none: there the choice is as good as its moment.
    """

    def __init__(self) -> None:
        self._held: dict[int, socket.socket | None] = {}

    def first_free(self, preferred: int) -> int:
        """Claim the first port from `preferred` on that nobody listens on or has claimed; OSError when there is none."""
        for port in range(preferred, min(preferred + _TRIES, 65536)):
            if port not in self._held and self._claim(port):
                return port
        raise OSError(f"no free port from {preferred} to {preferred + _TRIES - 1}")

    def _claim(self, port: int) -> bool:
        claim = None
        if sys.platform == "linux":
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0hefa-demo-port-{port}")
            except OSError:
                claim.close()
                return False
        if not _free(port):
            if claim is not None:
                claim.close()
            return False
        self._held[port] = claim
        return True

    def release(self) -> None:
        """Give all claims up."""
        for claim in self._held.values():
            if claim is not None:
                claim.close()
        self._held.clear()


@contextmanager
def claims() -> Iterator[Claims]:
    """Claims for the length of a block."""
    held = Claims()
    try:
        yield held
    finally:
        held.release()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what is left of closed connections is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return not answers(HOST, port)  # some systems let two bind where one listens on every address
