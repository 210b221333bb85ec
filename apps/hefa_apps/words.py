"""The words of pages, by id: `words/<language>.toml` for all pages, `<app>/words.<language>.toml` for an app.

Templates, scripts and what makes pages (`views.py`, `page.py`, `host.py` …) name words by id and hold none of their own.
What REST answers as well is not in here: why a figure is not known, what it was reckoned from, what is wrong with a
question. The module that knows it says it once, in English, and pages show it as it came.

Placeholders are Python format fields. An id ending in `_one` is used instead when the field `n` is 1. An id stands in
one file only.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Words:
    """The catalogue of one language. Raises `KeyError` for an id it does not have: a test walks all of them."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self._texts: dict[str, str] = {}
        for path in files(language):
            texts = dict(_flat(tomllib.loads(path.read_text("utf-8"))))
            twice = texts.keys() & self._texts.keys()
            if twice:
                raise ValueError(f"{path}: these words stand in another file too: {', '.join(sorted(twice))}")
            self._texts |= texts

    def __call__(self, key: str, **fields: Any) -> str:
        """Return the text of `key` with its fields filled in."""
        if fields.get("n") in (1, "1") and f"{key}_one" in self._texts:
            key = f"{key}_one"
        text = self._texts[key]
        return text.format(**fields) if fields else text

    def get(self, key: str, otherwise: str) -> str:
        """Return the text of an id made from data, or `otherwise` where the catalogue has none."""
        return self._texts.get(key, otherwise)

    def for_scripts(self, app: str, apps: tuple[str, ...]) -> dict[str, str]:
        """Return the words of scripts: those of every page, and those of one app under `<app>.`."""
        texts = {key.removeprefix("js."): text for key, text in self._texts.items() if key.startswith("js.")}
        others = tuple(f"{name}." for name in apps if name != app)
        return {key: text for key, text in texts.items() if not key.startswith(others)}

    def ids(self) -> set[str]:
        """Return every id."""
        return set(self._texts)


def files(language: str) -> list[Path]:
    """Return the files of a language: the one of all pages first."""
    return [HERE / "words" / f"{language}.toml", *sorted(HERE.glob(f"*/words.{language}.toml"))]


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, str(value)
