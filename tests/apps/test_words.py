import re
import string
from pathlib import Path

import pytest

import hefa_apps
from hefa_apps.live.model import STANDINGS
from hefa_apps.words import Words

HERE = Path(hefa_apps.__file__).parent
WORDS = Words()


def used() -> set[str]:
    """Ids that templates, scripts and modules name in full."""
    found: set[str] = set()
    for path in [*HERE.rglob("*.html"), *HERE.rglob("*.py")]:
        text = path.read_text("utf-8")
        found |= set(re.findall(r"""\bt\("([\w.]+)"\s*[,)]""", text))
        found |= set(re.findall(r"""\bwords\("([\w.]+)"\s*[,)]""", text))
        found |= set(re.findall(r'"((?:period\.error|sign_in\.error|age)\.\w+)"', text))
    for path in HERE.glob("static/*.js"):
        found |= {f"js.{name}" for name in re.findall(r"""\bword\("([\w.]+)"\s*[,)]""", path.read_text("utf-8"))}
    return found


def test_every_word_that_is_used_is_in_the_catalogue() -> None:
    assert used() - WORDS.ids() == set()


# Ids that are put together from data, by their beginning.
_MADE = (
    "app.", "subject.", "kind.", "standing.", "period.", "step.", "span.", "edge.", "error.", "tag.note.",
    "report.by.", "report.by_short.", "report.key.", "report.subjects.", "js.standing_", "js.step_", "js.edge_",
)  # fmt: skip


def test_every_word_in_the_catalogue_is_used() -> None:
    left = {i for i in WORDS.ids() - used() if not i.startswith(_MADE) and i.removesuffix("_one") not in used()}
    assert left == set()


@pytest.mark.parametrize("standing", STANDINGS)
def test_every_standing_has_a_word_on_both_sides(standing: str) -> None:
    assert WORDS(f"standing.{standing}.short") == WORDS(f"js.standing_{standing}")


def test_placeholders_are_filled() -> None:
    assert WORDS("search.found", n=2, q="ph") == "2 tags for “ph”"
    assert WORDS("search.found", n=1, q="ph") == "1 tag for “ph”"


@pytest.mark.parametrize("key", sorted(WORDS.ids()))
def test_placeholders_are_plain_names(key: str) -> None:
    for _, name, spec, _ in string.Formatter().parse(WORDS.get(key, "")):
        assert name is None or (name.isidentifier() and not spec)


def test_an_unknown_id_is_an_error() -> None:
    with pytest.raises(KeyError):
        WORDS("no.such.word")
    assert WORDS.get("no.such.word", "shown instead") == "shown instead"
