import ast
import re
import string
from collections.abc import Iterator
from html.parser import HTMLParser
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


def made() -> tuple[str, ...]:
    """Beginnings of ids that are put together from data: `t("kind." ~ kind)`, `words(f"error.{kind}.title")`."""
    found = {"js.standing_", "js.step_", "js.edge_", "js.age_"}
    for path in [*HERE.rglob("*.html"), *HERE.rglob("*.py")]:
        text = path.read_text("utf-8")
        found |= set(re.findall(r"""\b(?:t|word)\("([\w.]+\.)" ?~""", text))
        found |= set(re.findall(r"""\bwords(?:\.get)?\(f?"([\w.]+\.){""", text))
    for path in HERE.glob("static/*.js"):
        found |= {f"js.{name}" for name in re.findall(r"""\bword\(`([\w.]+[._])\$""", path.read_text("utf-8"))}
    return tuple(found)


def quoted() -> set[str]:
    """Every string that stands in quotes: an id may be chosen between two, `t("a.b" if x else "a.c")`."""
    files = [*HERE.rglob("*.html"), *HERE.rglob("*.py"), *HERE.glob("static/*.js")]
    return {text for path in files for text in re.findall(r"""["'`]([\w.]+)["'`]""", path.read_text("utf-8"))}


def test_every_word_in_the_catalogue_is_used() -> None:
    named = quoted()
    named |= {f"js.{text}" for text in named}
    named |= used()
    beginnings = made()
    left = {i for i in WORDS.ids() - named if not i.startswith(beginnings) and i.removesuffix("_one") not in named}
    assert left == set()


@pytest.mark.parametrize("standing", STANDINGS)
def test_every_standing_has_a_word_on_both_sides(standing: str) -> None:
    assert WORDS(f"standing.{standing}.short") == WORDS(f"js.standing_{standing}")


def test_placeholders_are_filled() -> None:
    assert WORDS("search.found", n=2, q="ph") == "2 tags for “ph”"
    assert WORDS("search.found", n=1, q="ph") == "1 tag for “ph”"


def test_placeholders_are_plain_names() -> None:
    for key in WORDS.ids():
        for _, name, spec, _ in string.Formatter().parse(WORDS.get(key, "")):
            assert name is None or (name.isidentifier() and not spec), key


class _Shown(HTMLParser):
    """Text and spoken attributes that a template holds itself, Jinja taken out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v or "" for name, v in attrs if name in ("title", "aria-label", "placeholder", "alt")]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize("path", sorted(HERE.rglob("*.html")), ids=lambda p: p.name)
def test_templates_hold_no_words_of_their_own(path: Path) -> None:
    """What a person reads comes from the catalogue; signs, units and names of standards may stand in a template."""
    parser = _Shown()
    parser.feed(re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", path.read_text("utf-8"), flags=re.S))
    shown = re.sub(r"[\w-]+=", " ", " ".join(parser.found))  # a macro may be a run of attributes
    words = re.findall(r"[A-Za-z]{2,}", shown)
    assert set(words) <= {"UCUM", "pH", "PrNd"}


MAKERS = sorted({*HERE.glob("*/views.py"), *HERE.glob("*/wall.py"), *(HERE / f"{name}.py" for name in (
    "figures", "host", "page", "period", "question", "report", "view"))})  # fmt: skip
SENTENCE = re.compile(r"(?:[A-Za-z][a-z’']+ ){2,}[A-Za-z]")


def sentences(node: ast.AST) -> Iterator[str]:
    """What reads like a sentence, but for docstrings, the log, what REST says of a route, and errors."""
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.Call) and re.match(r"(logger\.|Refused\b|ValueError\b)", ast.unparse(node.func)):
        return
    if isinstance(node, ast.keyword) and node.arg in ("summary", "description"):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and SENTENCE.search(node.value):
        yield node.value
    for inner in ast.iter_child_nodes(node):
        yield from sentences(inner)


@pytest.mark.parametrize("path", MAKERS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_what_makes_pages_holds_no_words_of_its_own(path: Path) -> None:
    assert list(sentences(ast.parse(path.read_text("utf-8")))) == []


@pytest.mark.parametrize("path", sorted(HERE.glob("static/*.js")), ids=lambda p: p.name)
def test_scripts_hold_no_words_of_their_own(path: Path) -> None:
    code = re.sub(r"^\s*(//|/?\*).*$|\s//.*$|\$\{[^}]*\}", "", path.read_text("utf-8"), flags=re.M)
    assert [text for text in re.findall(r"""["'`]([^"'`\n]*)["'`]""", code) if SENTENCE.search(text)] == []


def test_a_word_that_stands_in_two_files_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("words/en.toml", "energy/words.en.toml"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("[a]\nb = 'c'\n")
    monkeypatch.setattr("hefa_apps.words.HERE", tmp_path)
    with pytest.raises(ValueError, match=r"a\.b"):
        Words()


def test_scripts_get_the_words_of_their_own_app_only() -> None:
    texts = WORDS.for_scripts("live", ("live", "energy"))
    assert "lost" in texts
    assert not any(key.startswith("energy.") for key in texts)


def test_an_unknown_id_is_an_error() -> None:
    with pytest.raises(KeyError):
        WORDS("no.such.word")
    assert WORDS.get("no.such.word", "shown instead") == "shown instead"
