"""Readings in columns become envelopes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_contract.envelope import MAX_TAGS, decode, encode
from hefa_edge.packing import FULL, pack

NAMES = [f"A.B.C.t{k}" for k in range(600)]


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 599),
            st.integers(1_795_304_450_000_000, 1_795_390_850_000_000),
            st.one_of(st.floats(-1e9, 1e9), st.just(float("nan"))),
        ),
        max_size=1500,
    )
)
def test_every_reading_comes_out_once_and_in_order(rows: list[tuple[int, int, float]]) -> None:
    tag = np.array([row[0] for row in rows], dtype=np.intp)
    ts = np.array([row[1] for row in rows], dtype=np.int64)
    value = np.array([row[2] for row in rows], dtype=np.float64)
    quality = np.where(np.isnan(value), 0, 192).astype(np.uint8)
    out = []
    for envelope in pack(NAMES, tag, ts, value, quality, lane="live", made=1):
        envelope.epoch = "e"
        decoded = decode(encode(envelope))
        assert decoded.flaws == []
        assert len(envelope.value) <= FULL
        assert len(envelope.tags) == len(set(envelope.tags)) <= MAX_TAGS
        assert min(envelope.dt) == 0
        qualities = envelope.quality or [192] * len(envelope.value)
        columns = zip(envelope.tag, envelope.dt, envelope.value, qualities, strict=True)
        out += [(envelope.tags[t], envelope.base + dt, v, q) for t, dt, v, q in columns]
    expected = [
        (NAMES[t], at, None if v != v else v, 0 if v != v else 192)
        for t, at, v in zip(tag, ts.tolist(), value, strict=True)
    ]
    assert out == expected


@pytest.mark.parametrize(
    ("n_tags", "n_times", "sizes"),
    [
        (1, 1, [1]),
        (1, 500, [500]),
        (1, 501, [500, 1]),
        (200, 1, [200]),
        (201, 1, [200, 1]),
        (600, 1, [200, 200, 200]),
        (10, 60, [500, 100]),
    ],
)
def test_an_envelope_is_closed_when_full(n_tags: int, n_times: int, sizes: list[int]) -> None:
    tag = np.repeat(np.arange(n_tags), n_times)
    ts = np.tile(np.arange(n_times), n_tags) + 1_795_304_450_000_000
    good = np.full(len(tag), 192, dtype=np.uint8)
    made = list(pack(NAMES, tag, ts, np.ones(len(tag)), good, lane="backfill", made=7))
    assert [len(envelope.value) for envelope in made] == sizes
    assert {(envelope.lane, envelope.made, envelope.quality) for envelope in made} == {("backfill", 7, None)}
