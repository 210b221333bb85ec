"""What production is judged by: `plant.toml` as values. Fork the file with the plant model."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "plant.toml"


@dataclass(frozen=True)
class Product:
    """A product: its liquor's analyser with the elements that are wanted, and what says that it is being made."""

    name: str
    analyser: str
    elements: tuple[str, ...]
    runs: str
    lots: tuple[str, ...]
    flows: tuple[str, ...] = ()
    strength: str = ""
    mode: str = ""
    colour: str = ""

    @property
    def estimated(self) -> bool:
        """Say whether nothing weighs it."""
        return bool(self.flows)


@dataclass(frozen=True)
class Cut:
    """A line of extraction: its products, and what its raffinate may hold of `elements`, % of REO."""

    name: str
    products: tuple[str, ...]
    raffinate: str
    elements: tuple[str, ...]
    most: float


@dataclass(frozen=True)
class Works:
    """The whole file. `least` is the share of a gauge's normal value above which something runs."""

    feed: str
    runs: str
    least: float
    setup: str
    crews: tuple[str, ...]
    stages: tuple[str, ...]
    oxides: dict[str, float]
    products: tuple[Product, ...]
    cuts: tuple[Cut, ...]

    def product(self, name: str) -> Product:
        """Return a product by its name. Raises `KeyError`."""
        return {product.name: product for product in self.products}[name]

    def material(self, name: str) -> Product | None:
        """Return the product that a lot of this material is, or becomes."""
        return next((product for product in self.products if name in product.lots), None)

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag that the formulas look at."""
        names = {self.runs: None}
        for product in self.products:
            names |= dict.fromkeys((product.runs, *product.flows, *filter(None, (product.strength, product.mode))))
            names |= dict.fromkeys(f"{product.analyser}.{element}" for element in self.oxides)
        for cut in self.cuts:
            names |= dict.fromkeys(f"{cut.raffinate}.{element}" for element in cut.elements)
        return tuple(names)


@cache
def works(file: Path = FILE) -> Works:
    """Read the file."""
    found = tomllib.loads(file.read_text("utf-8"))
    return Works(
        feed=found["feed"],
        runs=found["runs"],
        least=found["least"],
        setup=found["setup"],
        crews=tuple(found["crews"]),
        stages=tuple(found["stages"]),
        oxides=found["oxides"],
        products=tuple(Product(name=name, **_tuples(entry)) for name, entry in found["products"].items()),
        cuts=tuple(Cut(name=name, **_tuples(entry)) for name, entry in found["cuts"].items()),
    )


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
