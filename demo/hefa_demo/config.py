"""What a demo run is asked to do, and where its files lie. Pure values: nothing here opens anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PORTS = {"portal": 8080, "api": 8000, "mqtt": 1883, "postgres": 5433}  # preferred; the next free one otherwise

_UNIT_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `5m`, `6h`, `2d`, `1d12h` or a plain number of seconds; ValueError, in a sentence, otherwise."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(s|min|m|h|d|w)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: write 90s, 5m, 6h, 2d or 1d12h")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


@dataclass(frozen=True)
class Options:
    """One run of the demo. Times in seconds; `run_for` counts from ready, None runs until it is stopped."""

    data_dir: Path
    history: float = 2 * 86_400.0
    profile: str = "full"
    run_for: float | None = None
    dsn: str | None = None
    broker: str | None = None
    fresh: bool = False
    scenario: str = "busy-month"


@dataclass(frozen=True)
class Layout:
    """The data folder: everything a demo keeps is in here, and deleting it forgets the demo."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "demo.lock"

    @property
    def document(self) -> Path:
        """Addresses, key and process ids, while the demo is ready (design 8)."""
        return self.root / "demo.json"

    @property
    def history(self) -> Path:
        """Says which history was backfilled; there once the backfill has finished."""
        return self.root / "history.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def edge(self) -> Path:
        """What `hefa-edge` keeps: it makes this folder itself."""
        return self.root / "edge"

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    @property
    def kept(self) -> tuple[Path, ...]:
        """What `--fresh` deletes."""
        return (self.secrets, self.postgres, self.broker, self.edge, self.history, self.root / "truth.sqlite")

    @property
    def names(self) -> set[str]:
        """What may lie in the folder before the first demo."""
        return {path.name for path in (*self.kept, self.lock, self.document, self.log("any").parent)}
