"""Readings in columns become envelopes of at most 500 readings and 200 tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hefa_contract.envelope import GOOD, MAX_TAGS, Envelope, Lane

FULL = 500  # readings that close an envelope


def pack(
    names: Sequence[str],
    tag: NDArray[np.intp],
    ts: NDArray[np.int64],
    value: NDArray[np.float64],
    quality: NDArray[np.uint8],
    *,
    lane: Lane,
    made: int,
) -> Iterator[Envelope]:
    """Yield envelopes of readings in columns of equal length; `names[tag[k]]` is the tag of reading k.

    Readings keep their order, which should be by tag or by time: an envelope is also closed when the next reading
    would bring in one tag too many. NaN is no value (null). `epoch` and `seq` are left to the outbox.
    """
    start = 0
    while start < len(tag):
        chosen = tag[start : start + FULL]
        used, first, index = np.unique(chosen, return_index=True, return_inverse=True)
        if len(used) > MAX_TAGS:
            # Cut where the first tag that does not fit comes in.
            chosen = chosen[: np.sort(first)[MAX_TAGS]]
            used, index = np.unique(chosen, return_inverse=True)
        rows = slice(start, start + len(chosen))
        base = int(ts[rows].min())
        missing = np.isnan(value[rows])
        values: list[float | None] = value[rows].tolist()
        for k in np.flatnonzero(missing):
            values[k] = None
        yield Envelope(
            epoch="",
            seq=0,
            lane=lane,
            made=made,
            base=base,
            tags=[names[i] for i in used],
            tag=index.tolist(),
            dt=(ts[rows] - base).tolist(),
            value=values,
            quality=None if np.all(quality[rows] == GOOD) else quality[rows].tolist(),
        )
        start += len(chosen)
