"""Counter-current cascades of mixer-settlers that exchange rare earths at constant loading.

The saponified organic carries a fixed amount of rare earths (RE), so in a stage ions only change places (Xu's
theory of cascade extraction): between the mole fractions x of the aqueous and y of the organic phase holds
y_i = beta_i x_i / sum(beta_j x_j). Stage 1 is the raffinate's end and takes the fresh organic; the feed enters
stage n; the scrub acid enters the last stage n + m, where it strips W back from the organic.

Pure: no clock, no files. Amounts are kmol of RE, times hours, flows kmol/h; arrays are (stages, elements).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A residual beyond this, by the feed, is no steady state; a good one is 1e-12.
_TOLERANCE = 1e-10
_MAX_ITERATIONS = 600
# No outlet may carry off more than this share of what a stage holds within one explicit step.
_SHARE_PER_STEP = 0.25


class OperatingPointError(ValueError):
    """No cascade can run at these flows; the text says which condition is broken."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """The build of a cascade: `n` stages from the raffinate to the feed, `m` scrub stages beyond it.

    `beta` are the separation constants by element, ascending extractability, relative to the first. `aqueous` and
    `organic` are the hold-up of a stage in kmol. `efficiency` is Murphree's for the organic phase, 0 < E <= 1.
    """

    n: int
    m: int
    beta: Floats
    aqueous: float
    organic: float
    efficiency: float = 1.0

    def __post_init__(self) -> None:
        if not (self.n >= 1 and self.m >= 1 and 0 < self.efficiency <= 1 and self.aqueous > 0 and self.organic > 0):
            raise OperatingPointError("a cascade needs n >= 1, m >= 1, hold-ups above 0 and 0 < efficiency <= 1")

    @property
    def stages(self) -> int:
        return self.n + self.m


class Flows(NamedTuple):
    """Feed F, soap S and scrub W, kmol/h of RE. The product is S - W, the raffinate F + W - S."""

    feed: float
    soap: float
    scrub: float

    def check(self) -> None:
        """Raise OperatingPointError unless product, raffinate and all streams are above 0."""
        feed, soap, scrub = self
        if not (np.isfinite(self).all() and feed > 0 and scrub > 0):
            raise OperatingPointError(f"feed F = {feed:g} and scrub W = {scrub:g} must be above 0")
        if soap <= scrub:
            raise OperatingPointError(f"product S - W = {soap - scrub:g} must be above 0: raise S or lower W")
        if feed + scrub <= soap:
            raise OperatingPointError(f"raffinate F + W - S = {feed + scrub - soap:g} must be above 0: lower S")


class Profile(NamedTuple):
    """Mole fractions by stage and element, raffinate's end first: aqueous `x`, organic `y`."""

    x: Floats
    y: Floats

    @property
    def raffinate(self) -> Floats:
        return np.asarray(self.x[0])

    @property
    def product(self) -> Floats:
        return np.asarray(self.y[-1])


class Outlets(NamedTuple):
    """What left within a step, kmol by element."""

    raffinate: Floats
    product: Floats


def steady(cascade: Cascade, flows: Flows, feed: Floats) -> Profile:
    """Find the steady state for a feed of mole fractions `feed` (elements,), which sum to 1.

    Every balance closes to 1e-10 of the feed. Elements that the feed has none of are nowhere. Raises
    OperatingPointError where the flows cannot be, or where no steady state is found.
    """
    flows.check()
    present = feed > 0
    if not np.isclose(feed.sum(), 1.0, atol=1e-9) or (feed < 0).any() or present.sum() < 2:
        raise OperatingPointError("the feed needs two elements at least, with fractions that sum to 1")
    x, y = np.zeros((2, cascade.stages, len(feed)))
    by_feed = Flows(1.0, flows.soap / flows.feed, flows.scrub / flows.feed)
    x[:, present], y[:, present] = _solve(cascade, by_feed, feed[present], cascade.beta[present])
    return Profile(x, y)


def holdup(cascade: Cascade, profile: Profile) -> Floats:
    """Give what the stages hold at a profile, kmol."""
    return np.asarray(cascade.aqueous * profile.x + cascade.organic * profile.y)


def step(
    cascade: Cascade, held: Floats, profile: Profile, flows: Flows, feed: Floats, hours: float
) -> tuple[Floats, Profile, Outlets]:
    """Move what the stages hold through `hours`, with `feed` the kmol/h that enter by element.

    `profile` is that of `held`, as `holdup` or the last step gave it. What comes in, what goes out and what is held
    close to rounding, whatever the step, for all leaves one stage that enters the next.
    """
    raffinate, product = np.zeros((2, held.shape[1]))
    aqueous, organic = _aqueous(cascade, flows), _organic(cascade, flows)
    fastest = max(aqueous.max() / cascade.aqueous, organic.max() / cascade.organic)
    parts = max(1, int(np.ceil(hours * fastest / _SHARE_PER_STEP)))
    each = hours / parts
    for _ in range(parts):
        down = aqueous * profile.x * each
        up = organic * profile.y * each
        held = held - down - up
        held[:-1] += down[1:]
        held[1:] += up[:-1]
        held[cascade.n - 1] += feed * each
        raffinate += down[0]
        product += up[-1]
        profile = _settle(cascade, held, profile)
    return held, profile, Outlets(raffinate, product)


