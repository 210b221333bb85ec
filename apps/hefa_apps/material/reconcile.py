"""Data reconciliation by weighted least squares: the flows nearest to the measured ones that close every balance.

For measured x with covariance V = diag(sd^2) and constraints A x = 0 the reconciled flows are

    x_hat = x - V A^T (A V A^T)^-1 A x

(Kuehn and Davidson 1961). Worked here with A V A^T = R^T R from a QR decomposition of V^1/2 A^T, which is not squared
by it: v = R^-T A x has unit variance, chi2 = |v|^2 as many degrees of freedom as A has independent rows; with
w_i = R^-T A_i the adjustments are a_i = -sd_i^2 w_i v, Var a_ii = sd_i^4 |w_i|^2, and the measurement test is
z_i = |w_i v| / |w_i|.

One elimination of A, unmeasured columns first, then measured ones by falling sd, does the rest. Its rows with an
unmeasured pivot say how that flow follows from others, when they hold no second unmeasured one (observability); rows
with a measured pivot constrain measured flows only (the projection of Crowe 1983); rows with neither are balances of
exactly known flows (sd 0), which are constants. Dependent balances vanish. The order makes each row, divided by the
sd of its pivot, a unit and entries of at most about one, so deviations may differ by any factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hefa_apps.material.network import Floats, Network, NetworkError

Status = Literal["redundant", "nonredundant", "exact", "observable", "unobservable"]

CONFIDENCE = 0.95
_BEYOND = "values and deviations differ too much in size to be reckoned; use one unit for all streams"
_ZERO = 1e-9  # of coefficients: they are small fractions
_CLOSED = 1e-9  # of the largest flow: what counts as a contradiction of exact flows


@dataclass(frozen=True)
class Suspects:
    """Streams that no test can tell apart, one of which is off; `without`: chi2 once one of them is not used."""

    streams: tuple[str, ...]
    z: float
    drop: float
    without: float
    limit: float


@dataclass(frozen=True)
class Balance:
    """One node: in - out as measured with its sd, z of that alone, and as reconciled. None: not all is measured."""

    node: str
    residual: float | None
    sd: float | None
    z: float | None
    closed: float | None
    suspect: bool


@dataclass(frozen=True)
class Reconciled:
    """The answer, each dict by stream name.

    `value` and `sd` are None for what cannot be known; `z` is None where a stream is not measured or no balance
    checks it. `beyond` are the streams whose z passes `z_limit`. `suspects`: groups in order of serial elimination,
    none when the global test accepts.
    """

    value: dict[str, float | None]
    sd: dict[str, float | None]
    adjustment: dict[str, float | None]
    z: dict[str, float | None]
    status: dict[str, Status]
    chi2: float
    chi2_limit: float
    freedom: int
    z_limit: float | None
    accepted: bool
    beyond: tuple[str, ...]
    suspects: tuple[Suspects, ...]
    equivalent: tuple[tuple[str, ...], ...]
    balances: tuple[Balance, ...]


def reconcile(network: Network, confidence: float = CONFIDENCE) -> Reconciled:
    """Reconcile a network; `confidence` is that of both tests, shared among the measurement tests (Sidak 1967).

    Raises `NetworkError` where exactly known flows contradict each other, or figures differ too much in size.
    """
    try:
        with np.errstate(all="ignore"):
            found = _reconcile(network, confidence)
    except np.linalg.LinAlgError:
        raise NetworkError(_BEYOND) from None
    values = (v for named in (found.value, found.sd, found.z) for v in named.values() if v is not None)
    if not all(map(np.isfinite, [*values, found.chi2])):
        raise NetworkError(_BEYOND)
    return found


def _reconcile(network: Network, confidence: float) -> Reconciled:
    streams, names = network.streams, [s.name for s in network.streams]
    x = np.array([s.value or 0.0 for s in streams])
    sd = np.array([(s.sd or 0.0) if s.measured else 0.0 for s in streams])
    measured = np.array([s.measured for s in streams])
    free = measured & (sd > 0)
    unmeasured, weighed = np.flatnonzero(~measured), np.flatnonzero(free)
    weighed = weighed[np.argsort(-sd[weighed], kind="stable")]
    order = [*unmeasured, *weighed, *np.flatnonzero(measured & ~free)]
    rows, pivots = _reduce(network.matrix, order)
    solved = int(np.isin(pivots, unmeasured).sum())
    bound = solved + int(np.isin(pivots, weighed).sum())
    _check_exact(network, rows[bound:], x)
    g, scale = rows[solved:bound], sd[pivots[solved:bound]]

    fitted, v = x.copy(), np.zeros(len(g))
    _, upper = np.linalg.qr((g * sd / scale[:, None]).T)
    w = np.linalg.solve(upper.T, g / scale[:, None])
    for _ in range(2 if len(g) else 0):  # the second time closes what rounding left open
        step = np.linalg.solve(upper.T, g @ fitted / scale)
        v, fitted = v + step, fitted - sd * sd * (step @ w)
    p = (w * sd).T @ (w * sd)
    spread = sd[:, None] * (np.diag(free.astype(float)) - p) * sd
    known = measured.copy()
    for row, j in zip(rows[:solved], pivots[:solved], strict=True):
        others = np.where(np.arange(len(x)) == j, 0.0, row)
        if not others[unmeasured].any():
            known[j], fitted[j] = True, -others @ fitted
            spread[j, j] = others @ spread @ others

    testable = free & (np.abs(g) > 0).any(axis=0)
    z = {n: _z(w[:, i], v) if testable[i] else None for i, n in enumerate(names)}
    chi2, limit = float(v @ v), chi2_limit(len(g), confidence)
    z_limit = sidak(int(testable.sum()), confidence)
    groups = () if chi2 <= limit else _eliminate(names, g, w, v, testable, confidence)
    deviation = np.sqrt(np.maximum(np.diag(spread), 0.0))
    return Reconciled(
        value={n: float(fitted[i]) if known[i] else None for i, n in enumerate(names)},
        sd={n: float(deviation[i]) if known[i] else None for i, n in enumerate(names)},
        adjustment={n: float(fitted[i] - x[i]) if measured[i] else None for i, n in enumerate(names)},
        z=z,
        status={n: _status(measured[i], free[i], testable[i], known[i]) for i, n in enumerate(names)},
        chi2=chi2,
        chi2_limit=limit,
        freedom=len(g),
        z_limit=z_limit,
        accepted=chi2 <= limit,
        beyond=tuple(n for n in names if z_limit is not None and (z[n] or 0.0) > z_limit),
        suspects=groups,
        equivalent=tuple(
            tuple(names[i] for i in group) for group in _parallel(g, np.flatnonzero(testable)) if len(group) > 1
        ),
        balances=_balances(network, x, sd, fitted, known, {n for group in groups for n in group.streams}),
    )


def chi2_limit(freedom: int, confidence: float) -> float:
    """Return what chi2 passes with probability 1 - confidence when nothing is wrong; 0 when nothing can be tested."""
    from scipy import special

    return float(special.chdtri(freedom, 1 - confidence)) if freedom else 0.0


def sidak(tests: int, confidence: float) -> float | None:
    """Return the limit of |z| that all of `tests` keep together with this confidence; None without a test."""
    from scipy import special

    if not tests:
        return None
    each = -np.expm1(np.log(confidence) / tests)  # 1 - confidence^(1/tests), exact for many tests
    return float(-special.ndtri(each / 2))


def _reduce(a: Floats, order: Sequence[int]) -> tuple[Floats, list[int]]:
    """Return the reduced row echelon form of `a` with pivots sought by column in `order`; rows of zeros are gone."""
    a, pivots = a.copy(), list[int]()
    for j in order:
        done = len(pivots)
        if done == len(a):
            break
        i = done + int(np.argmax(np.abs(a[done:, j])))
        if abs(a[i, j]) < _ZERO:
            continue
        a[[done, i]] = a[[i, done]]
        a[done] /= a[done, j]
        factor = a[:, j].copy()
        factor[done] = 0.0
        a -= np.outer(factor, a[done])
        a[np.abs(a) < _ZERO] = 0.0
        pivots.append(j)
    return a[: len(pivots)], pivots


def _check_exact(network: Network, rows: Floats, x: Floats) -> None:
    """Raise where balances of exactly known flows alone do not close."""
    for row in rows:
        if abs(row @ x) > _CLOSED * np.abs(row * x).max():
            held = ", ".join(repr(s.name) for s, c in zip(network.streams, row, strict=True) if c)
            raise NetworkError(
                f"the exactly known streams (sd 0) {held} do not balance: give at least one a standard deviation"
            )


def _parallel(g: Floats, columns: npt.NDArray[np.intp]) -> list[list[int]]:
    """Group columns of g that are multiples of each other: what they stand for gives the same test statistic."""
    if not len(columns):
        return []
    unit = g[:, columns] / np.linalg.norm(g[:, columns], axis=0)
    first = (np.abs(unit.T @ unit) > 1 - _ZERO).argmax(axis=1)
    return [columns[first == i].tolist() for i in sorted(set(first.tolist()))]


def _z(direction: Floats, v: Floats) -> float:
    return float(abs(direction @ v) / np.linalg.norm(direction))


def _eliminate(
    names: Sequence[str], g: Floats, w: Floats, v: Floats, testable: npt.NDArray[np.bool_], confidence: float
) -> tuple[Suspects, ...]:
    """Leave out, one by one, the measurement whose absence lowers chi2 most, until what is left is accepted.

    Leaving out i lowers chi2 by z_i^2: it takes the direction w_i out of v. What goes with it as its equal is
    suspected as much.
    """
    left, freedom, found = np.flatnonzero(testable), len(g), list[Suspects]()
    while (before := float(v @ v)) > chi2_limit(freedom, confidence):
        z_all = np.abs(v @ w[:, left]) / np.linalg.norm(w[:, left], axis=0)
        i, z = int(left[z_all.argmax()]), float(z_all.max())
        alike = np.abs(g[:, i] @ g[:, left]) > (1 - _ZERO) * np.linalg.norm(g[:, i]) * np.linalg.norm(
            g[:, left], axis=0
        )
        group, left = left[alike], left[~alike]
        v, w, g = (_without(part, by) for part, by in ((v, w[:, i]), (w, w[:, i]), (g, g[:, i])))
        left = left[(np.abs(g[:, left]) > _ZERO).any(axis=0)]
        freedom -= 1
        v = v if freedom else np.zeros_like(v)
        after, limit = float(v @ v), chi2_limit(freedom, confidence)
        found.append(Suspects(tuple(names[j] for j in group), z, before - after, after, limit))
    return tuple(found)


def _without(a: Floats, direction: Floats) -> Floats:
    """Return `a`, a vector or columns, without its part in a direction."""
    unit = direction / np.linalg.norm(direction)
    return a - np.multiply.outer(unit, unit @ a)


def _status(measured: bool, free: bool, testable: bool, known: bool) -> Status:
    if not measured:
        return "observable" if known else "unobservable"
    return "exact" if not free else "redundant" if testable else "nonredundant"


def _balances(
    network: Network, x: Floats, sd: Floats, fitted: Floats, known: npt.NDArray[np.bool_], suspects: set[str]
) -> tuple[Balance, ...]:
    found = []
    for node, row in zip(network.nodes, network.matrix, strict=True):
        touched = [*node.enters, *node.leaves]
        raw = all(network.streams[network.place[n]].measured for n in touched)
        deviation = float(np.linalg.norm(row * sd)) if raw else None
        residual = float(row @ x) if raw else None
        found.append(
            Balance(
                node.name,
                residual,
                deviation,
                residual / deviation if residual is not None and deviation else None,
                float(row @ fitted) if all(known[network.place[n]] for n in touched) else None,
                not suspects.isdisjoint(touched),
            )
        )
    return tuple(found)
