"""The house as designed: what a reader may rely on without reading everything."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "hefa_contract": ROOT / "contract",
    "hefa_edge": ROOT / "edge",
    "hefa_platform": ROOT / "platform",
    "hefa_apps": ROOT / "apps",
    "hefa_grafana": ROOT / "apps" / "grafana",
    "hefa_demo": ROOT / "demo",
}
BUDGET = 600  # lines: the ceiling of one module; most have 100 to 300


def ours(pattern: str) -> Iterator[Path]:
    """Files of the work tree below no hidden folder: what is made at run time lies in those."""
    for folder, below, files in os.walk(ROOT):
        below[:] = sorted(name for name in below if not name.startswith(".") and name != "__pycache__")
        yield from (Path(folder, name) for name in sorted(files) if fnmatch(name, pattern))


def test_every_module_keeps_its_budget() -> None:
    """A module over the ceiling holds two ideas: split it by noun."""
    lines = {
        str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for d in PACKAGES.values() for p in d.rglob("*.py")
    }
    assert lines
    assert {path: n for path, n in lines.items() if n > BUDGET} == {}


def test_no_folder_shadows_the_standard_library() -> None:
    """`platform/__init__.py` or `tests/platform/__init__.py` would hide the platform module from everybody."""
    stray = [p for p in ours("__init__.py") if not any(part in PACKAGES for part in p.relative_to(ROOT).parts)]
    assert stray == []


@pytest.mark.parametrize("folder", [".", "platform", "tests"])
def test_the_platform_module_is_the_standard_librarys(folder: str) -> None:
    for environ in (os.environ, {**os.environ, "PYTHONPATH": str(ROOT)}):
        code = "import platform, uuid; print(platform.system())"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT / folder, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_the_platform_module_survives_the_test_run() -> None:
    assert sys.modules.get("platform") is not None
    assert sys.modules["platform"].system()  # type: ignore[attr-defined]


def test_seeds_hold_data_only() -> None:
    assert list(ours("*.toml"))
    assert [path for path in ours("*.py") if path.is_relative_to(ROOT / "seeds")] == []


# The pages of other makers' code and of this test name what is searched for here.
_UNSEARCHED = re.compile(r"(^|/)(vendor|node_modules)/|/swagger-ui|^tests/test_house\.py$|\.(png|ico|woff2?|sqlite)$")
_OF_ONE_MACHINE = re.compile(
    r"(?<![\w.$-])/(?:work|root/\.pyenv)/|/home/(?!user\b)\w+/|/Users/\w+/"
    r"|pypi\.org/simple|files\.pythonhosted|registry\.npmjs|\"resolved\":|deb\.debian\.org"
)


def test_no_file_names_a_machine_or_a_registry() -> None:
    """Paths of one machine and addresses of package registries belong to the machine, not to the repository."""
    found = []
    for path in [*ours("*"), *(ROOT / ".ci").glob("*")]:
        name = path.relative_to(ROOT).as_posix()
        if _UNSEARCHED.search(name):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{name}:{text.count(chr(10), 0, m.start()) + 1}: {m[0]}" for m in _OF_ONE_MACHINE.finditer(text)]
    assert found == []


# One breach for every import contract: (module, what is appended to it). A contract that cannot be broken guards nothing.
BREACHES = {
    "Tiers meet on a wire, and the demo starts them as processes": ("hefa_edge/cli.py", "import hefa_platform"),
    "The contract is text in, values out": ("hefa_contract/topics.py", "import os"),
    "Apps know HTTP only, like a customer's app": ("hefa_apps/page.py", "import hefa_contract"),
    "One door to the database": ("hefa_platform/ingest.py", "import psycopg"),
    "One door to the broker on each side": ("hefa_platform/ingest.py", "import paho.mqtt"),
    "One door to the platform": ("hefa_apps/page.py", "import httpx2"),
    "One door to Grafana": ("hefa_grafana/cli.py", "import grafana_client"),
    "Physics and business rules take clock and chance as arguments": ("hefa_edge/sensors.py", "import time"),
    "Layers of the edge": ("hefa_edge/helpers.py", ""),
    "Layers of the platform": ("hefa_platform/store/database.py", "import hefa_platform.api"),
    "Layers of the store": ("hefa_platform/store/utils.py", ""),
    "Layers of the API": ("hefa_platform/api/problems.py", "import hefa_platform.api.series"),
    "Layers of the apps": ("hefa_apps/energy/model.py", "import hefa_apps.material"),
    "Layers of the dashboards": ("hefa_grafana/query.py", "import hefa_grafana.cli"),
    "Layers of the demo": ("hefa_demo/config.py", "import hefa_demo.supervisor"),
    "Layers of the contract": ("hefa_contract/rejection.py", "import hefa_contract.envelope"),
}


def test_every_breach_of_the_architecture_is_noticed(tmp_path: Path) -> None:
    """`make check` runs the same contracts on the work tree, where all of them must be kept."""
    for package, folder in PACKAGES.items():
        shutil.copytree(folder / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    for module, line in BREACHES.values():
        with open(tmp_path / module, "a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            "--config",
            ROOT / "pyproject.toml",
            "--no-cache",
            "--no-logo",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    verdicts = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert done.returncode == 1, done.stdout + done.stderr
    assert verdicts == dict.fromkeys(BREACHES, "BROKEN"), done.stdout + done.stderr
