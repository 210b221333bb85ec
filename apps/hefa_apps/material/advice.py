"""Set-point advice for a cascade, both sides in kg and money an hour, with a band; advice only. Pure.

(a) Scrub law: a product that is neither lost nor impure needs W* = S - F z, S from organic flow and saponification, F z
the wanted metals fed. Less acid than that makes the product impure, more sends wanted metal into the raffinate.
(b) Soap: a smaller S saves caustic and acid, three mol of each per mol, and loses wanted metal and purity as the steady
cascade does. "No change" is the answer whenever the band holds nought, or it does not pay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, log
from typing import Literal

CONFIDENT = 1.96
NAOH, HCL = 39.997, 36.461

Verdict = Literal["change", "no_change", "unknown"]


@dataclass(frozen=True)
class Side:
    """One side of a bargain: kg an hour and money an hour, each with one standard deviation. Gains are positive."""

    what: str
    kg: float
    kg_sd: float
    money: float | None
    money_sd: float | None


@dataclass(frozen=True)
class Advice:
    """What is, what is advised, with its 95 % band, in the set-point's unit; the sides; `net` money an hour."""

    name: str
    verdict: Verdict
    reason: str
    unit: str = ""
    now: float | None = None
    advised: float | None = None
    low: float | None = None
    high: float | None = None
    sides: tuple[Side, ...] = ()
    net: float | None = None
    net_low: float | None = None
    net_high: float | None = None


@dataclass(frozen=True)
class Cascade:
    """How a cascade runs, kmol RE/h, each with one standard deviation; flow of scrub acid in m3/h of `acid` mol/L."""

    soap: tuple[float, float]
    fed: tuple[float, float]  # of wanted metal: F z
    raffinate: float
    scrub: tuple[float, float]
    flow: float
    acid: float
    oxide: float  # kg per kmol of wanted metal


@dataclass(frozen=True)
class Prices:
    """CNY per kg of pure reagent and of product; None: no price."""

    naoh: float | None
    hcl: float | None
    product: float | None


@dataclass(frozen=True)
class Steady:
    """Steady states: loss in the raffinate and purity, mol %, by soap in kmol/h; specification in mol %."""

    soap: Sequence[float]
    loss: Sequence[float]
    purity: Sequence[float]
    spec: float


def scrub(now: Cascade, prices: Prices, spec: float) -> Advice:
    """Advise on the scrub acid. More acid than W* costs metal, less costs purity; the difference itself costs acid."""
    wanted, wanted_sd = now.soap[0] - now.fed[0], hypot(now.soap[1], now.fed[1])
    unit, to_flow = "m3/h", 3 / now.acid
    band = CONFIDENT * hypot(wanted_sd, now.scrub[1])
    if wanted <= 0:
        return Advice("scrub", "unknown", "no_soap")
    excess = now.scrub[0] - wanted  # kmol/h of scrub beyond the law
    lost, lost_sd = max(excess, 0.0) * now.oxide, hypot(wanted_sd, now.scrub[1]) * now.oxide
    acid, acid_sd = 3 * excess * HCL, 3 * hypot(wanted_sd, now.scrub[1]) * HCL
    product = now.soap[0] - now.scrub[0]
    foreign = max(-excess, 0.0) / product if product > 0 else 0.0
    sides = (
        Side("metal_kept", lost, lost_sd, _times(lost, prices.product), _times(lost_sd, prices.product)),
        Side("acid_saved", acid, acid_sd, _times(acid, prices.hcl), _times(acid_sd, prices.hcl)),
    )
    reason = "within" if abs(excess) <= band else "too_much" if excess > 0 else "too_little"
    if reason == "too_little" and 100 * (1 - foreign) >= spec:
        reason = "still_pure"
    money = [side.money for side in sides]
    net = None if None in money else sum(m or 0.0 for m in money)
    spread = CONFIDENT * hypot(*(side.money_sd or 0.0 for side in sides))
    return Advice(
        "scrub",
        "change" if reason in ("too_much", "too_little") else "no_change",
        reason,
        unit,
        now.flow,
        wanted * to_flow,
        (wanted - band) * to_flow,
        (wanted + band) * to_flow,
        sides,
        net,
        None if net is None else net - spread,
        None if net is None else net + spread,
    )


def soap(now: Cascade, steady: Steady, prices: Prices, step: float = 1.0) -> Advice:
    """Advise on the soap: what `step` kmol/h less would save and cost, by the steady states of the cascade.

    The loss beyond what is lost at the present S is taken as known within a third: stages are not ideal.
    """
    s = now.soap[0]
    less = s - step
    if not steady.soap[0] <= less <= s <= steady.soap[-1] * 1.05:
        return Advice("soap", "unknown", "outside", "kmol/h", s)
    more = (at(steady.soap, steady.loss, less) - at(steady.soap, steady.loss, s)) / 100 * now.raffinate * now.oxide
    impure = [100 - p for p in steady.purity]
    purity, purity_now = 100 - at(steady.soap, impure, less), 100 - at(steady.soap, impure, s)
    naoh, acid = 3 * step * NAOH, 3 * step * HCL
    sides = (
        Side("naoh_saved", naoh, 0.01 * naoh, _times(naoh, prices.naoh), _times(0.01 * naoh, prices.naoh)),
        Side("acid_saved", acid, 0.01 * acid, _times(acid, prices.hcl), _times(0.01 * acid, prices.hcl)),
        Side("metal_lost", -more, more / 3, _times(-more, prices.product), _times(more / 3, prices.product)),
        Side("purity", purity - purity_now, 0.0, None, None),
    )
    money = [side.money for side in sides[:3]]
    if None in money:
        return Advice("soap", "unknown", "no_price", "kmol/h", s, less, sides=sides)
    net, spread = sum(m or 0.0 for m in money), CONFIDENT * hypot(*(side.money_sd or 0.0 for side in sides[:3]))
    reason = "off_spec" if purity < steady.spec else "pays" if net - spread > 0 else "even"
    return Advice(
        "soap",
        "change" if reason == "pays" else "no_change",
        reason,
        "kmol/h",
        s,
        less if reason == "pays" else s,
        None,
        None,
        sides,
        net,
        net - spread,
        net + spread,
    )


def at(x: Sequence[float], y: Sequence[float], here: float) -> float:
    """Return y at a point, straight in its logarithm between the given ones and beyond the last."""
    k = next((i for i in range(1, len(x) - 1) if here < x[i]), len(x) - 1)
    part = (here - x[k - 1]) / (x[k] - x[k - 1])
    return exp(log(y[k - 1]) + part * (log(y[k]) - log(y[k - 1])))


def _times(kg: float, price: float | None) -> float | None:
    return None if price is None else kg * price
