"""The metric catalogue: what each figure means, once, with the fields of ISO 22400-1. Data in `metrics/*.toml`.

A table is a metric by its id (`["energy.cost"]`), or a family whose id has a `*`: `["use.*"]` is the use of each
subject that the site meters, and `{subject}` in its texts is that subject, `{unit}` its unit.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
AUDIENCES = ("shift leader", "energy", "quality", "production", "maintenance", "environment", "management")


class CatalogueError(ValueError):
    """A catalogue file says something that cannot be; the text names file, metric and field."""


@dataclass(frozen=True)
class Metric:
    """What a figure means. `unit` is UCUM, of a family it may hold `{unit}`: that of its subject."""

    id: str
    name: str
    description: str
    formula: str
    unit: str
    source: str
    audience: tuple[str, ...]
    scope: str = "site"
    timing: str = "on demand"
    range: str = ""
    trend: str = ""
    methodology: str = "continuous"
    notes: str = ""

    @property
    def family(self) -> bool:
        """Say whether this stands for a metric of each subject."""
        return "*" in self.id

    def subject(self, id: str) -> str | None:
        """Return the subject whose member of this family has this id, None when it is no member."""
        first, _, last = self.id.partition("*")
        named = id.startswith(first) and id.endswith(last) and len(id) > len(first) + len(last)
        return id[len(first) : len(id) - len(last)] if self.family and named else None

    def member(self, subject: str, unit: str) -> "Metric":
        """Return the metric of one subject of this family; `unit` is that of the subject."""
        changed: dict[str, Any] = {"id": self.id.replace("*", subject)}
        for name, text in vars(self).items():
            if isinstance(text, str) and name != "id":
                changed[name] = text.replace("{subject}", subject).replace("{unit}", unit)
                if name == "name":  # carriers are written small where they are no beginning
                    changed[name] = changed[name][:1].upper() + changed[name][1:]
        return replace(self, **changed)


def load(folder: Path = FOLDER) -> dict[str, Metric]:
    """Read every file of the catalogue. Raises `CatalogueError`."""
    found: dict[str, Metric] = {}
    for path in sorted(folder.glob("*.toml")):
        for id, entry in tomllib.loads(path.read_text("utf-8")).items():
            if id in found:
                raise CatalogueError(f"{path.name}: {id} stands twice: a metric has one definition")
            found[id] = _metric(path.name, id, entry)
    return found


def _metric(file: str, id: str, entry: Any) -> Metric:
    known = {field.name for field in fields(Metric)} - {"id"}
    if not isinstance(entry, Mapping):
        raise CatalogueError(f"{file}: {id} is no table")
    if unknown := set(entry) - known:
        raise CatalogueError(f"{file}: {id}: unknown field {min(unknown)}; allowed are {', '.join(sorted(known))}")
    if missing := [name for name in ("name", "description", "formula", "unit", "source") if name not in entry]:
        raise CatalogueError(f"{file}: {id}: the field {missing[0]} is missing")
    audience = tuple(entry.get("audience", ()))
    if not audience or (strange := set(audience) - set(AUDIENCES)):
        said = f"{min(strange)} is no audience" if audience else "name an audience"
        raise CatalogueError(f"{file}: {id}: {said}; allowed are {', '.join(AUDIENCES)}")
    return Metric(id=id, **{**entry, "audience": audience})
