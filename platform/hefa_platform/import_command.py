"""`hefa-platform import`: a file goes in like one sent to the API; progress on stderr, the report on stdout.

A database that goes away in the middle is waited for: what was being stored then is tried again, and counted once.
"""

import getpass
import sys
import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hefa_platform.api import imports
from hefa_platform.api.params import rfc3339, zone
from hefa_platform.api.problems import Problem
from hefa_platform.store.database import Database, NotAdmitted, SchemaMissing, TimedOut, Unavailable
from hefa_platform.store.entry import Rules

PATIENCE_S = 600.0  # for a database that is away: a restart, a failover
_RETRY_S = 2.0
_NAMED = 20  # refused rows and tags that the report for people names


def run(
    database: Database, rules: Rules, file: Path, *, tz: str | None = None, dry_run: bool = False, as_json: bool = False
) -> int:
    """Import `file`, print the report; returns the exit code: 1 where rows were refused or the database stayed away."""
    try:
        local: ZoneInfo | None = zone(tz)
        with database.connection():  # one that was never there is not waited for
            pass
        with file.open("rb") as stream, _bar(file.stat().st_size) as bar:
            task = bar.add_task("reading" if dry_run else "importing", total=max(1, file.stat().st_size), rows=0)

            def progress(rows: int) -> None:
                bar.update(task, completed=stream.tell(), rows=rows)

            progress(0)
            report = imports.run(
                database, rules, stream, name=file.name, by=f"command line ({getpass.getuser()})", tz=local,
                dry_run=dry_run, progress=progress, insist=_insist,
            )  # fmt: skip
    except (imports.ImportFailed, Problem, OSError) as error:
        sys.stderr.write(f"{file}: {error}\n")
        return 2
    except Unavailable as error:
        sys.stderr.write(f"the database is away: {error}\nRun it again: what is stored already is recognised.\n")
        return 1
    out = report.model_dump_json(by_alias=True, indent=2) + "\n" if as_json else _words(report)
    sys.stdout.write(out)
    return 1 if report.refused else 0


def _insist(work: Callable[[], None]) -> None:
    """Do what needs the database; where it is away, wait for it. What waiting does not mend is raised at once."""
    deadline: float | None = None
    while True:
        try:
            work()
        except (SchemaMissing, NotAdmitted, TimedOut):
            raise
        except Unavailable as error:
            if deadline is None:
                deadline = time.monotonic() + PATIENCE_S
                sys.stderr.write(
                    f"the database is away: {error}\nWaiting for it, up to {PATIENCE_S / 60:g} minutes. To stop is safe: "
                    "what is stored stays, and is recognised when the file is imported again.\n"
                )
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            if deadline is not None:
                sys.stderr.write("the database is back\n")
            return


def _bar(size: int) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]:,} rows"), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, disable=size < imports.QUIET,
    )  # fmt: skip


def _words(report: imports.Report) -> str:
    """The report as people read it."""
    lines = ["nothing was changed; this is what would happen" if report.dry_run else "imported"]
    lines.append(
        f"rows {report.rows:,} = new {report.new:,} + duplicate {report.duplicate:,} + conflict {report.conflict:,} "
        f"+ refused {report.refused:,}"
    )
    if report.from_ and report.to:
        lines.append(f"from {rfc3339(report.from_)} to {rfc3339(report.to)}, {report.tags_total:,} tags")
    if report.recomputed.hours and report.recomputed.from_ and report.recomputed.to:
        lines.append(
            f"rollups computed anew: {report.recomputed.hours:,} hours of tags between "
            f"{rfc3339(report.recomputed.from_)} and {rfc3339(report.recomputed.to)}"
        )
    if report.ignored_columns:
        lines.append(f"columns left out: {', '.join(report.ignored_columns)}")
    if report.unknown_tags:
        more = " …" if len(report.unknown_tags) > _NAMED else ""
        lines.append(f"tags that the plant model does not know: {', '.join(report.unknown_tags[:_NAMED])}{more}")
    for code, count in report.refused_by_code.items():
        lines.append(f"{code}: {count:,} rows")
    lines += [f"  line {row.line}: {row.tag}: {row.code}: {row.detail}" for row in report.refused_rows[:_NAMED]]
    if report.refused > _NAMED:
        lines.append("  … all of them are in quarantine" if not report.dry_run else "  …")
    lines += [
        f"  {tag.tag}: {tag.rows:,} rows, new {tag.new:,}, duplicate {tag.duplicate:,}, conflict {tag.conflict:,}, "
        f"refused {tag.refused:,}"
        for tag in report.tags[:_NAMED]
    ]
    if report.tags_total > _NAMED:
        lines.append(f"  … and {report.tags_total - _NAMED:,} more tags (--json names 200)")
    return "\n".join(lines) + "\n"
