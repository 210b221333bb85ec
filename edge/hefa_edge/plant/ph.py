"""Titration curves: from base beyond acid to pH and back. Pure functions; concentrations in kmol/m3."""

from __future__ import annotations

import math

KW = 1e-14
# Foreign metals (Fe, Al) fall out as hydroxides around this pH, within this width.
_HYDROLYSIS_PH, _HYDROLYSIS_WIDTH = 3.95, 0.12
# Too much base meets the RE themselves, 1.2 kmol/m3 with three charges: they begin to fall out before pH 7.
_RE_PH, _RE_WIDTH, _RE_EQUIVALENTS = 6.9, 0.15, 3.6


def strong(excess: float) -> float:
    """pH of a strong acid (excess < 0) or base, without buffers. Always within 0..14."""
    larger = (abs(excess) + math.sqrt(excess * excess + 4 * KW)) / 2  # of h and KW/h: no digits are lost
    h = larger if excess <= 0 else KW / larger
    return min(max(-math.log10(max(h, 1e-14)), 0.0), 14.0)


def hydrolysed(ph: float) -> float:
    """Share of the hydrolysable metals that has fallen out at a pH, 0..1."""
    return _share((ph - _HYDROLYSIS_PH) / _HYDROLYSIS_WIDTH)


def trimmed(excess: float, metals: float) -> float:
    """pH of a liquor with `excess` base beyond acid, whose hydrolysable `metals` (equivalents) still count as
    dissolved cations. Always within 0..14; found by bisection, for the curve is steep at its end.
    """
    low, high = 0.0, 14.0
    for _ in range(44):
        ph = (low + high) / 2
        # Hydroxide that fell out takes base away: what is left over must be hydrogen or hydroxide ions.
        if excess > trimmed_excess(ph, metals):
            low = ph
        else:
            high = ph
    return (low + high) / 2


def trimmed_excess(ph: float, metals: float) -> float:
    """The inverse of `trimmed`."""
    fallen = metals * hydrolysed(ph) + _RE_EQUIVALENTS * _share((ph - _RE_PH) / _RE_WIDTH)
    return float(fallen - 10.0**-ph + KW * 10.0**ph)


def _share(distance: float) -> float:
    return 1 / (1 + math.exp(-min(max(distance, -50.0), 50.0)))


def precipitating(ratio: float) -> float:
    """pH of a precipitation where base is `ratio` of what the RE need."""
    return 4.2 + 2.6 / (1 + math.exp(-min(max((ratio - 1) / 0.02, -50.0), 50.0))) + 1.2 * max(0.0, ratio - 1.05)


def precipitating_slope(ratio: float) -> float:
    """Derivative of `precipitating`; never below 1, where the curve is flat."""
    fall = math.exp(-min(max((ratio - 1) / 0.02, -50.0), 50.0))
    return max(2.6 / 0.02 * fall / (1 + fall) ** 2 + (1.2 if ratio > 1.05 else 0.0), 1.0)


def residual_re(ratio: float) -> float:
    """RE left in the mother liquor, mg/L of oxide."""
    return 40 + 1.4e5 * max(0.0, 1 - ratio)
