"""The result as a table, the same on the screen and in docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence

from faultrig.scene import Row

_HEAD = ("#", "fault", "kills", "recorded", "stored", "refused", "given up", "lost", "twice", "drain s", "peak MB", "")


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of a Markdown table with its sums. `refused` is in quarantine or kept as a conflict, `given up` told by gaps."""
    rows = sorted(rows, key=lambda row: int(row.number) if row.number.isdigit() else 99)
    cells = [_cells(row) for row in rows]
    total = Row("", "**all**", problems=[])
    for row in rows:
        for name in ("kills", "recorded", "stored", "refused", "given_up", "lost", "duplicated"):
            setattr(total, name, getattr(total, name) + getattr(row, name))
        total.drain_s, total.peak_mb = max(total.drain_s, row.drain_s), max(total.peak_mb, row.peak_mb)
        total.problems += row.problems
    cells.append(_cells(total))
    widths = [max(len(line[k]) for line in [_HEAD, *cells]) for k in range(len(_HEAD))]
    rule = ["-" * max(1, width - 1) + (":" if k > 1 else "-") for k, width in enumerate(widths)]
    lines = [_HEAD, rule, *cells]
    return ["| " + " | ".join(_pad(text, widths[k], k) for k, text in enumerate(line)) + " |" for line in lines]


def _cells(row: Row) -> tuple[str, ...]:
    figures = (row.kills, row.recorded, row.stored, row.refused, row.given_up, row.lost, row.duplicated)
    held = "held" if not row.problems else f"BROKEN ({len(row.problems)})"
    return (row.number, row.fault, *(f"{n:,}" for n in figures), f"{row.drain_s:.1f}", str(row.peak_mb), held)


def _pad(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column < 2 else text.rjust(width)
