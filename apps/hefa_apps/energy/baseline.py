"""The energy baseline of ISO 50006: use explained by its drivers, and what was saved against it. Pure.

A baseline is an ordinary least squares fit of daily energy on its drivers over a frozen period. It may be weak, and a
weak one is refused with its reasons: a saving against it would be an opinion. A saving is the sum of what the
baseline expected less what was used; its interval is that of a sum of predictions, with the uncertainty of the
coefficients and with days that resemble their neighbours (first-order autocorrelation), as ASHRAE Guideline 14 asks.
A saving is claimed only when it is known to within half of itself. One plant in forty that saved nothing has an
interval that leaves out nought; one in ten thousand shows this, of those whose days are alike one in some hundred.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MIN_DAYS = 12  # fewer points fit anything
MIN_R2 = 0.75  # usual in measurement and verification
MAX_CV = 0.20  # of the root mean square error, relative to the mean use
MAX_VIF = 10.0  # beyond it two drivers tell the same story and neither coefficient means anything
MARGIN = 0.10  # of a driver's range in the baseline: how far outside a day may lie
MAX_OUTSIDE = 0.25  # share of the days that may be left out for lying further outside
_FLAT = 1e-9  # a driver that varies less than this, relative to its size, does not vary
_CHANCE = 1.28  # standard errors that the autocorrelation of independent days passes one time in ten
PROOF = 0.5  # of a saving: how wide to either side its interval may be for a claim
_EXACT = 1e-12  # relative size of residuals that are rounding


@dataclass(frozen=True)
class Reason:
    """Why a figure is refused or doubted: the id of a sentence below `energy.why` and what it says."""

    code: str
    fields: dict[str, float | int | str]


class NoFit(ValueError):
    """There is no fit at all: too few points, a driver that does not vary, or drivers that say the same."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.code)
        self.reason = reason


@dataclass(frozen=True)
class Coefficient:
    """One coefficient: its standard error, t, two-sided p and, for a driver, its range in the baseline and its VIF."""

    name: str
    value: float
    error: float
    t: float | None
    p: float | None
    low: float | None = None
    high: float | None = None
    vif: float | None = None


@dataclass(frozen=True)
class Fit:
    """A least squares fit of energy on drivers. `cv` = `s` / mean; `rho` is the autocorrelation used in intervals."""

    coefficients: tuple[Coefficient, ...]
    n: int
    r2: float
    r2_adjusted: float
    s: float
    cv: float
    mean: float
    durbin_watson: float | None
    rho: float
    f_p: float | None
    when: tuple[int, ...]
    x: Array
    covariance: Array  # (X'X)^-1
    residuals: Array

    @property
    def b(self) -> Array:
        """The coefficients, intercept first."""
        return np.array([c.value for c in self.coefficients])

    @property
    def dof(self) -> int:
        """Degrees of freedom of the residuals."""
        return self.n - len(self.coefficients)


@dataclass(frozen=True)
class Saving:
    """Use of some days against a baseline; all in the baseline's unit, `low` to `high` at `level` confidence.

    `saving` is positive when less was used than expected. `share` is of the expected use. `claimed` says that
    its interval is narrower than itself (`PROOF`) and nothing speaks against the baseline; `reasons` say what does.
    `cusum` runs over the days counted, the sum of used less expected; `outside` marks the days left out.
    """

    expected: float | None
    used: float | None
    saving: float | None
    low: float | None
    high: float | None
    share: float | None
    share_low: float | None
    share_high: float | None
    enpi: float | None
    level: float
    days: int
    outside: tuple[bool, ...]
    expected_by_day: tuple[float, ...]
    cusum: tuple[float | None, ...]
    claimed: bool
    reasons: tuple[Reason, ...]