def stage_ph(
    profile: Profile, beta: Floats, log_k_first: float, aqueous: Floats, organic: float, dimer: float
) -> Floats:
    """Give each stage's pH from its extraction equilibrium, (stages,).

    `aqueous` (stages,) and `organic` are the RE concentrations of the phases, kmol/m3; `dimer` the extractant that
    is free when the organic is empty, of which a loaded RE binds three. h = [(HA)2] (sum K c_aq / c_org)^(1/3).
    """
    pull = 10.0**log_k_first * (profile.x @ beta) * aqueous / organic
    free = max(dimer - 3 * organic, 1e-6)
    return np.asarray(-np.log10(free * np.cbrt(pull)))


def _aqueous(cascade: Cascade, flows: Flows) -> Floats:
    """Aqueous flow out of each stage, (stages, 1)."""
    flow = np.full((cascade.stages, 1), float(flows.scrub))
    flow[: cascade.n] += flows.feed
    flow[0] -= flows.soap
    return flow


def _organic(cascade: Cascade, flows: Flows) -> Floats:
    """Organic flow out of each stage, (stages, 1)."""
    flow = np.full((cascade.stages, 1), float(flows.soap))
    flow[-1] -= flows.scrub
    return flow


def _settle(cascade: Cascade, held: Floats, last: Profile) -> Profile:
    """Split what stages hold between their phases.

    With s = sum(beta x) unknown, x_i = z_i / (Na + No E beta_i / s), less what came up unchanged where E < 1; the
    sum of x is 1 for one s only, found by Newton from the last profile. Two rounds suffice for a minute's change.
    """
    beta, na = cascade.beta, cascade.aqueous
    no = np.full((cascade.stages, 1), cascade.organic * cascade.efficiency)
    no[0] = cascade.organic  # stage 1 meets an organic without RE: ideal
    share = held
    carried = None
    if cascade.efficiency < 1:
        carried = np.zeros_like(held)
        carried[1:] = (1 - cascade.efficiency) * last.y[:-1]
        share = np.maximum(held - cascade.organic * carried, 1e-15 * held)
    s = (last.x @ beta)[:, None]
    for _ in range(3):
        denominator = na + no * beta / s
        x = share / denominator
        slope = (x / denominator * (no * beta)).sum(axis=1, keepdims=True) / (s * s)
        s = np.maximum(s - (x.sum(axis=1, keepdims=True) - 1) / slope, 0.5 * s)
    x = share / (na + no * beta / s)
    x /= x.sum(axis=1, keepdims=True)
    y = beta * x
    y /= y.sum(axis=1, keepdims=True)
    if carried is not None:
        y[1:] = carried[1:] + cascade.efficiency * y[1:]
    return Profile(x, y)


def _solve(cascade: Cascade, flows: Flows, feed: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """Newton's method along pseudo-time: implicit steps that grow from a change of a stage's hold-up towards infinity."""
    stages, elements = cascade.stages, len(feed)
    down, up = _aqueous(cascade, flows), _organic(cascade, flows)
    efficiency = np.full(stages, cascade.efficiency)
    efficiency[0] = 1.0  # the fresh organic carries nothing that could come up unchanged
    # Share of stage k's equilibrium in the organic that leaves stage j, (j, k): Murphree's rule, unrolled.
    mix = np.zeros((stages, stages))
    for j in range(stages):
        if j:
            mix[j] = (1 - efficiency[j]) * mix[j - 1]
        mix[j, j] += efficiency[j]
    # Organic in less organic out, and aqueous in less aqueous out, as matrices over stages.
    lift = -up * mix
    lift[1:] += up[:-1] * mix[:-1]
    fall = -np.diag(down[:, 0]) + np.diag(down[1:, 0], k=1)

    def equilibrium(x: Floats) -> Floats:
        y = beta * x
        return np.asarray(y / y.sum(axis=1, keepdims=True))

    def residual(x: Floats) -> Floats:
        r = fall @ x + lift @ equilibrium(x)
        r[cascade.n - 1] += flows.feed * feed
        return np.asarray(r)

    eye = np.eye(elements)
    x = np.tile(feed, (stages, 1))
    r = residual(x)
    pace = 0.5
    for _ in range(_MAX_ITERATIONS):
        pull = x @ beta
        y = beta * x / pull[:, None]
        slope = (beta[:, None] * eye - y[:, :, None] * beta) / pull[:, None, None]  # dy/dx of each stage
        jacobian = np.einsum("jk,ab->jakb", fall, eye) + np.einsum("jk,kab->jakb", lift, slope)
        inertia = 1 / pace
        size = stages * elements
        move = np.linalg.solve(inertia * np.eye(size) - jacobian.reshape(size, size), r.ravel()).reshape(x.shape)
        if (x + move <= 0).any() or np.abs(move).max() > 0.2:
            pace /= 4
            continue
        x = x + move
        r = residual(x)
        if np.abs(r).max() < _TOLERANCE / 100 or (np.abs(r).max() < _TOLERANCE and pace > 1e9):
            return x, mix @ equilibrium(x)
        pace = min(pace * 2, 1e12)
    raise OperatingPointError("no steady state was found: the flows are too near to a limit of the cascade")
