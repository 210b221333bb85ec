import hashlib
import re
from pathlib import Path

import pytest

import hefa_apps
from hefa_apps.page import STATIC, static

HERE = Path(hefa_apps.__file__).parent
VENDOR = STATIC / "vendor"


@pytest.mark.parametrize("vendor", [VENDOR, Path(__file__).parent / "vendor"], ids=["product", "tests"])
def test_vendored_files_are_unmodified_and_licensed(vendor: Path) -> None:
    listed = dict(reversed(line.split("  ")) for line in (vendor / "SHA256SUMS").read_text().splitlines())
    there = {p.relative_to(vendor).as_posix() for p in vendor.rglob("*") if p.is_file() and p.parent != vendor}
    assert set(listed) == there
    for name, digest in listed.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
    for folder in filter(Path.is_dir, vendor.iterdir()):
        assert (folder / "LICENSE").is_file()


def test_pages_ask_no_other_host() -> None:
    """Only links for people and names of namespaces may be absolute."""
    ours = [*HERE.rglob("*.html"), *STATIC.glob("*.js"), *STATIC.glob("*.css")]
    for path in ours:
        for url in re.findall(r"""https?://[^"'\s)]+""", path.read_text("utf-8")):
            assert url == "http://www.w3.org/2000/svg", path


def test_no_page_has_script_or_style_in_it() -> None:
    for path in HERE.rglob("*.html"):
        text = path.read_text("utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=", text), path
        for attributes in re.findall(r"<script([^>]*)>", text):
            assert "src=" in attributes or 'type="application/json"' in attributes, path


def test_a_static_url_changes_with_its_content() -> None:
    digest = hashlib.sha256((STATIC / "app.css").read_bytes()).hexdigest()
    assert static("app.css") == f"/static/app.css?v={digest[:12]}"