def fit(energy: Sequence[float], drivers: Sequence[Sequence[float]], names: Sequence[str], when: Sequence[int]) -> Fit:
    """Fit energy on drivers (one sequence each) over days numbered `when`, in order of time. Raises `NoFit`."""
    from scipy import special

    y = np.asarray(energy, dtype=float)
    columns = np.asarray(drivers, dtype=float).reshape(len(names), len(y)) if names else np.empty((0, len(y)))
    n, k = len(y), len(names) + 1
    if n <= k:
        raise NoFit(_few(n))
    for name, column in zip(names, columns, strict=True):
        if np.ptp(column) <= _FLAT * max(1.0, float(np.abs(column).max())):
            raise NoFit(Reason("constant", {"driver": name}))
    vif = _inflation(columns)
    if any(v is None for v in vif):
        raise NoFit(Reason("same", {"drivers": ", ".join(names)}))
    x = np.vstack([np.ones(n), columns]).T
    # Scaled columns keep the inverse exact where a driver is small or large.
    centre, scale = columns.mean(axis=1), columns.std(axis=1)
    turn = np.eye(k)
    turn[0, 1:] = -centre / scale
    turn[1:, 1:] = np.diag(1 / scale)
    z = x @ turn
    covariance = turn @ np.linalg.inv(z.T @ z) @ turn.T
    b = turn @ np.linalg.lstsq(z, y, rcond=None)[0]
    residuals = y - x @ b
    total = float(((y - y.mean()) ** 2).sum())
    sse = float((residuals**2).sum())
    if sse <= (_EXACT * max(1.0, float(np.abs(y).max()))) ** 2 * n:
        sse, residuals = 0.0, np.zeros(n)
    r2 = 1 - sse / total if total > 0 else 0.0
    s = float(np.sqrt(sse / (n - k)))
    errors = s * np.sqrt(np.diag(covariance))
    t = [float(v / e) if e > 0 else None for v, e in zip(b, errors, strict=True)]
    p = [float(2 * special.stdtr(n - k, -abs(v))) if v is not None else None for v in t]
    f_p = None
    if k > 1 and 0 < sse < total:
        f_p = float(special.fdtrc(k - 1, n - k, (total - sse) / (k - 1) / (sse / (n - k))))
    ends = [(None, None), *((float(c.min()), float(c.max())) for c in columns)]
    coefficients = tuple(
        Coefficient(name, float(b[i]), float(errors[i]), t[i], p[i], *ends[i], vif=None if i == 0 else vif[i - 1])
        for i, name in enumerate(("intercept", *names))
    )
    mean = float(y.mean())
    return Fit(
        coefficients=coefficients,
        n=n,
        r2=r2,
        r2_adjusted=1 - (1 - r2) * (n - 1) / (n - k),
        s=s,
        cv=s / abs(mean) if mean else float("inf"),
        mean=mean,
        durbin_watson=float((np.diff(residuals) ** 2).sum() / sse) if sse > 0 else None,
        rho=_autocorrelation(residuals, when, k),
        f_p=f_p,
        when=tuple(when),
        x=x,
        covariance=covariance,
        residuals=residuals,
    )


def judge(found: Fit) -> tuple[Reason, ...]:
    """Return why a baseline is too weak to be used, nothing when it is good."""
    reasons = []
    if found.n < MIN_DAYS:
        reasons.append(_few(found.n))
    if found.r2 < MIN_R2:
        reasons.append(Reason("r2", {"r2": found.r2 * 100, "least": MIN_R2 * 100}))
    if found.cv > MAX_CV:
        reasons.append(Reason("cv", {"cv": found.cv * 100, "most": MAX_CV * 100}))
    reasons += [
        Reason("collinear", {"driver": c.name, "vif": c.vif, "most": MAX_VIF})
        for c in found.coefficients
        if c.vif is not None and c.vif > MAX_VIF
    ]
    if not reasons and _independent(found) <= len(found.coefficients):
        reasons.append(Reason("autocorrelated", {"rho": found.rho, "n": found.n, "worth": _independent(found)}))
    return tuple(reasons)


def doubts(found: Fit, level: float = 0.05) -> tuple[Reason, ...]:
    """Return what a reader of a good baseline should still know: drivers that explain nothing, alike days."""
    told = [
        Reason("idle", {"driver": c.name, "p": c.p}) for c in found.coefficients[1:] if c.p is not None and c.p > level
    ]
    if found.durbin_watson is not None and not 1.2 < found.durbin_watson < 2.8:
        told.append(Reason("alike", {"dw": found.durbin_watson, "rho": found.rho}))
    return tuple(told)


def saving(
    found: Fit,
    energy: Sequence[float],
    drivers: Sequence[Sequence[float]],
    when: Sequence[int],
    *,
    level: float = 0.95,
) -> Saving:
    """Compare the use of some days with what the baseline expects of them.

    Days outside the baseline's range of a driver, by more than `MARGIN` of it, are left out and marked. When they are
    more than `MAX_OUTSIDE` of all days, or the baseline is weak, nothing is claimed.
    """
    from scipy import special

    y = np.asarray(energy, dtype=float)
    x = _design(drivers, len(y))
    expected = x @ found.b
    outside = _outside(found, x)
    counted = ~outside
    reasons = list(judge(found))
    if not len(y):
        reasons.append(Reason("no_days", {}))
    elif outside.sum() > MAX_OUTSIDE * len(y):
        reasons.append(Reason("outside", _where(found, x, outside)))
    cusum: list[float | None] = []
    sum_so_far = 0.0
    for i in range(len(y)):
        sum_so_far += float(y[i] - expected[i]) if counted[i] else 0.0
        cusum.append(sum_so_far if counted[i] else None)
    common: dict[str, Any] = {
        "level": level,
        "days": int(counted.sum()),
        "outside": tuple(bool(o) for o in outside),
        "expected_by_day": tuple(float(e) for e in expected),
        "cusum": tuple(cusum),
        "reasons": tuple(reasons),
    }
    if not counted.any():
        return Saving(*(None,) * 9, claimed=False, **common)
    used, hoped = float(y[counted].sum()), float(expected[counted].sum())
    dof = max(1.0, _independent(found) - len(found.coefficients))
    half = float(special.stdtrit(dof, 0.5 + level / 2)) * _error_of_sum(found, x[counted], np.asarray(when)[counted])
    saved = hoped - used
    sure = hoped - half > 0
    return Saving(
        expected=hoped,
        used=used,
        saving=saved,
        low=saved - half,
        high=saved + half,
        share=saved / hoped if hoped > 0 else None,
        share_low=1 - used / (hoped - half) if sure else None,
        share_high=1 - used / (hoped + half) if sure else None,
        enpi=used / hoped if hoped > 0 else None,
        claimed=not reasons and half < PROOF * saved,
        **common,
    )


