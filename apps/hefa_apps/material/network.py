"""Networks of streams and nodes, as balances need them. Pure.

A stream is a flow with a value and the standard deviation of its measurement; without a value it is not measured,
with a deviation of 0 it is known exactly. A node keeps what comes in equal to what goes out. What touches one node
only goes to or comes from the surroundings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MAX_STREAMS = 500
MAX_NODES = 300
_GREATEST = 1e15


class NetworkError(ValueError):
    """The network makes no sense; the text says what to change."""


@dataclass(frozen=True)
class Stream:
    """One flow; `value` None: not measured; `sd` 0: known exactly. Both in one unit for all streams of a network."""

    name: str
    value: float | None
    sd: float | None = None

    @property
    def measured(self) -> bool:
        return self.value is not None


@dataclass(frozen=True)
class Node:
    """What is balanced: the streams named in `enters` equal those in `leaves`."""

    name: str
    enters: tuple[str, ...]
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """Streams and the nodes that they join. Raises `NetworkError` where it is not one."""

    streams: tuple[Stream, ...]
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not self.streams or not self.nodes:
            raise NetworkError("a network has at least one stream and one node")
        if len(self.streams) > MAX_STREAMS or len(self.nodes) > MAX_NODES:
            raise NetworkError(f"a network has at most {MAX_STREAMS} streams and {MAX_NODES} nodes")
        _once([stream.name for stream in self.streams], "stream")
        _once([node.name for node in self.nodes], "node")
        for stream in self.streams:
            _check_stream(stream)
        for node in self.nodes:
            self._check_node(node)

    def _check_node(self, node: Node) -> None:
        if not node.enters or not node.leaves:
            side = "in" if not node.enters else "out"
            raise NetworkError(
                f"node {node.name!r}: nothing under {side!r}; name a stream there, of value null if unknown"
            )
        for side, names in (("in", node.enters), ("out", node.leaves)):
            for i, name in enumerate(names):
                if name not in self.place:
                    raise NetworkError(f"node {node.name!r}: there is no stream {name!r}; add it to streams")
                if name in names[:i]:
                    raise NetworkError(
                        f"node {node.name!r}: stream {name!r} stands twice under {side!r}; once is enough"
                    )
        if both := [name for name in node.enters if name in node.leaves]:
            raise NetworkError(
                f"node {node.name!r}: stream {both[0]!r} goes in and out of it, so it says nothing about the node; "
                "leave it out here, or split the node where the loop closes"
            )

    @cached_property
    def place(self) -> dict[str, int]:
        """The column of each stream."""
        return {stream.name: i for i, stream in enumerate(self.streams)}

    @cached_property
    def matrix(self) -> Floats:
        """Return A (nodes x streams): +1 where a stream enters, -1 where it leaves. A x = 0 is the balance."""
        a = np.zeros((len(self.nodes), len(self.streams)))
        for i, node in enumerate(self.nodes):
            a[i, [self.place[name] for name in node.enters]] = 1.0
            a[i, [self.place[name] for name in node.leaves]] = -1.0
        return a


def _once(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise NetworkError(f"two {what}s are called {name!r}; give each a name of its own")
        seen.add(name)


def _check_stream(stream: Stream) -> None:
    if stream.value is None:
        return
    if not abs(stream.value) <= _GREATEST:
        raise NetworkError(f"stream {stream.name!r}: the value is beyond {_GREATEST:g}; use a larger unit")
    if stream.sd is None:
        raise NetworkError(
            f"stream {stream.name!r}: a measured value needs sd, the standard deviation of its measurement"
        )
    if not 0 <= stream.sd <= _GREATEST:
        raise NetworkError(f"stream {stream.name!r}: sd is 0 (known exactly) or more, at most {_GREATEST:g}")
