"""Area A2: two exchange cascades with saponification, scrub, strip, stage pH and on-line analysers.

Line SXA cuts LaCe | PrNd, its raffinate feeds line SXB, which cuts La | Ce. The soap S follows from the NaOH, the
scrub W from its acid. W is led by the law W = S - F z and trimmed slowly by the composition of a mid-scrub stage,
long before the product would show an error. Na leaves as brine from the soap, strip acid in excess as acid wash.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hefa_edge.plant import cascade
from hefa_edge.plant.behaviour import Behaviour
from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.loops import Loop
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.process import TANK, Layout
from hefa_edge.plant.substances import (
    CL,
    H2O,
    HCL_31,
    NA,
    NAOH_30,
    OXIDE,
    RE,
    SCRUB_ACID,
    STRIP_ACID,
    VOLUME,
    WATER,
    Floats,
    vector,
)

P507 = 1.5  # kmol/m3 of extractant
_STRIP_EXCESS = 1.02  # acid that stripping needs at least, by stoichiometry
_BRINE_RE = 30.0  # mg/L of oxide lost with the brine
_BRINE_WATER = 8.4 / 3.6  # m3 of wash water per m3 of NaOH solution, 1 m3/h of it fresh
_FRESH = 1.0 / 3.6
_TANK = 27.5
_PUMPS = {"A-org": "P-241", "B-org": "P-242", "A-feed": "P-243", "B-feed": "P-244", "A-scrub": "P-245"}


class Extracted(NamedTuple):
    """What a minute of A2 gave to the next areas, and what it took."""

    prnd: Floats
    ce: Floats
    la: Floats
    brine: Floats
    acid_wash: Floats
    reused_water: float  # m3
    fresh_water: float  # m3
    dilution_water: float  # m3 that makes strong acid weak
    load: float


class _Lineup:
    """One line: its cascade, loops and tags."""

    def __init__(
        self,
        name: str,
        letter: str,
        analysers: tuple[str, str, str],
        behaviour: Behaviour,
        feed: Floats,
        flows: tuple[float, float, float, float, float],
        board: Board,
        layout: Layout,
        nature: Fluctuations,
    ) -> None:
        extraction = behaviour.extraction
        self.name, self.letter = name, letter
        self.design = extraction.lines[name]
        self.cascade = extraction.cascade(name)
        self.chemistry = extraction
        self.flows = self.design.flows(feed)
        self.start = cascade.steady(self.cascade, self.flows, np.maximum(feed, 1e-9) / np.maximum(feed, 1e-9).sum())
        self.target = self.design.target
        self.watched = self._impurity(self.start)
        loops = ("feed", "org", "scrub", "strip", "naoh")
        self.loop = {
            kind: Loop(f"FIC-{letter}-{kind}", flow, board, layout, nature, _PUMPS.get(f"{letter}-{kind}", ""))
            for kind, flow in zip(loops, flows, strict=True)
        }
        self.trim = layout.number(f"FIC-{letter}-scrub.trim")
        self.stripping = layout.vessel(f"stripping of {name}")
        self.interface = layout.number(f"{name}.interface", 350.0)
        prefix = f"MS-{letter}"
        numbers = [
            int(tag.unit[len(prefix) :]) for tag in board.tags if tag.unit.startswith(prefix) and tag.suffix == "ph"
        ]
        self.stage = np.array([k - 1 for k in numbers if k <= self.cascade.stages], dtype=np.intp)
        units = [f"{prefix}{k + 1:02d}" for k in self.stage]
        self.ph = board.columns(units, "ph")
        self.aq_re = board.columns(units, "aq_re", "exact")
        self.intf, self.temp = board.columns(units, "intf"), board.columns(units, "temp")
        self.amp = board.columns(units, "agit_amp")
        self.shares = [[board.column(unit, s, "exact") for s in ("la", "ce", "pr", "nd")] for unit in analysers]
        self.reo = [board.column(unit, "reo", "exact") for unit in analysers]
        self.usual_ph = board.normal[self.ph]
        self.correction = self.usual_ph  # until the warm minute has told what the equilibrium alone would give

    def _impurity(self, profile: cascade.Profile) -> float:
        """What is not wanted in the watched stage's aqueous phase, mole fraction."""
        return 1.0 - float(profile.x[self.design.watch - 1, self.target].sum())

    def scrub_for(self, minute: Minute, soap: float, feed: float, fractions: Floats, profile: cascade.Profile) -> float:
        """Say how much RE the scrub acid shall strip, kmol/h."""
        number = minute.process.number
        lead = soap - feed * float(fractions[self.target].sum())
        if minute.process.warm:
            number[self.trim] = 0.0
            return lead
        error = self._impurity(profile) - self.watched
        # The watched stage swings by much for little acid: hours to act, a day to forget.
        number[self.trim] = min(max(number[self.trim] + 0.004 * error * minute.hours, -0.05), 0.05)
        return lead * (1 + number[self.trim] + min(max(0.02 * error, -0.01), 0.01))


