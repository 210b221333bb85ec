"""What is said at the terminal, and in a log file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hefa_demo.screen import Screen

DOCUMENT = {
    "portal": "http://127.0.0.1:8080",
    "api": "http://127.0.0.1:8000",
    "mqtt": "mqtt://gw-guest:secret@127.0.0.1:1883",
    "database": "postgresql://hefa_read:secret@127.0.0.1:5433/hefa",
    "key": "hefa_0123456789ab_[not-markup]",
}


def screen(terminal: bool) -> tuple[Screen, io.StringIO]:
    written = io.StringIO()
    return Screen(Console(file=written, force_terminal=terminal, width=100, highlight=False)), written


def test_without_a_terminal_the_history_is_a_line_per_tenth_of_a_phase() -> None:
    shown, written = screen(terminal=False)
    for phase in ("generate", "publish"):
        for done in range(101):
            shown.history({"phase": phase, "done": done, "total": 100, "readings": 3_000_000})
    shown.history({"phase": "done", "done": 100, "total": 100, "readings": 3_000_000})
    shown.history_done()
    shown.history({"phase": "sum", "done": 50, "total": 100, "readings": 3_000_000})
    lines = written.getvalue().splitlines()
    assert len(lines) == 23
    assert lines[3].endswith("history: simulating and publishing 3,000,000 readings, 30 %")
    assert lines[21].endswith("history: publishing the last of 3,000,000 readings, 100 %")
    assert lines[22].endswith("history: adding up 3,000,000 readings, 50 %")


def test_on_a_terminal_it_is_a_bar() -> None:
    shown, written = screen(terminal=True)
    shown.history({"phase": "generate", "done": 30, "total": 100, "readings": 1234})
    shown.history({"phase": "publish", "done": 6, "total": 10, "readings": 5678})
    shown.history_done()
    assert "60 %" in written.getvalue()
    assert "5,678 readings" in written.getvalue()


@pytest.mark.parametrize("progress", [{}, {"done": 0, "total": 0}, {"done": 5, "total": 3, "readings": 1}])
def test_odd_progress_does_no_harm(progress: dict[str, float]) -> None:
    for terminal in (True, False):
        shown, _ = screen(terminal)
        shown.history(progress)
        shown.history_done()


@pytest.mark.parametrize(("run_for", "end"), [(None, "Ctrl-C stops everything"), (90.0, "stops by itself after 90 s")])
@pytest.mark.parametrize("terminal", [True, False])
def test_in_the_end_one_knows_where_to_look(run_for: float | None, end: str, terminal: bool) -> None:
    shown, written = screen(terminal)
    shown.ready(DOCUMENT, ".hefa", run_for)
    text = written.getvalue()
    for said in (DOCUMENT["portal"], DOCUMENT["api"], DOCUMENT["key"], ".hefa/demo.json", end):
        assert said in text
    assert "secret" not in text
