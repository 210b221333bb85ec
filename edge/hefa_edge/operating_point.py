"""The `steady` command: the steady state of an extraction line at any operating point.

Parses settings, asks the cascade, prints. Nothing of it needs a running site.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hefa_edge.config import ConfigError, Settings, read_seeds
from hefa_edge.plant import behaviour
from hefa_edge.plant.behaviour import ELEMENTS, Behaviour, BehaviourError
from hefa_edge.plant.cascade import Floats, OperatingPointError, steady

SETTINGS = {
    "S": "soap: RE that the saponified organic carries, kmol/h",
    "W": "scrub: RE that the scrub acid strips back, kmol/h (default S - F z)",
    "F": "feed of RE, kmol/h",
    "n": "extraction stages",
    "m": "scrub stages",
    "W_factor": "multiplies W",
    "feed_factor": "multiplies the extracted fraction z of the feed; the other elements are scaled to sum 1",
    "efficiency": "Murphree efficiency of a stage, above 0 up to 1",
}

MOST_STAGES = 100  # of each kind: real circuits of difficult pairs have 72


def operating_point(plant: Behaviour, line: str, settings: Mapping[str, float]) -> dict[str, Any]:
    """Solve a line at its design point, changed by `settings` (keys of SETTINGS).

    Returns flows (kmol/h), purities (mol % among RE), recoveries (% of what the feed brings) and the profile by
    stage. Raises OperatingPointError for an unknown line or setting and for what cannot be run.
    """
    if line not in plant.extraction.lines:
        raise OperatingPointError(f"no line {line!r}; there are {', '.join(plant.extraction.lines)}")
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise OperatingPointError(f"cannot set {', '.join(unknown)}; there are {', '.join(SETTINGS)}")
    design = plant.extraction.lines[line]
    for name, value in settings.items():
        if not isfinite(value):
            raise OperatingPointError(f"{name} must be a finite number, not {value:g}")
    for count in ("n", "m"):
        if not 1 <= settings.get(count, 1.0) <= MOST_STAGES or settings.get(count, 1.0) % 1:
            raise OperatingPointError(f"{count} is a number of stages: a whole number from 1 up to {MOST_STAGES}")
    cascade = replace(
        plant.extraction.cascade(line),
        n=int(settings.get("n", design.n)),
        m=int(settings.get("m", design.m)),
        efficiency=settings.get("efficiency", design.efficiency),
    )
    feed = enriched(line_feed(plant, line), design.target, settings.get("feed_factor", 1.0))
    flows = design.flows(feed)._replace(feed=settings.get("F", design.feed), soap=settings.get("S", design.soap))
    extracted = flows.feed * float(feed[design.target].sum())
    scrub = settings.get("W", flows.soap - extracted)
    if scrub <= 0 and "W" not in settings:
        raise OperatingPointError(
            f"scrub W = S - F z = {scrub:g} must be above 0: raise S above {extracted:g} or set W"
        )
    flows = flows._replace(scrub=scrub * settings.get("W_factor", 1.0))
    profile = steady(cascade, flows, feed)

    raffinate_flow, product_flow = flows.feed + flows.scrub - flows.soap, flows.soap - flows.scrub
    fed = flows.feed * feed
    with np.errstate(invalid="ignore", divide="ignore"):
        recovery = 100 * product_flow * profile.product / fed
    target = design.target
    recovered = 100 * product_flow * profile.product[target].sum() / fed[target].sum()
    return {
        "line": line,
        "stages": {"n": cascade.n, "m": cascade.m, "efficiency": cascade.efficiency},
        "flows_kmol_h": {
            "F": flows.feed,
            "S": flows.soap,
            "W": flows.scrub,
            "raffinate": raffinate_flow,
            "product": product_flow,
        },
        "feed_mol_pct": shares(feed),
        "raffinate_mol_pct": shares(profile.raffinate),
        "product_mol_pct": shares(profile.product),
        "extracted": {
            "elements": design.extracted,
            "in_raffinate_mol_pct": 100 * float(profile.raffinate[target].sum()),
            "in_product_mol_pct": 100 * float(profile.product[target].sum()),
        },
        "recovery_pct": {
            **{e: float(r) for e, r in zip(ELEMENTS, recovery, strict=True) if not np.isnan(r)},
            "extracted": float(recovered),
        },
        "profile": [
            {"stage": j + 1, "aqueous_mol_pct": shares(profile.x[j]), "organic_mol_pct": shares(profile.y[j])}
            for j in range(cascade.stages)
        ],
    }


def line_feed(plant: Behaviour, line: str) -> Floats:
    """Give the design feed of a line, mole fractions: the plant's, or what the line before it leaves by design."""
    fractions = plant.feed.fractions.copy()
    for name, design in plant.extraction.lines.items():
        if name == line:
            return np.asarray(fractions / fractions.sum())
        fractions[design.target] = 0.0
    raise OperatingPointError(f"no line {line!r}")


def enriched(feed: Floats, target: np.typing.NDArray[np.intp], factor: float) -> Floats:
    """Multiply the target's share of a feed by exactly `factor`; the others are scaled so that the sum is 1."""
    z = float(feed[target].sum()) * factor
    if not 0 < z < 1:
        raise OperatingPointError(f"feed_factor makes the extracted fraction {z:g}; it must stay between 0 and 1")
    changed = feed * (1 - z) / (1 - float(feed[target].sum()))
    changed[target] = feed[target] * factor
    return np.asarray(changed)


def shares(fractions: Floats) -> dict[str, float]:
    """Write mole fractions as mol % by element, with PrNd together."""
    by_element = {element: 100 * float(v) for element, v in zip(ELEMENTS, fractions, strict=True)}
    return {**by_element, "PrNd": by_element["Pr"] + by_element["Nd"]}


def parse_settings(texts: list[str]) -> dict[str, float]:
    """Read NAME=VALUE settings. Raises OperatingPointError."""
    settings: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            settings[name.strip()] = float(value)
        except ValueError:
            raise OperatingPointError(f"--set {text!r} is not NAME=NUMBER") from None
    return settings


def steady_command(
    line: Annotated[str, typer.Option(help="Extraction line: SXA (LaCe | PrNd) or SXB (La | Ce).")] = "SXA",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, repeated. " + "; ".join(f"{k}: {v}" for k, v in SETTINGS.items())),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, with the stage profile, as JSON.")] = False,
    seeds: Annotated[Path | None, typer.Option(help="Directory of the plant model (seeds).")] = None,
) -> None:
    """Compute the steady state of an extraction line: purity, recovery and profile at an operating point."""
    try:
        plant = behaviour.read(read_seeds(seeds or Settings().seeds))
        point = operating_point(plant, line, parse_settings(set_ or []))
    except (ConfigError, BehaviourError, OperatingPointError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(point, indent=1))
        return
    flows = point["flows_kmol_h"]
    typer.echo(f"{line}: F {flows['F']:.4g}  S {flows['S']:.4g}  W {flows['W']:.4g} kmol RE/h")
    for stream in ("raffinate", "product"):
        row = "  ".join(f"{element} {value:.4f}" for element, value in point[f"{stream}_mol_pct"].items())
        typer.echo(f"{stream:9} {flows[stream]:.4g} kmol/h, mol %: {row}")
    typer.echo(f"recovery of {'+'.join(point['extracted']['elements'])}: {point['recovery_pct']['extracted']:.3f} %")
