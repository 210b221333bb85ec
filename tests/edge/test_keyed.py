"""Randomness by address."""

import numpy as np

from hefa_edge import keyed

NAMES = [f"A.B.C.t{k}" for k in range(200)]


def test_a_number_depends_on_its_address_only() -> None:
    all_keys = keyed.keys(NAMES, 1, "noise")
    alone = keyed.keys(NAMES[17:18], 1, "noise")
    assert keyed.normal(alone, 12345)[0] == keyed.normal(all_keys, 12345)[17]
    block = keyed.normal(all_keys, np.arange(10)[:, None])
    assert block.shape == (10, 200)
    assert np.array_equal(block[4], keyed.normal(all_keys, 4))


def test_seed_purpose_and_time_each_give_other_numbers() -> None:
    base = keyed.normal(keyed.keys(NAMES, 1, "noise"), 5)
    for other in (
        keyed.normal(keyed.keys(NAMES, 2, "noise"), 5),
        keyed.normal(keyed.keys(NAMES, 1, "phase"), 5),
        keyed.normal(keyed.keys(NAMES, 1, "noise"), 6),
    ):
        assert not np.any(base == other)
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.3


def test_the_numbers_are_distributed_as_they_say() -> None:
    keys = keyed.keys(NAMES, 3, "test")
    times = np.arange(0, 5_000 * 1_000_000, 1_000_000)[:, None]  # µs of whole seconds: a grid, as in use
    uniform, normal = keyed.uniform(keys, times), keyed.normal(keys, times)
    assert 0 < uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.002
    assert abs(uniform.var() - 1 / 12) < 0.001
    assert abs(normal.mean()) < 0.005
    assert abs(normal.std() - 1) < 0.005
    assert abs((np.abs(normal) > 2).mean() - 0.0455) < 0.002
    lagged = np.mean(normal[1:] * normal[:-1])
    assert abs(lagged) < 0.005
