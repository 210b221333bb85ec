"""Reading one TOML seed so that every mistake in it is found, and told with file, key and what is allowed.

Readers ask a Table for its keys by type. A mistake is noted in the shared list and a neutral value comes back
(empty text, NaN), so that reading goes on to the next mistake. Nothing is raised here.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple


class Problem(NamedTuple):
    """One mistake in the seeds: `key` is the dotted path in `file`, `text` says what is wrong and what is allowed."""

    file: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


class Table:
    """A TOML table under scrutiny. Call `close` when all expected keys were asked for: what is left is unknown."""

    def __init__(self, problems: list[Problem], file: str, path: str, data: Mapping[str, Any]) -> None:
        self.file = file
        self.path = path
        self._problems = problems
        self._data = data
        self._asked: list[str] = []

    def note(self, key: str, text: str) -> None:
        """Record a mistake at `key` of this table ('' = the table itself)."""
        self._problems.append(Problem(self.file, ".".join(part for part in (self.path, key) if part), text))

    def has(self, key: str) -> bool:
        return key in self._data

    def raw(self, key: str) -> Any:
        """The value as it stands, None when absent."""
        self._asked.append(key)
        return self._data.get(key)

    def text(self, key: str, default: str | None = None, allowed: Collection[str] = ()) -> str:
        value = self._get(key, default, "a text", str)
        if value is None:
            return ""
        if allowed and value not in allowed and key in self._data:
            self.note(key, f"{value!r} is not allowed; allowed: {', '.join(allowed)}")
        return str(value)

    def number(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default, "a number", int, float)
        return math.nan if value is None else float(value)

    def texts(self, key: str) -> list[str]:
        """A list of texts; empty when absent."""
        value = self._get(key, [], "a list of texts", list)
        if not all(isinstance(item, str) for item in value):
            self.note(key, f"{value!r} is not a list of texts")
        return [item for item in value if isinstance(item, str)]

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default, "true or false", bool)
        return default if value is None else bool(value)

    def table(self, key: str, required: bool = True) -> "Table":
        value = self._get(key, None if required else {}, "a table", dict)
        return self.inline(key, value or {})

    def inline(self, key: str, value: Mapping[str, Any]) -> "Table":
        """The table `value` that stands at `key`, already looked up."""
        return Table(self._problems, self.file, f"{self.path}.{key}" if self.path else key, value)

    def tables(self) -> Iterator[tuple[str, "Table"]]:
        """Every key of this table, each of which must be a table."""
        for key in self._data:
            yield key, self.table(key)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every key with its raw value; the caller checks the types."""
        for key, value in self._data.items():
            self._asked.append(key)
            yield key, value

    def allow(self, *keys: str) -> None:
        """These keys are known here, though nobody asked for their values."""
        self._asked.extend(keys)

    def close(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._data:
            if key not in self._asked:
                self.note(key, f"unknown key; allowed here: {', '.join(dict.fromkeys(self._asked))}")

    def _get(self, key: str, default: Any, what: str, *types: type) -> Any:
        self._asked.append(key)
        if key not in self._data:
            if default is None:
                self.note(key, f"is missing; it must be {what}")
            return default
        value = self._data[key]
        # bool is an int to Python, not to a reader of seeds; NaN and infinity are no figures.
        fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            self.note(key, f"{value!r} is not {what}")
            return default
        return value
