"""What the demo tells the person at the terminal: a line per step, a bar for the history, a panel when it is ready.

Without a terminal (a pipe, a log file) the same sentences come as plain lines, and the bar as one line per tenth.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_PHASES = {
    "generate": "simulating and publishing",
    "publish": "publishing the last of",
    "done": "published",
    "sum": "adding up",
}


class Screen:
    """Writes to standard output; problems too, so that they stand where they happened."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._told: tuple[str, int] = ("", -1)  # phase, and tenth of it

    def step(self, text: str) -> None:
        """Something is done, or is going on."""
        self._line(text, "dim")

    def note(self, text: str) -> None:
        """Something the person may want to act on."""
        self._line(text, "yellow")

    def failed(self, text: str) -> None:
        self._line(text, "bold red")

    def _line(self, text: str, style: str) -> None:
        seconds = time.monotonic() - self._started
        with suppress(OSError):  # the terminal, or the reader of the pipe, may be gone: stopping goes on
            self.console.print(Text.assemble((f"{seconds:6.1f} s  ", "cyan"), (text, style)), soft_wrap=True)

    def history(self, progress: Mapping[str, Any]) -> None:
        """Show how far the backfill is: `done` of `total` in its `phase`, `readings` made so far."""
        phase = str(progress.get("phase", ""))
        done, total = float(progress.get("done", 0)), max(float(progress.get("total", 0)), 1e-9)
        doing = f"{_PHASES.get(phase, phase)} {int(progress.get('readings', 0)):,} readings"
        if not self.console.is_terminal:
            told = (phase, int(10 * min(done / total, 1)))
            if told > self._told if told[0] == self._told[0] else told[0] != "done":
                self._told = told
                self.step(f"history: {doing}, {told[1] * 10} %")
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("          history"),
                BarColumn(bar_width=32),
                TextColumn("{task.percentage:3.0f} %"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.description}"),
                console=self.console,
                transient=True,
            )
            self._task = self._progress.add_task(doing, total=total)
            self._progress.start()
        assert self._task is not None
        if phase != self._told[0]:  # another phase counts something else, at another pace
            self._told = (phase, 0)
            self._progress.reset(self._task, total=total)
        self._progress.update(self._task, completed=min(done, total), total=total, description=doing)

    def history_done(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def ready(self, document: Mapping[str, Any], data_dir: str, run_for: float | None) -> None:
        """The few addresses one needs to look around; the rest, with its passwords, is in demo.json."""
        rows = {
            "Portal": document["portal"],
            "Key": document["key"],
            "API": f"{document['api']}/docs",
            "More": f"{data_dir}/demo.json: MQTT and SQL access; {data_dir}/logs",
            "End": "Ctrl-C stops everything" if run_for is None else f"stops by itself after {run_for:g} s",
        }
        if not self.console.is_terminal:
            for name, value in rows.items():
                self.console.print(Text(f"{name}: {value}"), soft_wrap=True)
            return
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(name, Text(value, "bold" if name in ("Portal", "Key") else ""))
        title = "hefa is running · simulated plant"
        self.console.print(Panel(table, title=title, border_style="green", expand=False, padding=(1, 2)))
