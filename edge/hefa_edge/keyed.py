"""Randomness as a pure function of (seed, key, time): no stream to keep, nothing to advance.

A generator with a state would give other values after a restart, for another set of tags or another
order of calls. Here every number has an address; asking twice gives the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_SECOND = np.uint64(0xD1B54A32D192ED03)


def keys(names: Iterable[str], seed: int, purpose: str) -> Keys:
    """Make one key a name, (n,). Another seed or purpose gives unrelated keys."""
    salt = f"{seed}/{purpose}".encode()
    digests = (hashlib.blake2b(name.encode(), digest_size=8, key=salt[:64]).digest() for name in names)
    return np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.uint64)


def uniform(key: Keys, counter: NDArray[np.int64] | int = 0) -> Floats:
    """Numbers in (0, 1) for each key and counter; both broadcast, as (ticks, 1) against (n,)."""
    return _unit(_mix(key + np.asarray(counter).astype(np.uint64) * _GOLDEN))


def normal(key: Keys, counter: NDArray[np.int64] | int = 0) -> Floats:
    """Standard normal numbers for each key and counter, broadcast like `uniform` (Box–Muller)."""
    first = _mix(key + np.asarray(counter).astype(np.uint64) * _GOLDEN)
    second = _mix(first ^ _SECOND)
    return np.asarray(np.sqrt(-2.0 * np.log(_unit(first))) * np.cos(2.0 * np.pi * _unit(second)))


def _mix(x: Keys) -> Keys:
    """SplitMix64's finaliser: every bit of the input moves half the bits of the output."""
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    return np.asarray(x ^ (x >> np.uint64(31)))


def _unit(x: Keys) -> Floats:
    # 53 bits and half a step: never 0, never 1, so that a logarithm is always finite.
    return np.asarray(((x >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)
