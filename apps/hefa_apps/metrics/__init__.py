"""One definition for each figure: the catalogue, the formulas, and figures reckoned from them once."""

from hefa_apps.metrics.catalogue import AUDIENCES, CatalogueError, Metric, load
from hefa_apps.metrics.reckoning import Desk, Figure, Formulas, Input, Members, Outcome, Reckoning, plain

__all__ = [
    "AUDIENCES",
    "CatalogueError",
    "Desk",
    "Figure",
    "Formulas",
    "Input",
    "Members",
    "Metric",
    "Outcome",
    "Reckoning",
    "load",
    "plain",
]