class Extraction:
    """The models of A2."""

    def __init__(
        self, board: Board, layout: Layout, nature: Fluctuations, behaviour: Behaviour, feed_m3: float
    ) -> None:
        fractions = behaviour.feed.fractions
        soap_a, soap_b = behaviour.extraction.lines["SXA"].soap, behaviour.extraction.lines["SXB"].soap
        naoh = float(NAOH_30[NA])
        a_flows = behaviour.extraction.lines["SXA"].flows(fractions)
        scrub_a = 3 * a_flows.scrub / 3.5
        a = _Lineup(
            "SXA",
            "A",
            ("AN-221", "AN-222", "AN-223"),
            behaviour,
            fractions,
            (feed_m3, 38.9, scrub_a, 1.24, 3 * soap_a / naoh),
            board,
            layout,
            nature,
        )
        left = a.start.raffinate
        b_line = behaviour.extraction.lines["SXB"]
        raffinate = a_flows.feed + a_flows.scrub - a_flows.soap
        scrub_b = 3 * (soap_b - raffinate * float(left[b_line.target].sum())) / 3.5
        b = _Lineup(
            "SXB",
            "B",
            ("AN-224", "AN-225", "AN-226"),
            behaviour,
            left,
            (feed_m3 + scrub_a, 27.8, scrub_b, 2.74, 3 * soap_b / naoh),
            board,
            layout,
            nature,
        )
        self.lines = (a, b)
        self.feed_m3 = feed_m3
        self._soap_nominal = (soap_a, soap_b)
        self._naoh = naoh
        self._raffinate, self._la = layout.vessel("TK-232"), layout.vessel("TK-235")
        self._products = layout.vessel("TK-233"), layout.vessel("TK-234")
        self._raffinate_level = layout.number("TK-232.level", 55.0)
        self._in = {name: layout.inlet(name) for name in ("HCl", "NaOH", "fresh water", "formed water")}
        self._temp = nature.add("extraction temperature", 3.0)
        self._acid_strength = nature.add("strength of weak acids", 6.0)
        u = "SP-201"
        self._sp201 = {s: board.column(u, s) for s in ("ph", "temp", "agit_amp", "intf", "p507")}
        self._deg = board.column(u, "deg", "exact")
        self._org, self._naoh_flow = board.column(u, "org", "held"), board.column(u, "naoh", "held")
        u = "SP-202"
        self._sp202 = {s: board.column(u, s) for s in ("ph", "brine_re", "intf", "cod", "temp")}
        self._brine = board.column(u, "brine", "held")
        self._ow = [(board.columns(("OW-211", "OW-212"), s), s) for s in ("oil", "lvl", "dp")]
        self._normal = board.normal

    def feed_draw(self, minute: Minute) -> float:
        """Take the feed liquor of SXA for this minute, m3: its loop runs first, the tank gives what it has."""
        return self.lines[0].loop["feed"].run(minute, self.feed_m3 * minute.acting.pace) * minute.hours

    def run(self, minute: Minute, liquor: Floats) -> Extracted:
        """Run a minute on the feed liquor that was drawn."""
        process, truth, hours = minute.process, minute.truth, minute.hours
        a, b = self.lines
        raffinate_a, prnd, wash_a, a_sum = self._line(minute, a, liquor, 0)
        level = process.number[self._raffinate_level]
        pull = (1 + 1.2 * (level - 55.0) / 100) * min(level / 20.0, 1.0)  # an emptying tank is spared
        draw = b.loop["feed"].run(minute, b.loop["feed"].design * minute.acting.pace * pull) * hours
        b_feed = process.supply(self._raffinate, raffinate_a, draw, _TANK)
        process.number[self._raffinate_level] = 100 * float(process.held[self._raffinate][VOLUME]) / 50
        raffinate_b, ce, wash_b, b_sum = self._line(minute, b, b_feed, 1)

        brine, losses = self._brine_of(minute, a_sum, b_sum, raffinate_b)
        la = process.through(self._la, raffinate_b - losses, _TANK, hours, TANK)
        prnd = process.through(self._products[0], prnd, _TANK, hours, TANK)
        ce = process.through(self._products[1], ce, _TANK, hours, TANK)

        org = a_sum.organic + b_sum.organic
        naoh = a_sum.naoh + b_sum.naoh
        degree = 100 * naoh * self._naoh / max(org * P507, 1e-9) + minute.acting.saponification
        truth[self._deg] = degree
        truth[self._org], truth[self._naoh_flow] = org, naoh
        warmth = 0.06 * (minute.ambient - 8.0) + 0.4 * minute.wander[self._temp]
        for column, gain, swing in (
            (self._sp201["ph"], 0.08, degree - 35.85),
            (self._sp201["temp"], 1.0, warmth),
            (self._sp201["agit_amp"], 1.0, 9.0 * (org / 66.7 - 1)),
            (self._sp201["intf"], 1.0, 300 * (org / 66.7 - 1)),
            (self._sp201["p507"], 1.0, 0.0),
            (self._sp202["ph"], 0.06, degree - 35.85),
            (self._sp202["intf"], 1.0, 300 * (org / 66.7 - 1)),
            (self._sp202["temp"], 1.0, warmth),
            (self._sp202["cod"], 1.0, 260 * (org / 66.7 - 1) + 180 * minute.acting.emulsion.get("SXA", 0.0)),
            (self._sp202["brine_re"], 1.0, _brine_re(degree) - _BRINE_RE),
        ):
            truth[column] = self._normal[column] + gain * swing
        truth[self._brine] = (naoh) * (1 + _BRINE_WATER)
        oily = 1 + 2 * (org / 66.7 - 1) + 2.0 * max(minute.acting.emulsion.values(), default=0.0)
        for columns, suffix in self._ow:
            truth[columns] = self._normal[columns] * (oily if suffix == "oil" else 1.0)
        water = naoh * hours * _BRINE_WATER
        fresh = naoh * hours * _FRESH
        dilution = a_sum.dilution + b_sum.dilution
        return Extracted(prnd, ce, la, brine, wash_a + wash_b, water - fresh, fresh, dilution, a_sum.load)

    def _line(self, minute: Minute, line: _Lineup, feed: Floats, nth: int) -> tuple[Floats, Floats, Floats, _Sums]:
        """Run one cascade for a minute. Returns raffinate, strip liquor, acid wash and sums."""
        process, hours, acting = minute.process, minute.hours, minute.acting
        arrays = process.arrays
        if process.warm:
            arrays[f"{line.name}.x"], arrays[f"{line.name}.y"] = line.start
            arrays[f"{line.name}.z"] = cascade.holdup(line.cascade, line.start)
        profile = cascade.Profile(arrays[f"{line.name}.x"], arrays[f"{line.name}.y"])
        re = feed[RE]
        fed = float(re.sum()) / hours
        fractions = re / max(re.sum(), 1e-12)

        organic = line.loop["org"].run(minute, line.loop["org"].design * acting.pace)
        # NaOH follows the organic, so that the saponification degree stays.
        ratio = organic / line.loop["org"].design
        naoh = line.loop["naoh"].run(minute, 3 * self._soap_nominal[nth] / self._naoh * ratio)
        base = process.take_in(self._in["NaOH"], NAOH_30 * (naoh * hours))
        process.take_in(self._in["formed water"], vector(water=float(base[NA]) * H2O))
        # Degree lost in saponification is NaOH that leaves with the brine unused.
        used = max(0.0, 1 + acting.saponification / line.chemistry.saponification)
        soap = min(naoh * self._naoh / 3 * used, organic * line.chemistry.loading * 1.25)
        strength = acting.acid_strength * (1 + 0.001 * minute.wander[self._acid_strength])
        wanted = line.scrub_for(minute, soap, fed, fractions, profile)
        scrub_flow = line.loop["scrub"].run(minute, 3 * wanted / 3.5)
        acid = SCRUB_ACID * (scrub_flow * hours)
        acid[CL] *= strength
        process.take_in(self._in["HCl"], _undiluted(acid))
        scrub = float(acid[CL]) / 3 / hours
        # A cascade has room for neither a negative product nor a negative raffinate.
        soap = min(max(soap, scrub), fed + scrub)
        flows = cascade.Flows(fed, soap, scrub)
        held, profile, out = cascade.step(line.cascade, arrays[f"{line.name}.z"], profile, flows, re / hours, hours)
        if process.warm:
            held, profile = cascade.holdup(line.cascade, line.start), line.start
            out = cascade.Outlets(
                (flows.feed + flows.scrub - flows.soap) * hours * line.start.raffinate,
                (flows.soap - flows.scrub) * hours * line.start.product,
            )
        arrays[f"{line.name}.z"], arrays[f"{line.name}.x"], arrays[f"{line.name}.y"] = held, profile.x, profile.y

        raffinate = feed + acid
        raffinate[RE] = out.raffinate
        # Where a soaped site took an RE it gave three Na to the aqueous phase, which leaves as brine.
        raffinate[CL] += 3 * (float(out.raffinate.sum()) - float(re.sum())) - float(acid[CL])
        strip_flow = line.loop["strip"].run(minute, line.loop["strip"].design * acting.pace)
        strip = STRIP_ACID * (strip_flow * hours)
        strip[CL] *= strength
        process.take_in(self._in["HCl"], _undiluted(strip))
        loaded = vector(volume=1e-9)
        loaded[RE] = out.product
        waiting = process.held[line.stripping]
        if process.warm:
            waiting[:] = 0
        waiting += loaded
        ready = float(waiting[RE].sum())
        share = min(1.0, float(strip[CL]) / (3 * _STRIP_EXCESS) / max(ready, 1e-12))
        taken = waiting * share
        waiting -= taken
        product = strip.copy()
        product[RE] = taken[RE]
        product[CL] = 3 * float(taken[RE].sum())
        wash = vector(Cl=float(strip[CL]) - float(product[CL]))

        self._show(minute, line, profile, flows, raffinate, product, organic, (feed[VOLUME], acid[VOLUME]))
        load = fed / line.flows.feed
        dilution = sum(float(x[WATER]) - float(_undiluted(x)[WATER]) for x in (acid, strip))
        return raffinate, product, wash, _Sums(organic, naoh, base, 3 * soap * hours, dilution, load)

    def _brine_of(self, minute: Minute, a: _Sums, b: _Sums, raffinate: Floats) -> tuple[Floats, Floats]:
        """Make the brine of both lines, and say which RE it takes out of the last raffinate."""
        brine = a.base + b.base
        water = (a.naoh + b.naoh) * minute.hours * _BRINE_WATER
        brine[WATER] += water + float(a.base[NA] + b.base[NA]) * H2O
        brine[VOLUME] += water
        brine[CL] = a.exchanged + b.exchanged
        fresh = (a.naoh + b.naoh) * minute.hours * _FRESH
        minute.process.take_in(self._in["fresh water"], vector(water=fresh, volume=fresh))
        degree = 36.0 + minute.acting.saponification
        grams = _brine_re(degree) * float(brine[VOLUME])  # mg/L x m3
        re = raffinate[RE]
        lost = min(grams / 1000 / max(float(OXIDE @ re), 1e-9), 0.5)
        losses = vector()
        losses[RE] = re * lost
        losses[CL] = 3 * float(losses[RE].sum())
        return brine + losses, losses

    def _show(
        self,
        minute: Minute,
        line: _Lineup,
        profile: cascade.Profile,
        flows: cascade.Flows,
        raffinate: Floats,
        product: Floats,
        organic: float,
        volumes: tuple[float, float],
    ) -> None:
        truth, hours = minute.truth, minute.hours
        feed_m3, scrub_m3 = volumes[0] / hours, volumes[1] / hours
        stages = line.cascade.stages
        # Aqueous concentration: what flows in RE by what flows in volume, stage 1 after the soap has taken its part.
        concentration = np.full(stages, flows.scrub / max(scrub_m3, 1e-6))
        concentration[: line.cascade.n] = (flows.feed + flows.scrub) / max(feed_m3 + scrub_m3, 1e-6)
        concentration[0] = (flows.feed + flows.scrub - flows.soap) / max(feed_m3 + scrub_m3, 1e-6)
        chemistry = line.chemistry
        loading = min(max(flows.soap / max(organic, 1e-6), 0.01), 0.24)
        equilibrium = cascade.stage_ph(
            profile, line.cascade.beta, chemistry.log_k_la, np.maximum(concentration, 1e-3), loading, chemistry.dimer
        )[line.stage]
        if minute.process.warm:
            line.correction = line.usual_ph - equilibrium
        truth[line.ph] = np.clip(equilibrium + line.correction, 0.0, 14.0)
        grams = profile.x @ OXIDE
        truth[line.aq_re] = (concentration * grams)[line.stage]
        emulsion = minute.acting.emulsion.get(line.name, 0.0)
        # The interface follows flows within minutes; an emulsion lifts it for as long as it lasts.
        target = 350.0 + 250 * (organic / line.loop["org"].design - 1) + 130.0 * emulsion
        number = minute.process.number
        number[line.interface] += (target - number[line.interface]) * -math.expm1(-hours / 0.1)
        truth[line.intf] = number[line.interface]
        truth[line.temp] = 28.0 + 0.06 * (minute.ambient - 8.0) + 0.4 * minute.wander[self._temp]
        truth[line.amp] = 4.2 * (0.4 + 0.6 * organic / line.loop["org"].design) * (1 + 0.12 * emulsion)
        middle = line.design.watch - 1
        for shares, reo, x, strength in (
            (line.shares[0], line.reo[0], raffinate[RE], raffinate),
            (line.shares[1], line.reo[1], profile.x[middle], None),
            (line.shares[2], line.reo[2], product[RE], product),
        ):
            oxides = OXIDE * x
            truth[shares] = 100 * oxides / max(oxides.sum(), 1e-12)
            truth[reo] = (
                concentration[middle] * oxides.sum() if strength is None else oxides.sum() / max(strength[VOLUME], 1e-9)
            )


class _Sums(NamedTuple):
    organic: float  # m3/h
    naoh: float  # m3/h
    base: Floats
    exchanged: float  # kmol of chloride that changed from RE to Na
    dilution: float  # m3
    load: float


def _undiluted(acid: Floats) -> Floats:
    """The 31 % acid that a weak acid was made from."""
    return np.asarray(HCL_31 * (acid[CL] / HCL_31[CL]))


def _brine_re(degree: float) -> float:
    """RE in the brine, mg/L: more where the soap leaves too much behind."""
    return _BRINE_RE * math.exp(min(max((degree - 36.0) / 4.0, -2.0), 2.0))