def _few(n: int) -> Reason:
    return Reason("few", {"n": n, "least": MIN_DAYS, "missing": MIN_DAYS - n})


def _design(drivers: Sequence[Sequence[float]], days: int) -> Array:
    columns = np.asarray(drivers, dtype=float).reshape(len(drivers), days)
    return np.vstack([np.ones(days), columns]).T


def _inflation(columns: Array) -> list[float | None]:
    """Variance inflation of each driver by the others; None where the others tell it exactly."""
    if len(columns) < 2:
        return [1.0] * len(columns)
    inverse = np.linalg.pinv(np.corrcoef(columns), rcond=1e-12)
    if np.linalg.matrix_rank(np.corrcoef(columns), tol=1e-9) < len(columns):
        return [None] * len(columns)
    return [float(v) for v in np.diag(inverse)]


def _autocorrelation(residuals: Array, when: Sequence[int], k: int) -> float:
    """First-order autocorrelation of days that follow each other, freed of the bias that a fit of k terms brings.

    Nought where chance alone would show as much (one time in ten), so that few points get the classical interval.
    Never negative: days that undo their neighbours would narrow an interval on thin evidence.
    """
    days = np.asarray(when)
    pairs = np.flatnonzero(np.diff(days) == 1)
    power = float((residuals**2).mean()) if len(residuals) else 0.0
    if len(pairs) < 3 or power == 0:
        return 0.0
    raw = float((residuals[pairs] * residuals[pairs + 1]).mean()) / power
    n = len(residuals)
    unbiased = (n * raw + k) / max(n - k - 1, 1)
    return float(min(unbiased, 0.95)) if raw > _CHANCE / np.sqrt(n) else 0.0


def _independent(found: Fit) -> float:
    """How many independent days the baseline's days are worth (ASHRAE Guideline 14, n')."""
    return found.n * (1 - found.rho) / (1 + found.rho)


def _error_of_sum(found: Fit, x: Array, when: npt.NDArray[np.int_]) -> float:
    """Standard error of the sum of predictions less the sum of what would have been.

    With residuals e ~ (0, sigma2 R), R_ij = rho^|i-j|: the coefficients err by G X'e, G = (X'X)^-1, the new days by
    their own e, and days close to the baseline share both. sigma2 is unbiased under R.
    """
    days = np.asarray(found.when)
    rho, g = found.rho, found.covariance

    def alike(a: npt.NDArray[np.int_], b: npt.NDArray[np.int_]) -> Array:
        apart = np.abs(a[:, None] - b[None, :])
        return np.where(apart == 0, 1.0, rho**apart) if rho > 0 else (apart == 0).astype(float)

    within = alike(days, days)
    hat = found.x @ g @ found.x.T
    room = found.n - float((hat * within).sum())
    variance = float((found.residuals**2).sum()) / max(room, 1e-9)
    weights = found.x @ g @ x.sum(axis=0)  # what each baseline day's residual adds to the sum of predictions
    ones = np.ones(len(when))
    spread = weights @ within @ weights + ones @ alike(when, when) @ ones - 2 * weights @ alike(days, when) @ ones
    return float(np.sqrt(max(variance * spread, 0.0)))


def _outside(found: Fit, x: Array) -> npt.NDArray[np.bool_]:
    far = np.zeros(len(x), dtype=bool)
    for i, c in enumerate(found.coefficients[1:], start=1):
        assert c.low is not None
        assert c.high is not None
        slack = MARGIN * (c.high - c.low)
        far |= (x[:, i] < c.low - slack) | (x[:, i] > c.high + slack)
    return far


def _where(found: Fit, x: Array, outside: npt.NDArray[np.bool_]) -> dict[str, float | int | str]:
    """Say how many days lie outside, and by which drivers."""
    blamed = []
    for i, c in enumerate(found.coefficients[1:], start=1):
        if c.low is not None and c.high is not None:
            slack = MARGIN * (c.high - c.low)
            if ((x[:, i] < c.low - slack) | (x[:, i] > c.high + slack)).any():
                blamed.append(c.name)
    return {"out": int(outside.sum()), "days": len(x), "drivers": ", ".join(blamed)}
