"""TimescaleDB Community's features where no native server is: our schema on its build for WASM (tests/wasm)."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "wasm"


def test_the_schema_on_community_in_wasm(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no node with npm: apt-get install nodejs npm")
    for name in ("package.json", "package-lock.json", "community.mjs"):
        shutil.copy(HERE / name, tmp_path)
    install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-timeout=30000", "--fetch-retries=1"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install tests/wasm: {done.stderr.strip().splitlines()[-1:]}")
    schema = str(resources.files("hefa_platform").joinpath("schema"))
    done = subprocess.run(
        [node, "community.mjs", schema], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    size = found.pop("bytes_per_reading")
    packed = {row["table"]: row["chunks"] for row in found.pop("packed")}
    assert found.pop("version").startswith("2.")
    assert found.pop("dropped") >= 4
    assert found == {
        "noted": [0, 0],  # hours that are not the sum of their minutes, before and after each refresh
        "refreshed": [0, 0],
        "hours": 480,
        "unsafe": 0,
        "late": 30,  # of 61 readings into a packed chunk: every other minute was there
        "kept": True,
        "hypertables": ["reading", "reading_1m"],
        "policies": ["policy_compression reading", "policy_compression reading_1m", "policy_retention reading"],
    }
    assert packed["reading"] >= 6
    assert size["packed"] < size["hot"]
