"""What the documents say is there: make targets, settings, links."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from hefa_apps.config import Settings as AppsSettings
from hefa_edge.config import Settings as EdgeSettings
from hefa_platform.config import Settings as PlatformSettings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
TARGETS = set(re.findall(r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXAMPLE = (ROOT / ".env.example").read_text()
EXAMPLES = dict(re.findall(r"^#(HEFA_\w+)=(.*)$", EXAMPLE, re.MULTILINE))
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_documents_name_only_make_targets_that_exist(document: Path) -> None:
    """In code: `make …` between backticks, or at the start of a line of a code block."""
    text = document.read_text("utf-8")
    blocks = "\n".join(re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"`make ([a-z][a-z-]*)", text)) | set(
        re.findall(r"^\$? ?make ([a-z][a-z-]*)", blocks, re.MULTILINE)
    )
    assert named - TARGETS == set()


def test_commands_run_on_every_system() -> None:
    """`date -d` is GNU's alone, and so are these."""
    gnu = re.compile(r"\bdate (-u )?-d|\bsed -i |\breadlink -f|\bgrep -P")
    assert [relative(d) for d in DOCUMENTS if gnu.search(d.read_text("utf-8"))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8"))
    here = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in here if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("settings", [EdgeSettings, PlatformSettings, AppsSettings], ids=lambda s: s.__module__)
def test_the_example_has_every_setting_at_its_default(settings: type[BaseSettings]) -> None:
    defaults = {f"HEFA_{name.upper()}": written(field.default) for name, field in settings.model_fields.items()}
    assert {name: EXAMPLES.get(name) for name in defaults} == defaults


def written(value: Any) -> str:
    """A default as one writes it into .env; a path of the checkout relative to it."""
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, Path):
        return value.relative_to(ROOT).as_posix() if value.is_absolute() else str(value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def test_the_example_has_every_variable_of_compose_at_its_default() -> None:
    variables = dict(re.findall(r"\$\{(HEFA_\w+):-([^}]*)\}", COMPOSE))
    assert variables
    assert {name: EXAMPLES.get(name) for name in variables} == variables


def test_the_example_has_nothing_that_nobody_reads() -> None:
    known = {f"HEFA_{name.upper()}" for s in (EdgeSettings, PlatformSettings, AppsSettings) for name in s.model_fields}
    known |= set(re.findall(r"HEFA_\w+", COMPOSE + (ROOT / "tests" / "conftest.py").read_text()))
    assert set(EXAMPLES) - known == set()


def test_the_example_sets_nothing() -> None:
    """Copied as it is, it changes nothing."""
    assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")] == []
