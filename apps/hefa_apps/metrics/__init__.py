"""One definition for each figure: the catalogue, the formulas, and figures reckoned from them once."""

from hefa_apps.metrics.catalogue import AUDIENCES, CatalogueError, Metric, load
from hefa_apps.metrics.reckoning import Basis, Desk, Figure, Formulas, Input, Members, Need, Outcome, Reckoning, plain

__all__ = [
    "AUDIENCES",
    "Basis",
    "CatalogueError",
    "Desk",
    "Figure",
    "Formulas",
    "Input",
    "Members",
    "Metric",
    "Need",
    "Outcome",
    "Reckoning",
    "load",
    "plain",
]
