"""Every word that a page shows, by id, from one file per language (`words/<language>.toml`).

Code and templates name words by id; nothing that a person reads is written anywhere else. Placeholders are Python
format fields. An id ending in `_one` is used instead when the field `n` is 1.
"""

import tomllib
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "words"


class Words:
    """The catalogue of one language. Raises `KeyError` for an id it does not have: a test walks all of them."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        with (_FOLDER / f"{language}.toml").open("rb") as file:
            self._texts = dict(_flat(tomllib.load(file)))

    def __call__(self, key: str, **fields: Any) -> str:
        """Return the text of `key` with its fields filled in."""
        if fields.get("n") in (1, "1") and f"{key}_one" in self._texts:
            key = f"{key}_one"
        text = self._texts[key]
        return text.format(**fields) if fields else text

    def get(self, key: str, otherwise: str) -> str:
        """Return the text of an id made from data, or `otherwise` where the catalogue has none."""
        return self._texts.get(key, otherwise)

    def below(self, prefix: str) -> dict[str, str]:
        """Return the texts under one prefix, for the scripts of a page."""
        return {key.removeprefix(prefix): text for key, text in self._texts.items() if key.startswith(prefix)}

    def ids(self) -> set[str]:
        """Return every id."""
        return set(self._texts)


def _flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        pairs += _flat(value, f"{name}.") if isinstance(value, dict) else [(name, str(value))]
    return pairs
